"""The picture of an encoded table in a notebook: which column is encoded in which way."""

from __future__ import annotations

from typing import Any

from sklearn.compose import ColumnTransformer

from imbtorch.features._encoder import TableEncoder

__all__ = ["diagram"]

_SHOWN = 30  # names of columns; more make the page of a notebook slow


def diagram(encoder: TableEncoder) -> Any:
    """Describe the columns of a table by kind, for scikit-learn's HTML representation.

    The picture is that of a ``ColumnTransformer`` which has one step for each kind of column:
    numbers, numbers with gaps in training, and categories of either form.

    Parameters
    ----------
    encoder : TableEncoder
        Fitted encoder.

    Returns
    -------
    object
        What ``_sk_visual_block_`` returns.
    """
    name_of = encoder.columns.name_of
    with_gaps = set(encoder.indicators)
    more = "bins" if encoder.bins is not None else "waves" if encoder.periodic else ""
    categories = [
        f"{name_of(j)} ({len(encoder.columns.vocabulary[j])})" for j in encoder.categories
    ]
    kinds = {
        ("numbers", f"a column and {more} each" if more else "one column each"): [
            name_of(j) for i, j in enumerate(encoder.numbers) if i not in with_gaps
        ],
        (
            "numbers with gaps",
            f"a column{', ' * bool(more)}{more} and an indicator each",
        ): [name_of(encoder.numbers[i]) for i in encoder.indicators],
        ("categories, one-hot", "a column per category"): [categories[j] for j in encoder.one_hot],
        ("categories, embedded", "one learned embedding each"): [
            categories[j] for j in encoder.embedded
        ],
    }
    steps = [
        (f"{kind}: {len(columns)}", encoding, _some(columns))
        for (kind, encoding), columns in kinds.items()
        if columns
    ]
    return ColumnTransformer(steps)._sk_visual_block_()


def _some(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
