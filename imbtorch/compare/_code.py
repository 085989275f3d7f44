"""Python code that fits a strategy to the whole table and predicts with it."""

from __future__ import annotations

from collections.abc import Mapping

from imbtorch.compare._alarms import rounded_down
from imbtorch.compare._metrics import ALARMS_RECALL
from imbtorch.compare._run import ComparisonRun

__all__ = ["call", "code"]


def code(run: ComparisonRun, name: str, threshold: float | None) -> str:
    """Return a program that reads the table, fits a strategy, and finds alarms among new rows.

    Parameters
    ----------
    run : ComparisonRun
        How the comparison was run.
    name : str
        Name of the strategy.
    threshold : float or None
        Threshold of the alarms; None if it is not known.
    """
    steps = [_reading(run), _fitting(run, name), _predicting(run, threshold)]
    return "\n\n".join([_imports(run), *steps]) + "\n"


def call(name: str, arguments: Mapping[str, str], first: str = "") -> str:
    """Write the call of a function, whose arguments are Python code.

    Examples
    --------
    >>> from imbtorch.compare._code import call
    >>> call("read_table", {"sep": repr(";")}, "'data.csv', 'y'")
    "read_table('data.csv', 'y', sep=';')"
    """
    given = [first] if first else []
    return f"{name}({', '.join([*given, *(f'{k}={v}' for k, v in arguments.items())])})"


def _imports(run: ComparisonRun) -> str:
    lines = []
    if not run.is_default:
        lines.append("from sklearn.base import clone")
    if "inner_cv" in run.arguments:
        lines.append("from sklearn.model_selection import TimeSeriesSplit")
    if lines:
        lines.append("")
    if run.is_default:
        lines.append("from imbtorch.compare import default_strategies")
    if run.reading:
        lines.append("from imbtorch.tables import read_table")
    return "\n".join(lines).strip("\n")


def _reading(run: ComparisonRun) -> str:
    if not run.reading:
        return (
            "# X and y are the table and the labels that were compared. Of a pandas frame, X has\n"
            "# the columns that the notes of the report say."
            + ("\n# sample_weight holds the weights of the rows." if run.weights else "")
        )
    return f"# The table, read as it was for the report\n{run.reading}\nX, y = table.X, table.y"


def _fitting(run: ComparisonRun, name: str) -> str:
    lines = ["# The strategy with the best mean, fitted to all rows"]
    fit = call("model.fit", {run.weight_names[name]: run.weights} if run.weights else {}, "X, y")
    if not run.is_default:
        lines.append("# (strategies is the mapping that was compared)")
        return "\n".join([*lines, f"model = clone(strategies[{name!r}])", fit])
    lines[0] += "; list(strategies) shows the names of the others"
    lines.append(f"strategies = {call('default_strategies', run.arguments, 'y, X=X')}")
    return "\n".join([*lines, f"model = strategies[{name!r}]", fit])


def _predicting(run: ComparisonRun, threshold: float | None) -> str:
    lines = [
        "# New rows have the columns of X; here the first rows of the table stand for them",
        "new = X[:5]",
        f"place = list(model.classes_).index({run.rare!r})",
        "probability = model.predict_proba(new)[:, place]",
        "print(probability)",
    ]
    if threshold is not None:
        lines += [
            f"# This threshold caught {ALARMS_RECALL:.0%} of class {run.rare!r} among rows that a "
            "model was not trained on",
            f"print(probability >= {rounded_down(threshold)!r})",
        ]
    return "\n".join(lines)
