"""How a comparison was run: what a reader of its report needs in order to repeat it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

from imbtorch._common.versions import versions
from imbtorch.compare._statistics import FEWEST_FOLDS
from imbtorch.compare._written import Written
from imbtorch.tables._words import counted

__all__ = ["ComparisonRun", "installed", "reasons_for_caution", "took"]


@dataclass(frozen=True)
class ComparisonRun:
    """How a comparison was run: what a reader of its report needs in order to repeat it.

    Parameters
    ----------
    date : str
        Date and time of the start, with the time zone.
    seconds : float
        Duration.
    seed : str
        The seed of all random numbers, in words.
    budget : str
        Strategies, folds and length of the training, in words.
    rare : object
        Label of the rarest class.
    n_rare : int
        Number of different test rows that have it.
    reduced : list of str
        In what the run was smaller than the default one.
    arguments : dict of str to str
        Arguments of ``default_strategies`` that differ from its defaults, as Python code.
    is_default : bool
        Whether the strategies were those of ``default_strategies``.
    versions : dict of str to str
        Versions of Python and of the packages.
    rows : str
        Size of the table, in words.
    file, command, reading : str
        The file, the command line, and Python code that reads the file as ``table``; empty if
        the comparison was called in Python.
    weights : str
        Python code of the weights of the rows; empty if all rows count alike.
    weight_names : dict of str to str
        For each strategy the parameter of ``fit`` that takes the weights.
    is_frame : bool
        Whether the features were a frame of pandas.
    preparing, labels : str
        Python code of a function that makes the columns that were compared, empty if they are those
        that were given; and an expression of ``y`` that gives the labels that were compared.
    imports : list of str
        The import statements that ``arguments`` and ``preparing`` need.
    supplied : dict of str to str
        What each name in ``arguments`` stands for that a reader of the code must define.
    own : dict of str to Written
        The caller's own strategies as Python code, if they can be written.

    Attributes
    ----------
    facts : dict of str to str
        The lines at the top of the report, by title.
    warning : str
        Sentences that say that this was a quick run; empty if it was not.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from imbtorch import compare_strategies
    >>> X, y = make_classification(400, weights=[0.9], random_state=0)
    >>> strategies = {"logistic": LogisticRegression()}
    >>> run = compare_strategies(X, y, strategies=strategies, cv=2, random_state=0).run
    >>> run.facts["Rows"], run.facts["Seed"]
    ('400, 20 columns', '0')
    >>> run.reduced
    ['2 folds instead of 5, which can show very large differences only']
    """

    date: str
    seconds: float
    seed: str
    budget: str
    rare: object
    n_rare: int
    reduced: list[str] = field(default_factory=list)
    arguments: Mapping[str, str] = field(default_factory=dict)
    is_default: bool = True
    versions: Mapping[str, str] = field(default_factory=dict)
    rows: str = ""
    file: str = ""
    command: str = ""
    reading: str = ""
    weights: str = ""
    weight_names: Mapping[str, str] = field(default_factory=dict)
    is_frame: bool = False
    preparing: str = ""
    labels: str = "y"
    imports: list[str] = field(default_factory=list)
    supplied: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, Written] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, str]:
        """The lines at the top of the report, by title."""
        found = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        lines = {
            "File": self.file,
            "Rows": self.rows,
            "Date": self.date,
            "Versions": found,
            "Command": self.command,
            "Seed": self.seed,
            "Budget": f"{self.budget}; no time limit; took {took(self.seconds)}",
        }
        return {title: text for title, text in lines.items() if text}

    @property
    def warning(self) -> str:
        """Sentences that say that this was a quick run; empty if it was not."""
        if not self.reduced:
            return ""
        return (
            f"Quick run: {'; '.join(self.reduced)}. Repeat it without these settings before you "
            "choose a strategy."
        )


def installed() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter most."""
    found = versions()
    names = ("imbtorch", "torch", "scikit-learn")
    return {**{name: found[name] for name in names}, "Python": platform.python_version()}


def reasons_for_caution(n_folds: int, max_epochs: int | str, *, is_default: bool) -> list[str]:
    """Say in what a run is smaller than the default one.

    Parameters
    ----------
    n_folds : int
        Number of outer folds.
    max_epochs : int or "auto"
        Length of the training of the default strategies.
    is_default : bool
        Whether the strategies are the default ones.

    Examples
    --------
    >>> from imbtorch.compare._run import reasons_for_caution
    >>> reasons_for_caution(5, "auto", is_default=True)
    []
    >>> reasons_for_caution(2, "auto", is_default=True)
    ['2 folds instead of 5, which can show very large differences only']
    """
    found = []
    if n_folds < FEWEST_FOLDS:
        found.append(
            f"{counted(n_folds, 'fold')} instead of 5, which can show very large differences only"
        )
    if is_default and max_epochs != "auto":
        found.append(
            f"{counted(int(max_epochs), 'epoch')} for all nets instead of a number that folds find "
            "for each of them, so that strategies that need another number look worse than they are"
        )
    return found


def took(seconds: float) -> str:
    """Write a duration.

    Examples
    --------
    >>> from imbtorch.compare._run import took
    >>> took(8.24), took(192), took(9000)
    ('8.2 seconds', '3.2 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{seconds:.1f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
