"""Model cards: descriptions of fitted estimators in markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.inputs import is_one_sequence, shapes_by_key
from imbtorch._common.versions import versions
from imbtorch._fit.fit import weight_decay_of
from imbtorch._tasks import ClassificationTask
from imbtorch.losses import BaseLoss
from imbtorch.modules import is_builder

__all__ = ["ModelCardMixin", "best_epoch", "described_population"]

_MOST_CLASSES, _LONGEST = 20, 80  # most rows of a table of classes; most characters of a name
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")


class ModelCardMixin:
    """Add the method ``model_card`` to a classifier, a regressor or an ensemble."""

    def model_card(self, metrics: Mapping[str, float] | None = None) -> str:
        """Describe the fitted model in markdown, for the people who will use it.

        Parameters
        ----------
        metrics : dict of str to float or None, default=None
            Values that you measured on data which the training has not seen, by name of the
            metric.

        Returns
        -------
        str
            Description of the data with counts and weights of the classes, the population that
            probabilities describe, loss, sampler, training, ``metrics``, versions, and how to load
            the model. Of more than 20 classes the 10 most frequent and the 10 rarest are listed.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import make_classification
        >>> from imbtorch import ImbalancedNetClassifier
        >>> X, y = make_classification(1000, weights=[0.95], flip_y=0, random_state=0)
        >>> clf = ImbalancedNetClassifier(class_weight="balanced", loss="focal", random_state=0)
        >>> card = clf.fit(X, y).model_card({"average_precision": 0.7})
        >>> print(card[: card.index("## Probabilities")])
        # ImbalancedNetClassifier
        <BLANKLINE>
        ## Data
        <BLANKLINE>
        - rows trained on: 1000
        - features: 20
        <BLANKLINE>
        | class | rows, weighted | share | class weight |
        | --- | --- | --- | --- |
        | 0 | 950 | 0.95 | 0.526316 |
        | 1 | 50 | 0.05 | 10 |
        <BLANKLINE>
        """
        check_is_fitted(self)
        members = getattr(self, "estimators_", [self])
        sections = {
            "Data": _data(self, members[0]),
            "Probabilities": _probabilities(self, members[0]),
            "Model": _model(self, members),
            "Training": _training(self, members),
            "Metrics": _table(("metric", "value"), (metrics or {}).items()) if metrics else [],
            "Versions": _list(versions()),
            "Loading": _loading(members[0]),
        }
        lines = [f"# {type(self).__name__}", ""]
        for title, body in sections.items():
            if body:
                lines += [f"## {title}", "", *body, ""]
        return "\n".join(lines)


# -- sections ------------------------------------------------------------------------------


def _data(estimator: Any, member: Any) -> list[str]:
    shape = member._input_shape
    names = getattr(estimator, "feature_names_in_", None)
    listed = "" if names is None else f" ({_some(names)})"
    if not isinstance(member.net_.task, ClassificationTask):
        rows, total = member._seen_
        targets = zip(member.target_mean_, member.target_scale_, strict=True)
        facts = {"rows trained on": int(rows)}
        if total != rows:
            facts["their weight"] = total
        table = _table(
            ("target", "mean", "standard deviation"), ((i, *both) for i, both in enumerate(targets))
        )
    else:
        facts = {"rows trained on": member._n_rows_seen}
        table = _classes(estimator, member)
    several = shapes_by_key(shape)
    if is_one_sequence(shape):
        return [*_list(facts), f"- features: {_sizes(shape[0])}", "", *table]
    if several is not None:
        names = ", ".join(f"{key} ({_sizes(part)})" for key, part in several.items())
        return [*_list(facts), f"- inputs: {names}", "", *table]
    return [*_list(facts), f"- features: {_sizes(shape)}{listed}", "", *table]


def _sizes(shape: tuple[Any, ...]) -> str:
    if shape[:1] == (None,):
        return "sequences of unequal length" + (
            f", {_sizes(shape[1:])} a step" if shape[1:] else ""
        )
    return " x ".join(map(str, shape)) or "1"


def _classes(estimator: Any, member: Any) -> list[str]:
    task = member.net_.task
    present = task.present(estimator.class_counts_)
    weight = task.shown_weight(member.class_weight_)
    columns = (estimator.classes_.tolist(), present, estimator.class_prior_, weight)
    titles = (task.singular, "rows, weighted", "share", task.weight_title)
    return _table(titles, _abbreviated(columns, present))


def described_population(estimator: Any, member: Any) -> tuple[NDArray[Any], str] | None:
    """Return the shares of the classes that probabilities describe, and what has decided them.

    Parameters
    ----------
    estimator : estimator instance
        A fitted classifier, or a mean of several.
    member : estimator instance
        One of its members; itself if it is a single net.

    Returns
    -------
    tuple of ndarray and str, or None
        Share of each class (of each label, the share of the rows that have it), and its source;
        None if the outputs are scores and not probabilities.
    """
    loss, task = member.loss_, member.net_.task
    target = (getattr(estimator, "estimator", None) or member).target_prior
    raw = type(loss).log_scores is not BaseLoss.log_scores and target is None
    if not loss.has_posterior_for(task) or raw:
        return None
    if target is None:
        return estimator.effective_prior_, "the effective prior of the training"
    return task.resolve_prior(target, estimator.class_prior_), f"target_prior: {target}"


def _probabilities(estimator: Any, member: Any) -> list[str]:
    task = member.net_.task
    if not isinstance(task, ClassificationTask):
        return []
    found = described_population(estimator, member)
    if found is None:
        return [
            f"`predict_proba` returns normalised scores of `{type(member.loss_).__name__}`, which "
            "are not probabilities: calibrate them before you use them as probabilities."
        ]
    prior, source = found
    parameter, _, value = source.partition(": ")
    source = f"`{parameter}`: {_inline(value)}" if value else source
    columns: Any = (estimator.classes_.tolist(), estimator.effective_prior_, prior)
    return [
        "`predict_proba` describes a population with these shares of the "
        f"{task.noun} ({source}). The effective prior is what the raw "
        "posterior describes: training prior x sampler x weights x loss.",
        "",
        *_table(
            ("", "effective prior", "described"), _abbreviated(columns, estimator.class_prior_)
        ),
    ]


def _model(estimator: Any, members: Sequence[Any]) -> list[str]:
    first = members[0]
    n_parameters = sum(p.numel() for p in first.module_.parameters())
    facts = {"module": type(first.module_).__name__, "parameters of the module": n_parameters}
    if estimator is not first:
        facts |= {"members": len(members), "rows of a member": estimator._rows_of_members}
    facts["loss"] = _settings(first.loss_)
    for name in ("class_weight", "density_weight", "sampler"):
        if getattr(first, name, None) is not None:
            facts[name] = getattr(first, name)
    text = repr(estimator)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return [*_list(facts), "", "Settings that differ from the defaults:", "", fence, text, fence]


def _training(estimator: Any, members: Sequence[Any]) -> list[str]:
    first = members[0]
    schedule = first.lr_schedule
    facts = {
        "epochs": _spread([member.n_iter_ for member in members]),
        "max_epochs": first.max_epochs,
        "batch size": first.net_.batch_size,
        "optimizer": getattr(first.optimizer, "__name__", first.optimizer),
        "learning rate": first.lr,
        "learning-rate schedule": getattr(schedule, "__name__", schedule),
        "weight decay": weight_decay_of(first),
        "loss of the last epoch": _spread([_last(m, "train_loss") for m in members]),
    }
    if "aux_loss" in first.history_[-1]:
        facts["aux_loss of the last epoch, a part of it"] = _spread(
            [_last(m, "aux_loss") for m in members]
        )
    if first.param_groups:
        facts["settings of parameters by name"] = first.param_groups
    if "valid_score" in first.history_[-1]:
        facts["validation score of the last epoch"] = _spread(
            [_last(m, "valid_score") for m in members]
        )
        facts["best validation score"] = _spread([best_epoch(m)[0] for m in members])
        kept = "kept" if first.early_stopping else "not kept"
        facts[f"its epoch ({kept})"] = _spread([best_epoch(m)[1] for m in members])
    facts |= {"device": first.device_, "dtype": first.dtype, "random_state": estimator.random_state}
    if any(member.interrupted_ for member in members):
        facts["interrupted"] = "yes, by Ctrl-C"
    return _list(facts)


def _loading(member: Any) -> list[str]:
    known = is_builder(member.module)
    rest = ")" if known else ", module=...)  # the network itself is not in the file"
    load = f'model = imbtorch.load("model.safetensors"{rest}'
    return ["Saved with `save(path)`:", "", "```python", "import imbtorch", "", load, "```"]


# -- pieces --------------------------------------------------------------------------------


def _last(member: Any, key: str) -> float:
    """Return the last recorded value; epochs that are not scored have NaN."""
    values = [float(record[key]) for record in member.history_]
    return next((value for value in reversed(values) if not np.isnan(value)), values[-1])


def best_epoch(member: Any) -> tuple[float, int]:
    """Return the best validation score and the last epoch that reached it, counted from 1."""
    scores = np.array([record["valid_score"] for record in member.history_], dtype=float)
    if np.isnan(scores).all():
        return float("nan"), len(scores)
    best = np.nanmax(scores)
    return float(best), int(np.flatnonzero(scores == best)[-1]) + 1


def _spread(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return _number(low) if low == high else f"{_number(low)} to {_number(high)}"


def _settings(loss: Any) -> str:
    params = loss.get_params(deep=False)
    shown = {k: v for k, v in params.items() if k not in ("ignore_index", "reduction", "weight")}
    return f"{type(loss).__name__}({', '.join(f'{key}={value!r}' for key, value in shown.items())})"


def _abbreviated(
    columns: Sequence[Sequence[Any]], frequency: NDArray[Any]
) -> Iterable[tuple[Any, ...]]:
    """Return the rows of a table of classes: all, or only the most frequent and rarest ones."""
    rows = list(zip(*columns, strict=True))
    if len(rows) <= _MOST_CLASSES:
        return rows
    order, half = np.argsort(-frequency, kind="stable"), _MOST_CLASSES // 2
    gap = (f"({len(rows) - 2 * half} more)", *[""] * (len(columns) - 1))
    return [*(rows[i] for i in order[:half]), gap, *(rows[i] for i in order[-half:])]


def _some(names: Iterable[Any]) -> str:
    names = list(names)
    more = f", {len(names) - _MOST_CLASSES} more" if len(names) > _MOST_CLASSES else ""
    return ", ".join(map(_inline, names[:_MOST_CLASSES])) + more


def _list(facts: Mapping[str, Any]) -> list[str]:
    return [f"- {key}: {_inline(value)}" for key, value in facts.items()]


def _table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *([_inline(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _number(value: float) -> str:
    return f"{value:.6g}"


def _inline(value: Any) -> str:
    """Write a value as one line of text, with markdown's special characters escaped."""
    if isinstance(value, float | np.floating):
        return _number(float(value))
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return _PUNCTUATION.sub(r"\\\1", text)
