"""Compare remedies for imbalance on one data set by nested cross-validation."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, check_cv
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import type_of_target

from imbtorch._common.seed import draw_seeds
from imbtorch._common.sequences import are_sequences
from imbtorch._common.threads import ThreadLimit
from imbtorch._fit.input_advice import explain_labels
from imbtorch.compare._describe import describe_run
from imbtorch.compare._folds import Fold, Outcome, evaluate
from imbtorch.compare._inner_folds import inner_folds
from imbtorch.compare._metrics import METRICS, as_scorer, by_frequency
from imbtorch.compare._result import StrategyComparison
from imbtorch.compare._statistics import holm, paired_difference, standard_error
from imbtorch.compare._strategies import default_strategies
from imbtorch.tables._frame import checked_frame, checked_labels

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_strategies", "import_pandas", "pick"]

_WITHOUT_ERROR = ("seconds", "epochs")  # columns of the table that are no metrics


def compare_strategies(
    X: Any,
    y: ArrayLike,
    *,
    strategies: str | Sequence[str] | Mapping[str, Any] = "default",
    cv: Any = 5,
    groups: ArrayLike | None = None,
    scoring: str | Callable[..., float] = "average_precision",
    reference: str | None = None,
    preprocessing: Any = None,
    module: Any = "tabm",
    max_epochs: int | str = "auto",
    random_state: int | np.random.RandomState | None = None,
    verbose: int = 0,
    check_columns: bool = True,
) -> StrategyComparison:
    """Compare remedies for imbalance on one data set, by nested cross-validation.

    All nets have the same architecture, the same rule for how long they are trained (see
    :func:`imbtorch.compare.default_strategies`), the same table and the same folds. The table may
    have columns of categories and gaps, see :class:`imbtorch.features.TableFeatures`. Encoders and
    samplers use training rows only. The length of each training, and parameters such as the gamma
    of focal loss, are found by inner folds of the training rows of each fold. Gradient boosting is
    included for comparison; it gets categories and gaps as they are, and as many trees as the inner
    folds find.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n, n_features)
        Features. A column of numbers whose values are categories needs the type ``category``.
    y : array-like of shape (n,)
        Labels of any type. The rarer of two classes is the positive class.
    strategies : "default", sequence of str or dict of str to classifier, default="default"
        ``"default"`` compares all of :func:`imbtorch.compare.default_strategies`; a sequence
        selects some of them by name or by the first letters of the name. A dict holds your own
        classifiers, which are used unchanged: put what they need in front of them in a pipeline,
        and wrap them in a search if they have parameters to choose.
    cv : int, splitter or iterable, default=5
        Cross-validation; a number of folds is stratified by class, with shuffled rows. If every
        fold trains on rows that come before its test rows, as with ``TimeSeriesSplit``, so do the
        inner folds of the default strategies, and at least as many rows lie in between.
    groups : array-like of shape (n,) or None, default=None
        Group of each row, such as a patient: no group is in both parts of a fold. A number of folds
        keeps groups together, and is stratified as far as they allow. So do the inner folds of the
        default strategies. In your own ones each splitter gets the groups of its rows, such as
        ``cv=GroupKFold(3)`` of a search, or ``validation=`` of a net.
    scoring : str or callable, default="average_precision"
        Metric that inner searches maximise and that decides the comparison:
        ``"average_precision"``, ``"roc_auc"`` (both averaged over more than two classes),
        ``"precision_at_recall_80"``, ``"alarms_for_recall_90"``, ``"balanced_accuracy"``,
        ``"brier"`` or ``"ece"``; or a scikit-learn scorer.
    reference : str or None, default=None
        Strategy that the others are compared with; None is the first one, which by default does
        not treat the imbalance.
    preprocessing : transformer or None, default=None
        First step of every default strategy. None passes the table on as it is: each net scales
        numbers, fills gaps and encodes categories itself.
    module : str, builder, callable, torch.nn.Module class or instance, default="tabm"
        Network of the default strategies. ``"mlp"`` takes about a quarter of the time.
    max_epochs : int or "auto", default="auto"
        Number of epochs of the default strategies; ``"auto"`` lets inner folds find the number for
        each strategy.
    random_state : int, RandomState or None, default=None
        Seed of folds, nets and samplers.
    verbose : int, default=0
        Whether to show a progress bar over the strategies: 1 shows it.
    check_columns : bool, default=True
        Whether the columns of a pandas frame are decided upon as those of a file are, see
        :func:`imbtorch.tables.read_table`: an index or an identifier is left out, numbers that are
        written as text become numbers; the notes of the result, and a warning, name them. False
        takes ``X`` as it is. So do ``preprocessing`` and strategies of your own.

    Returns
    -------
    StrategyComparison
        The result: ``print`` shows a table and a recommendation, ``table`` is a data frame,
        ``to_html(path)`` writes a report. If a strategy fails, its row holds the error; after
        Ctrl-C the finished rows remain, with ``interrupted=True``.

    Raises
    ------
    ImportError
        If pandas, from the extra ``compare``, is not installed.
    ValueError
        If ``y`` has one class, a class is too rare for the folds, a name is unknown, ``max_epochs``
        is invalid, or the scorer does not fit the labels: ``"f1"``, for example, needs a label 1.
        Also if a column of ``X`` holds dates or free text, or numbers and words, and the default
        strategies get no ``preprocessing``.
    KeyboardInterrupt
        If Ctrl-C is pressed before the first strategy is finished.

    Warns
    -----
    UserWarning
        If columns of ``X`` were left out, or made numbers.

    See Also
    --------
    imbtorch.model_selection.StackedGridSearchCV : Searches the parameters of one strategy.

    Notes
    -----
    Differences are tested by the corrected resampled t-test [1]_ over the folds, with Holm's
    adjustment for the number of strategies. With few folds or few rare rows a difference is seldom
    clear, and the recommendation says so. Repeated folds (``RepeatedStratifiedKFold``) give
    more certainty. The default strategies train on one thread of torch; your own use all threads.

    References
    ----------
    .. [1] Nadeau & Bengio (2003). "Inference for the Generalization Error".
           :doi:`10.1023/A:1024068626366`

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from imbtorch import compare_strategies
    >>> X, y = make_classification(400, weights=[0.9], random_state=0)
    >>> comparison = compare_strategies(
    ...     X, y, strategies=["cross-entropy", "logit"], cv=3, max_epochs=2, random_state=0
    ... )
    >>> comparison.table["status"].tolist()
    ['ok', 'ok']
    """
    import_pandas()
    start, own, given = time.time(), isinstance(strategies, Mapping), (X, y)
    if not own and are_sequences(X):
        raise ValueError(
            "X holds sequences of unequal length, but the strategies of this package take a table. "
            "Give strategies of your own: a mapping of names to classifiers."
        )
    labels, notes = _labels(y, check_columns)
    if check_columns and preprocessing is None and not own:
        X, about_columns = checked_frame(X)
        notes += about_columns
    check_consistent_length(X, labels, groups)
    grouped = None if groups is None else column_or_1d(groups)
    classes, counts = by_frequency(labels)
    seeds = draw_seeds(random_state, 2)
    folds = _folds(X, labels, cv, grouped, classes, seeds[0])
    inner = inner_folds(folds, grouped, int(seeds[1]))
    if isinstance(strategies, Mapping):
        chosen = dict(strategies)
    else:
        defaults = default_strategies(
            labels,
            X=X,
            module=module,
            max_epochs=max_epochs,
            preprocessing=preprocessing,
            scoring=scoring,
            inner_cv=inner,
            random_state=seeds[1],
        )
        chosen = defaults if strategies == "default" else pick(defaults, strategies)
    if not chosen:
        raise ValueError("strategies is empty: there is nothing to compare.")
    first = next(iter(chosen)) if reference is None else reference
    if first not in chosen:
        raise ValueError(f"reference {first!r} is not one of the strategies: {', '.join(chosen)}.")
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    scorer = None if name in METRICS else (name, as_scorer(scoring, classes))
    own = isinstance(strategies, Mapping)
    # the steps of these nets are so small that more threads would mostly wait for each other
    with nullcontext() if own else ThreadLimit(1):
        done, status, interrupted = _run(
            chosen, verbose, lambda one: evaluate(one, X, labels, folds, classes, scorer, grouped)
        )
    rare = f"{counts[-1]:,} of class {classes[-1]} ({counts[-1] / len(labels):.2%})"
    data = f"{len(labels):,} rows, {len(classes)} classes, {rare}; {len(folds)} folds."
    table = _table(done, status, folds, name, first)
    said = {strategy: [outcome.said for outcome in outcomes] for strategy, outcomes in done.items()}
    run = describe_run(
        start=start,
        given=given,
        X=X,
        y=labels,
        rare=classes.tolist()[-1],
        folds=folds,
        strategies=chosen,
        random_state=random_state,
        settings=None
        if own
        else {
            "groups": groups,
            "inner_cv": inner,
            "module": module,
            "max_epochs": max_epochs,
            "preprocessing": preprocessing,
            "scoring": scoring,
            "random_state": random_state,
        },
    )
    return StrategyComparison(
        table, _by_fold(done), name, first, data, interrupted, said, notes, run
    )


def _labels(y: Any, check: bool) -> tuple[NDArray[Any], list[str]]:
    """Return labels as the reader of tables decides about them, and its notes.

    Raises
    ------
    ValueError
        If labels are missing or no words and numbers; if it takes a guess to read them.
    """
    try:
        labels = column_or_1d(y)
        if type_of_target(labels) == "unknown":
            raise ValueError("y holds no labels.")
    except ValueError as error:
        explain_labels(y, error)
        raise
    return checked_labels(labels) if check else (labels, [])


def import_pandas() -> Any:
    """Import pandas, or raise an ImportError that names the extra."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "comparing strategies needs pandas, which is not installed: pip install "
            "'imbtorch[compare]'"
        ) from error
    return pandas


def pick(among: Mapping[str, Any], names: str | Sequence[str]) -> dict[str, Any]:
    """Select strategies by name or by the first letters of the name, ignoring case.

    Parameters
    ----------
    among : mapping
        Strategies by name.
    names : str or sequence of str
        Names, or first letters of names, to select.

    Raises
    ------
    ValueError
        If a name matches no strategy, or several.
    """
    found = {}
    for wanted in [names] if isinstance(names, str) else names:
        low = wanted.lower()
        fits = [name for name in among if name.lower() == low]
        fits = fits or [name for name in among if name.lower().startswith(low)]
        if len(fits) != 1:
            several = "matches several strategies" if fits else "is not a strategy"
            raise ValueError(f"{wanted!r} {several}; choose one of: {'; '.join(fits or among)}.")
        found[fits[0]] = among[fits[0]]
    return found


def _folds(
    X: Any, y: NDArray[Any], cv: Any, groups: Any, classes: NDArray[Any], seed: int
) -> list[Fold]:
    if isinstance(cv, int | np.integer):
        rarest = classes.tolist()[-1]
        if (count := np.count_nonzero(y == rarest)) < cv:
            raise ValueError(
                f"class {rarest!r} has {count} rows, fewer than the {cv} folds. Leave it out, "
                "merge it with another class, or use fewer folds."
            )
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        cv = kind(cv, shuffle=True, random_state=seed)
    everything = np.arange(len(y))
    folds = [
        (everything[np.asarray(train)], everything[np.asarray(test)])
        for train, test in check_cv(cv, y, classifier=True).split(X, y, groups)
    ]
    if not folds:
        raise ValueError("cv holds no splits; give a splitter, such as StratifiedKFold(5).")
    for number, fold in enumerate(folds):
        for part, rows in zip(("training", "test"), fold, strict=True):
            lacking = np.setdiff1d(classes, y[rows]).tolist()
            if lacking:
                raise ValueError(
                    f"fold {number} has no {part} row of class {lacking[0]!r}: every class must be "
                    "in both parts of each fold. Use fewer folds, or stratified folds."
                )
    return folds


def _run(
    strategies: Mapping[str, Any], verbose: int, evaluate: Callable[[Any], list[Outcome]]
) -> tuple[dict[str, list[Outcome]], dict[str, str], bool]:
    """Run the strategies one after the other; keep finished ones if others fail."""
    done: dict[str, list[Outcome]] = {}
    status = dict.fromkeys(strategies, "not run")
    from tqdm.auto import tqdm  # which chooses the bar of notebooks, and warns if it lacks one

    bar = tqdm(strategies.items(), unit="strategy", disable=not verbose)
    try:
        for name, estimator in bar:
            bar.set_postfix_str(name)
            try:
                done[name] = evaluate(estimator)
                status[name] = "ok"
            except Exception as error:
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                status[name] = f"failed: {first}"
    except KeyboardInterrupt:
        if not done:
            raise
        warnings.warn(
            f"interrupted: {len(done)} of {len(strategies)} strategies were finished.",
            stacklevel=3,
        )
        return done, status, True
    finally:
        bar.close()
    return done, status, False


def _by_fold(done: Mapping[str, list[Outcome]]) -> pd.DataFrame:
    pandas = import_pandas()
    return pandas.DataFrame(
        [
            {"strategy": name, "fold": fold, **outcome.measures, "chosen": outcome.chosen}
            for name, outcomes in done.items()
            for fold, outcome in enumerate(outcomes)
        ]
    )


def _table(
    done: Mapping[str, list[Outcome]],
    status: Mapping[str, str],
    folds: list[Fold],
    scoring: str,
    reference: str,
) -> pd.DataFrame:
    pandas = import_pandas()
    share = float(np.mean([len(test) / len(train) for train, test in folds]))
    rows: dict[str, dict[str, Any]] = {}
    for name, outcomes in done.items():
        row = rows[name] = {}
        for key in outcomes[0].measures:
            values = [outcome.measures[key] for outcome in outcomes]
            row[key] = float(np.mean(values))
            if key not in _WITHOUT_ERROR:
                row[f"{key}_se"] = standard_error(values)
        if name != reference and reference in done:
            values, others = ([o.measures[scoring] for o in done[n]] for n in (name, reference))
            sign = METRICS[scoring].sign if scoring in METRICS else 1
            found = paired_difference(values, others, share)
            low, high = sorted((sign * found.low, sign * found.high))
            row["difference"], row["difference_se"] = sign * found.mean, found.error
            row["difference_low"], row["difference_high"] = low, high
            row["p_value"] = found.p_value
    extra = [] if scoring in METRICS else [scoring]
    columns = [name for key in [*METRICS, *extra] for name in (key, f"{key}_se")]
    columns += ["difference", "difference_se", "difference_low", "difference_high", "p_value"]
    columns += _WITHOUT_ERROR
    table = pandas.DataFrame.from_dict(rows, orient="index", columns=None)
    table = table.reindex(index=list(status), columns=columns)
    table["p_value"] = holm(table["p_value"])
    table["status"] = pandas.Series(status)
    table.index.name = "strategy"
    return table
