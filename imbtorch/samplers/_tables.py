"""Tables on their way through a sampler of imbalanced-learn, which may know categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imbtorch.features import TableEncoder
from imbtorch.features._columns import positions_of

__all__ = ["SampledTable", "in_one_line", "refuse_mixed_codes"]


class SampledTable:
    """What a sampler gets of a table, and what becomes of the rows that it makes.

    A sampler that knows categories, such as SMOTENC, gets one column of codes for each column of
    categories. Any other gets the rows as the net does, but for the bins of numbers, which are
    computed from the numbers that the sampler made.

    Parameters
    ----------
    encoder : TableEncoder
        Encoder of the table.
    sampler : object with fit_resample
        Copy of a sampler of imbalanced-learn. Its parameter ``categorical_features``, if there is
        one, names columns of the table; it becomes the places of these columns, and of all columns
        of categories, in the rows that the sampler gets.
    """

    def __init__(self, encoder: TableEncoder, sampler: Any) -> None:
        self.encoder, self.sampler = encoder, sampler
        params = sampler.get_params(deep=False)
        self.knows_categories = bool({"categorical_features", "categorical_encoder"} & set(params))
        if "categorical_features" in params:
            places = self._categorical(params["categorical_features"])
            self.sampler.set_params(categorical_features=places)

    def _categorical(self, named: Any) -> list[int]:
        """Return the places of the columns that only hold a few values."""
        encoder, columns = self.encoder, self.encoder.columns
        places = list(range(len(encoder.numbers), encoder.n_compact))
        if named is None or isinstance(named, str):  # "auto"
            return places
        chosen = positions_of(named, columns.n_columns, columns.names) or ()
        return [i for i, j in enumerate(encoder.numbers) if j in chosen] + places

    def rows(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return what the sampler gets.

        Parameters
        ----------
        X : ndarray of shape (n, n_columns)
            Rows as :meth:`imbtorch.features.TableColumns.read` makes them.

        Returns
        -------
        ndarray of shape (n, n_compact) or (n, n_encoded - n_bins)
            Scaled numbers without gaps, and codes or columns of zeros and ones.
        """
        rows = torch.from_numpy(np.array(X, dtype=np.float64))
        encoder = self.encoder
        encode = encoder.compact if self.knows_categories else encoder.without_bins
        made: NDArray[Any] = encode(rows).numpy()
        return made

    def encoded(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Encode the rows that the sampler made, as the net needs them.

        Raises
        ------
        ValueError
            If the sampler has made numbers between the codes of categories.
        """
        if self.knows_categories:
            return np.asarray(self.encoder.expand(torch.from_numpy(rows)))
        codes = rows[:, rows.shape[1] - len(self.encoder.embedded) :]
        if (codes != np.floor(codes)).any():
            names = self.encoder.names()[len(self.encoder.names()) - codes.shape[1] :]
            raise ValueError(
                f"sampler {in_one_line(self.sampler)} makes rows between others, but the columns "
                f"{names} hold codes of categories, between which there is nothing. Use SMOTENC("
                "categorical_features='auto'), RandomOverSampler, or TableFeatures("
                "embedding_size=None), which gives each category a column of its own."
            )
        return np.asarray(self.encoder.with_bins(torch.from_numpy(rows)))


def refuse_mixed_codes(sampler: Any, encoder: TableEncoder | None) -> None:
    """Raise ValueError if a sampler would mix the codes of categories."""
    if encoder is not None and encoder.embedded:
        names = encoder.names()[-len(encoder.embedded) :]
        raise ValueError(
            f"sampler={sampler!r} mixes rows, but the columns {names} hold codes of categories, "
            "which the net embeds. Use features=TableFeatures(embedding_size=None), which gives "
            "each category a column of its own."
        )


def in_one_line(sampler: Any) -> str:
    """Return how a sampler was made, without the line breaks that scikit-learn puts into it.

    Whoever shows the first line of a message shows the reason then, too.
    """
    return " ".join(repr(sampler).split())
