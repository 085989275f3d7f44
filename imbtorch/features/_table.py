"""The feature encoder of tables: numbers, categories and gaps."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from imbtorch._common.sklearn_private import (
    Interval,
    StrOptions,
    _check_sample_weight,
)
from imbtorch.features._base import FeatureEncoder
from imbtorch.features._columns import TableColumns, is_text
from imbtorch.features._display import diagram
from imbtorch.features._encoder import TableEncoder, encoded
from imbtorch.features._piecewise import edges_between
from imbtorch.features._reading import read_table
from imbtorch.features._statistics import ColumnStatistics, column_statistics, sparse_statistics

__all__ = ["TableFeatures"]

Floats = NDArray[np.float64]
_QUANTILES = 128
_MOST_EMBEDDED = 256  # of more numbers waves cost more than they gain: docs/which_net.md
_FEW_WORDS = 50  # so many different values are no sign of identifiers


class TableFeatures(FeatureEncoder):
    """Encoder of tables: it scales numbers, fills gaps and encodes categories.

    An estimator learns it from its training rows, before any sampler, and holds it as a part of
    the net. Rows count as much as they weigh. It is also a transformer of scikit-learn.

    Parameters
    ----------
    scaling : {"standard", "robust", "quantile"} or None, default="standard"
        What happens to numbers. ``"standard"``: subtract the mean, divide by the standard
        deviation. ``"robust"``: subtract the median, divide by the interquartile range, and bend
        outliers smoothly to at most 3 [1]_. ``"quantile"``: normal scores of the ranks. None leaves
        them as they are. Columns that are constant in training become 0.
    numeric_embedding : {"auto", "piecewise_linear", "periodic"} or None, default="auto"
        What the net gets of a number besides the scaled number. ``"auto"`` is ``"periodic"`` for
        up to 256 columns of numbers; it is None for more, and for sparse matrices.
        ``"piecewise_linear"``: one column for each of ``n_bins`` bins, which rises from 0 to 1
        within the bin [4]_. It helps where the effect of a number has steps or corners, costs
        nothing in training but the wider first layer, and overfits where rows are few.
        ``"periodic"``: three functions of the number, each a sum of ``n_frequencies`` waves that
        the net learns [1]_. Columns with fewer than three different values get neither.
    n_bins : int, default=8
        Number of bins, 2 or more. Their edges are quantiles of the *different* values that a column
        has in training, so that a value which many rows have does not use up the bins. A column of
        few different values has a bin between each two of them.
    n_frequencies : int, default=16
        Number of waves of each number, for ``"periodic"``.
    frequency_scale : float, default=0.1
        Standard deviation of the frequencies at the beginning, for ``"periodic"``, in periods per
        unit of the *scaled* number. The larger it is, the finer the structure that the net sees at
        once, and the sooner it overfits.
    fill : {"mean", "median"}, default="mean"
        What a missing number is replaced by, also in its bins.
    add_indicator : bool, default=True
        Whether a column that has gaps in training gets a second column, 1 where there is a gap.
    categorical_features : {"from_dtype"}, sequence of str, int or bool, or None, \
default="from_dtype"
        Which columns hold categories. ``"from_dtype"``: those of strings, and of the categorical
        types of pandas and polars. Else their names, their positions, or a mask; the others must be
        numbers.
    max_categories : int or None, default=None
        Largest number of categories of a column; the rarest ones are encoded as one. None for no
        limit.
    min_frequency : int, float or None, default=None
        Rows that a category must have, or the share of the rows; rarer ones are encoded as one.
    max_one_hot : int, default=32
        Up to so many categories a column gets one column of zeros and ones for each. Columns with
        more get an embedding, which the net learns.
    embedding_size : {"auto"}, int or None, default="auto"
        Numbers of the embedding [2]_ of a category. ``"auto"`` is the fourth root of the largest
        number of categories, rounded up [3]_. None gives every column of categories columns of
        zeros and ones.

    Attributes
    ----------
    encoder_ : TableEncoder
        What was learned, as a module of torch.
    columns_ : TableColumns
        The columns of the table, and the categories.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Names of the columns, where the table has them.

    Notes
    -----
    Categories that training did not have are encoded like the infrequent ones, or as zeros if
    there are none; so is a gap in a column of categories that had none in training. Quantiles of
    more than 200,000 rows are those of evenly spread rows. Scaled numbers are bounded by a million,
    and so are bins: below the first edge and above the last one they go on along the same line.
    Sparse matrices stay sparse: each column is divided by the root mean square of its values that
    are not 0, nothing is subtracted, and gaps become the mean.

    References
    ----------
    .. [1] Holzmüller et al. (2024). "Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on
           Tabular Data". :arxiv:`2407.04491`
    .. [2] Guo and Berkhahn (2016). "Entity Embeddings of Categorical Variables".
           :arxiv:`1604.06737`
    .. [3] `Introducing TensorFlow Feature Columns
           <https://developers.googleblog.com/introducing-tensorflow-feature-columns/>`_ (2017)
    .. [4] Gorishniy, Rubachev and Babenko (2022). "On Embeddings for Numerical Features in Tabular
           Deep Learning". :arxiv:`2203.05556`

    Examples
    --------
    >>> import numpy as np
    >>> from imbtorch.features import TableFeatures
    >>> X = np.array([["a", 1.0], ["b", 3.0], ["a", None], ["b", 5.0]], dtype=object)
    >>> features = TableFeatures().fit(X)
    >>> features.get_feature_names_out().tolist()
    ['x1', 'x1_missing', 'x0_a', 'x0_b']
    >>> features.transform(X).round(2).tolist()[2]
    [0.0, 1.0, 1.0, 0.0]

    A number and its progress through two bins, from 0 to 10 and from 10 to 100:

    >>> binned = TableFeatures(scaling=None, numeric_embedding="piecewise_linear", n_bins=2)
    >>> binned.fit([[0.0], [10.0], [100.0]]).transform([[5.0], [55.0]]).tolist()
    [[5.0, 0.5, 0.0], [55.0, 1.0, 0.5]]
    """

    name = "table"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "scaling": [StrOptions({"standard", "robust", "quantile"}), None],
        "numeric_embedding": [StrOptions({"auto", "piecewise_linear", "periodic"}), None],
        "n_bins": [Interval(Integral, 2, None, closed="left")],
        "n_frequencies": [Interval(Integral, 1, None, closed="left")],
        "frequency_scale": [Interval(Real, 0, None, closed="neither")],
        "fill": [StrOptions({"mean", "median"})],
        "add_indicator": ["boolean"],
        "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
        "max_categories": [Interval(Integral, 1, None, closed="left"), None],
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "max_one_hot": [Interval(Integral, 0, None, closed="left")],
        "embedding_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            None,
        ],
    }

    def __init__(
        self,
        *,
        scaling: str | None = "standard",
        numeric_embedding: str | None = "auto",
        n_bins: int = 8,
        n_frequencies: int = 16,
        frequency_scale: float = 0.1,
        fill: str = "mean",
        add_indicator: bool = True,
        categorical_features: str | Sequence[Any] | None = "from_dtype",
        max_categories: int | None = None,
        min_frequency: int | float | None = None,
        max_one_hot: int = 32,
        embedding_size: str | int | None = "auto",
    ) -> None:
        self.scaling = scaling
        self.numeric_embedding = numeric_embedding
        self.n_bins = n_bins
        self.n_frequencies = n_frequencies
        self.frequency_scale = frequency_scale
        self.fill = fill
        self.add_indicator = add_indicator
        self.categorical_features = categorical_features
        self.max_categories = max_categories
        self.min_frequency = min_frequency
        self.max_one_hot = max_one_hot
        self.embedding_size = embedding_size

    # -- as a transformer ------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> TableFeatures:
        """Learn the encoder.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, n_features)
            Table.
        y : None
            Not used.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights >= 0 of the rows.

        Returns
        -------
        TableFeatures
            The fitted encoder.
        """
        self.validate()
        matrix, columns = read_table(self, X, self.categorical_features)
        rows = None
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, matrix, dtype=np.float64)
            rows = np.flatnonzero(sample_weight > 0)
        self.encoder_ = self.learn(columns, matrix, rows, sample_weight, dtype=torch.float64)
        return self

    @property
    def columns_(self) -> TableColumns:
        """The columns of the table, and the categories."""
        return self.encoder_.columns

    def transform(self, X: Any) -> NDArray[Any]:
        """Encode rows.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, n_features)
            Table with the columns of the fit, in the same order.

        Returns
        -------
        ndarray of float64, shape (n, n_features_out)
            Scaled numbers, indicators, bins of numbers, zeros and ones for categories, and the
            codes of categories that a net embeds. Periodic embeddings of numbers are computed by
            the net alone.
        """
        check_is_fitted(self, "encoder_")
        matrix, _ = read_table(self, X, self.categorical_features, self.columns_)
        rows: NDArray[Any] = encoded(matrix, self.encoder_, stays=False)
        return rows

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the columns that ``transform`` makes.

        Parameters
        ----------
        input_features : None
            Not used: the names are those of the fit.

        Returns
        -------
        ndarray of str
            One name per column.
        """
        check_is_fitted(self, "encoder_")
        return np.asarray(self.encoder_.names(), dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Say that gaps and strings are accepted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.numeric_embedding in ("auto", None)
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    def _sk_visual_block_(self) -> Any:
        """Show the columns by kind, where scikit-learn draws the fitted encoder in HTML."""
        return diagram(self.encoder_)

    # -- learning --------------------------------------------------------------------------------

    def learn(
        self,
        columns: TableColumns,
        X: Any,
        rows: NDArray[Any] | None = None,
        sample_weight: NDArray[Any] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> TableEncoder:
        """Learn an encoder from the training rows of a matrix; see :class:`FeatureEncoder`."""
        if sparse.issparse(X):
            return self._learn_sparse(columns, X, rows, sample_weight, dtype)
        numbers = columns.numbers
        quantiles = (
            self.scaling in ("robust", "quantile")
            or self.fill == "median"
            or self.numeric_embedding == "piecewise_linear"
        )
        known = column_statistics(
            X, columns, rows, sample_weight, needs_quantiles=quantiles and bool(numbers)
        )
        self._refuse_identifiers(columns, known)
        centre, factor = self._location(known)
        table = known.quantiles(np.linspace(0, 1, _QUANTILES)) if self._ranks(numbers) else None
        indicators = np.flatnonzero(known.has_gaps & known.has_values).tolist()
        counted = zip(known.frequencies, known.present, strict=True)
        slots = [self._slots(*counts) for counts in counted]
        n_slots = [n for _, n in slots]
        filling = self._filling(known)
        encoder = TableEncoder(
            columns,
            centre,
            factor,
            np.zeros(len(numbers)),
            indicators if self.add_indicator else [],
            [slot for slot, _ in slots],
            n_slots,
            [j for j, n in enumerate(n_slots) if self._is_embedded(n)],
            clips=self.scaling == "robust",
            quantiles=table,
            dtype=dtype,
        )
        encoder.fill_gaps_with(filling)
        if self.numeric_embedding is not None and numbers:
            self._embed_numbers(encoder, known)
        return encoder

    def _embed_numbers(self, encoder: TableEncoder, known: ColumnStatistics) -> None:
        """Let an encoder put numbers into bins, or name those which the net embeds."""
        if self.numeric_embedding == "piecewise_linear":
            assert known.sample is not None
            edges = np.stack([edges_between(column, self.n_bins) for column in known.sample[0]])
            encoder.put_numbers_in_bins(edges)
            return
        embedded = np.flatnonzero(known.has_several & (encoder.factor.numpy() != 0))
        if self.numeric_embedding == "periodic" or len(embedded) <= _MOST_EMBEDDED:
            encoder.periodic = embedded.tolist()

    def _learn_sparse(
        self,
        columns: TableColumns,
        X: Any,
        rows: NDArray[Any] | None,
        sample_weight: NDArray[Any] | None,
        dtype: torch.dtype,
    ) -> TableEncoder:
        """Learn to scale the values of a sparse matrix, without subtracting anything."""
        if self.scaling not in ("standard", None) or self.fill != "mean":
            raise ValueError(
                f"A sparse X is scaled without subtracting anything, so that it stays sparse; "
                f"scaling={self.scaling!r} and fill={self.fill!r} cannot do so. Use "
                "scaling='standard' and fill='mean', or X.toarray()."
            )
        if self.numeric_embedding not in ("auto", None):
            raise ValueError(
                f"numeric_embedding={self.numeric_embedding!r} makes other numbers of zeros, so "
                "that a sparse X would not stay sparse. Use numeric_embedding=None, or X.toarray()."
            )
        chosen = X if rows is None else X[rows]
        weights = None
        if sample_weight is not None:
            weights = sample_weight if rows is None else sample_weight[rows]
        mean, size = sparse_statistics(chosen, weights)
        factor = np.ones(len(mean))
        if self.scaling is not None:
            factor = np.divide(1.0, size, out=factor, where=size > 0)
        return TableEncoder(columns, 0 * mean, factor, mean * factor, [], [], [], [], dtype=dtype)

    def _ranks(self, numbers: list[int]) -> bool:
        return self.scaling == "quantile" and bool(numbers)

    def _location(self, known: ColumnStatistics) -> tuple[Floats, Floats]:
        """Return what is subtracted from numbers, and what they are multiplied by."""
        if self.scaling is None:
            return np.zeros(len(known.mean)), np.ones(len(known.mean))
        centre, spread = known.mean, known.scale
        # sums of many equal numbers are rounded: such a column is constant, too
        rounding = 10 * np.finfo(np.float64).eps * known.largest * np.sqrt(max(known.n_rows, 1))
        if self.scaling == "robust" and len(centre):
            lowest, low, centre, high, highest = known.quantiles([0, 0.25, 0.5, 0.75, 1]).T
            spread = np.where(high > low, high - low, (highest - lowest) / 2)
        spread = np.where(np.isfinite(spread), spread, known.largest)
        varies = known.has_values & (spread > rounding)
        factor = np.divide(1.0, spread, out=np.zeros(len(spread)), where=varies)
        return np.where(known.has_values, centre, 0.0), factor

    def _filling(self, known: ColumnStatistics) -> Floats:
        """Return what stands for a gap in each column of numbers."""
        middle = known.mean
        if self.fill == "median" and len(middle):
            middle = known.quantiles([0.5])[:, 0]
        return np.where(known.has_values, middle, 0.0)

    # -- categories ------------------------------------------------------------------------------

    def _slots(self, frequency: Floats, present: Floats) -> tuple[NDArray[np.intp], int]:
        """Give each word a slot, then words that are not known, and gaps; count the slots."""
        seen = present[:-1] > 0
        kept = seen.copy()
        if self.min_frequency is not None:
            least = self.min_frequency
            if not isinstance(least, Integral):
                least = least * frequency.sum()
            kept &= frequency[:-1] >= least - 1e-9
        if self.max_categories is not None and kept.sum() > self.max_categories - 1:
            n_kept = self.max_categories - (seen.sum() > self.max_categories)
            order = np.argsort(-np.where(kept, frequency[:-1], -1.0), kind="stable")
            kept &= np.isin(np.arange(len(kept)), order[: int(n_kept)])
        slots = np.full(len(present) + 1, -1, dtype=np.intp)
        slots[:-2][kept] = np.arange(kept.sum())
        following = int(kept.sum())
        infrequent = (seen & ~kept).any()
        unknown = following if infrequent else -1
        following += int(infrequent)
        slots[-1] = following if present[-1] else -1
        following += int(present[-1] > 0)
        slots[:-1][slots[:-1] < 0] = unknown
        slots[slots < 0] = following  # what training never had
        return slots, following + 1

    def _is_embedded(self, n_slots: int) -> bool:
        return self.embedding_size is not None and n_slots - 1 > self.max_one_hot

    def size_of_embedding(self, n_categories: int) -> int:
        """Return how many numbers stand for a category; see :class:`FeatureEncoder`."""
        if self.embedding_size == "auto":
            return super().size_of_embedding(n_categories)
        assert isinstance(self.embedding_size, Integral)
        return int(self.embedding_size)

    def _refuse_identifiers(self, columns: TableColumns, known: ColumnStatistics) -> None:
        """Raise ValueError if nearly all words of a column are different."""
        if self.max_categories is not None or self.min_frequency is not None:
            return
        wrong = []
        for position, present in zip(columns.vocabulary, known.present, strict=True):
            words, rows = present[:-1], present[:-1].sum()
            n_different = int((words > 0).sum())
            if n_different > max(_FEW_WORDS, rows / 2):
                wrong.append(columns.name_of(position))
        if wrong:
            first = columns.vocabulary[list(columns.vocabulary)[0]]
            what = "text" if is_text(first) else "values"
            raise ValueError(
                f"Columns whose {what} are nearly all different: {wrong}. They hold identifiers or "
                f"free text, from which a net learns nothing as categories. Leave them out: "
                f"X.drop(columns={wrong}); or let skrub.tabular_pipeline(estimator) make numbers "
                "of text and dates; or state max_categories or min_frequency of TableFeatures."
            )
