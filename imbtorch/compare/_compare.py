"""Compare remedies for imbalance on one data set by nested cross-validation."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import type_of_target

from imbtorch._common.seed import draw_seeds
from imbtorch._common.sequences import are_sequences
from imbtorch._common.threads import ThreadLimit
from imbtorch._fit.input_advice import explain_labels
from imbtorch.compare._describe import describe_run
from imbtorch.compare._folds import Outcome, evaluate
from imbtorch.compare._frames import by_fold, by_strategy
from imbtorch.compare._inner_folds import inner_folds
from imbtorch.compare._metrics import METRICS, as_scorer, by_frequency, check_weighted
from imbtorch.compare._outer_folds import outer_folds
from imbtorch.compare._result import StrategyComparison
from imbtorch.compare._row_values import checked_groups, checked_weights, weight_names
from imbtorch.compare._strategies import default_strategies
from imbtorch.tables._frame import checked_frame, checked_labels
from imbtorch.tables._pandas import import_pandas

__all__ = ["compare_strategies", "pick"]


def compare_strategies(
    X: Any,
    y: ArrayLike,
    *,
    strategies: str | Sequence[str] | Mapping[str, Any] = "default",
    cv: Any = 5,
    groups: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
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
        Labels of any type. The rarer of two classes, by its number of rows, is the positive class.
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
    sample_weight : array-like of shape (n,) or None, default=None
        Weight >= 0 of each row: 2 counts as the row given twice, 0 as a row left out, both in
        training and in all metrics. Searches inside of a strategy train with the weights, but
        count each of their test rows once, as scikit-learn does. Every strategy must take weights.
        SMOTE does not, because its new rows have none: its row of the table says so.
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
        Whether labels and columns are checked as those of a file are, see
        :func:`imbtorch.tables.read_table`. Blanks around labels are removed, and labels that differ
        only by upper and lower case are an error. In a pandas frame a column that is an index or
        an identifier is left out, and numbers that are written as text become numbers; a warning
        and the notes of the result name these columns. False takes ``X`` and ``y`` as they are.
        With ``preprocessing``, and for strategies of your own, only the labels are checked.

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
        If ``groups`` or ``sample_weight`` has another length than ``y``, or a strategy of your own
        or the scorer takes no weights.
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
    start, own, given = time.time(), isinstance(strategies, Mapping), (X, y)
    import_pandas("comparing strategies")
    if not own:
        _refuse_sequences(X)
    labels, notes = _labels(y, check_columns)
    if check_columns and preprocessing is None and not own:
        X, about_columns = checked_frame(X)
        notes += about_columns
    check_consistent_length(X, labels)
    by_group = checked_groups(groups, len(labels))
    weights = checked_weights(sample_weight, labels)
    classes, counts = by_frequency(labels)
    name, scorer = _scorer(scoring, classes, weights is not None)
    seeds = draw_seeds(random_state, 2)
    folds = outer_folds(X, labels, cv, by_group, weights, classes, seeds[0])
    settings = {
        "module": module,
        "max_epochs": max_epochs,
        "preprocessing": preprocessing,
        "scoring": scoring,
        "inner_cv": inner_folds(folds, by_group, int(seeds[1])),
    }
    chosen = _chosen(strategies, labels, X, {**settings, "random_state": seeds[1]})
    first = _first(chosen, reference)
    weighted_by = None if weights is None else weight_names(chosen)

    def results(strategy: Any) -> list[Outcome]:
        return evaluate(strategy, X, labels, folds, classes, scorer, by_group, weights)

    # the steps of these nets are so small that more threads would mostly wait for each other
    with nullcontext() if own else ThreadLimit(1):
        done, status, interrupted = _run(chosen, verbose, results)
    comparison = StrategyComparison(
        table=by_strategy(done, status, folds, name, first),
        folds=by_fold(done),
        scoring=name,
        reference=first,
        data=_size(labels, classes, counts, len(folds), weights is not None),
        interrupted=interrupted,
        predictions={strategy: [one.said for one in found] for strategy, found in done.items()},
        notes=notes,
        run=describe_run(
            start=start,
            given=given,
            X=X,
            y=labels,
            rare=classes.tolist()[-1],
            folds=folds,
            strategies=chosen,
            random_state=random_state,
            settings=None if own else {"groups": groups, **settings, "random_state": random_state},
            weighted_by=weighted_by,
        ),
    )
    if interrupted:
        warnings.warn(comparison.interruption, stacklevel=2)
    return comparison


def _refuse_sequences(X: Any) -> None:
    """Raise ValueError if the default strategies cannot take ``X``, because it is no table."""
    if are_sequences(X):
        raise ValueError(
            "X holds sequences of unequal length, but the strategies of this package take a table. "
            "Give strategies of your own: a mapping of names to classifiers."
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


def _scorer(
    scoring: str | Callable[..., float], classes: NDArray[Any], is_weighted: bool
) -> tuple[str, tuple[str, Callable[..., float]] | None]:
    """Return the name of the deciding metric, and a scorer if ``METRICS`` does not contain it.

    Raises
    ------
    ValueError
        If the scorer does not fit the labels, or takes no weights and there are some.
    """
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    if name in METRICS:
        return name, None
    scorer = as_scorer(scoring, classes)
    if is_weighted:
        check_weighted(name, scorer)
    return name, (name, scorer)


def _chosen(
    strategies: str | Sequence[str] | Mapping[str, Any],
    y: NDArray[Any],
    X: Any,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the strategies by name: the caller's own ones, or some of the default ones.

    Raises
    ------
    ValueError
        If there is none, or a name is not known.
    """
    if isinstance(strategies, Mapping):
        chosen = dict(strategies)
    else:
        defaults = default_strategies(y, X=X, **settings)
        chosen = defaults if strategies == "default" else pick(defaults, strategies)
    if not chosen:
        raise ValueError("strategies is empty: there is nothing to compare.")
    return chosen


def _first(chosen: Mapping[str, Any], reference: str | None) -> str:
    """Return the strategy that the others are compared with."""
    first = next(iter(chosen)) if reference is None else reference
    if first not in chosen:
        raise ValueError(f"reference {first!r} is not one of the strategies: {', '.join(chosen)}.")
    return first


def _size(
    y: NDArray[Any],
    classes: NDArray[Any],
    counts: NDArray[np.intp],
    n_folds: int,
    is_weighted: bool,
) -> str:
    """Describe the data in words."""
    rare = f"{counts[-1]:,} of class {classes[-1]} ({counts[-1] / len(y):.2%})"
    weighted = " In training and in all metrics each row counts with its weight."
    return (
        f"{len(y):,} rows, {len(classes)} classes, {rare}; {n_folds} folds."
        f"{weighted if is_weighted else ''}"
    )


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
        return done, status, True
    finally:
        bar.close()
    return done, status, False
