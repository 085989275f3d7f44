"""What a fitted estimator shows in a notebook, below the diagram of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.html import fragment, paragraph, sparkline, table
from imbtorch._publish.model_card import best_epoch, described_population
from imbtorch._tasks import ClassificationTask

__all__ = ["NotebookMixin", "fitted_parts"]

_MOST_CLASSES = 12


class NotebookMixin:
    """Show what was learned in a notebook; place it before ``BaseEstimator`` in the bases."""

    def _notebook_parts(self) -> list[str]:
        """Return pieces of HTML about the fitted estimator.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        """
        return fitted_parts(self)

    def _with_parts(self, diagram: str) -> str:
        try:
            return diagram + fragment(self._notebook_parts())
        except NotFittedError:
            return diagram

    @property
    def _repr_html_(self) -> Callable[[], str]:
        """Notebooks ask for this method; it is absent where scikit-learn shows texts."""
        diagram: Callable[[], str] = super()._repr_html_  # type: ignore[misc] # BaseEstimator
        return lambda: self._with_parts(diagram())

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in bundle:
            bundle["text/html"] = self._with_parts(bundle["text/html"])
        return bundle


def fitted_parts(estimator: Any) -> list[str]:
    """Describe a fitted net, or a mean of nets: its training, and what its probabilities mean.

    Parameters
    ----------
    estimator : estimator instance
        A classifier, a regressor, an ensemble or a portfolio.

    Returns
    -------
    list of str
        Pieces of HTML.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    """
    check_is_fitted(estimator)
    members = getattr(estimator, "estimators_", [estimator])
    return [_training(members), _curves(members[0]), _classes(estimator, members[0])]


def _training(members: Any) -> str:
    first = members[0]
    epochs = sorted({member.n_iter_ for member in members})
    length = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    n_weights = sum(p.numel() for p in first.module_.parameters())
    nets = "One net" if len(members) == 1 else f"The mean of {len(members)} nets"
    each = "" if len(members) == 1 else " each"
    text = f"{nets} with {n_weights:,} weights{each}, trained for {length} epochs."
    if any(member.interrupted_ for member in members):
        text += " Ctrl-C cut the training short."
    if len(members) > 1:
        text += " The curves are those of the first net."
    return paragraph(text)


def _curves(member: Any) -> str:
    history = member.history_
    losses = [float(record["train_loss"]) for record in history]
    curves = sparkline("training loss", losses)
    if len(history) and "valid_score" in history[-1]:
        scores = [float(record["valid_score"]) for record in history]
        best = None if np.isnan(scores).all() else best_epoch(member)[1] - 1
        curves += sparkline("validation score", scores, marked=best)
    return curves


def _classes(estimator: Any, member: Any) -> str:
    task = member.net_.task
    if not isinstance(task, ClassificationTask):
        return ""
    found = described_population(estimator, member)
    rows = task.present(estimator.class_counts_)
    columns = [estimator.classes_.tolist(), rows.tolist(), estimator.class_prior_.tolist()]
    titles = [task.singular, "rows, weighted", "share in training"]
    if found is None:
        caption = "The outputs are scores of the loss, not probabilities: calibrate them."
    else:
        prior, source = found
        columns.append(prior.tolist())
        titles.append("described share")
        caption = (
            f"Probabilities describe a population with the shares of the last column ({source})."
        )
    shown = list(zip(*columns, strict=True))
    if len(shown) > _MOST_CLASSES:
        caption += f" The first {_MOST_CLASSES} of {len(shown)} {task.noun} are shown."
    return table(titles, shown[:_MOST_CLASSES], caption)
