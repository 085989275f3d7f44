"""The encoder of a table: from numbers with gaps and codes of categories to what a net reads.

Rows are encoded all at once where they lie in memory, else when they are read.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from imbtorch.features._columns import TableColumns
from imbtorch.features._piecewise import PiecewiseLinear

__all__ = ["LARGEST", "EncodedRows", "TableEncoder", "behind_encoder", "encoded"]

_BLOCK = 2**17  # numbers that are encoded together: their temporary copies stay in the cache
LARGEST = 1e6  # bound of scaled numbers, so that float32 and the products of the net stay finite
_NARROWEST = 1e-9  # width of a bin, relative to its edges or to 1: float64 still divides by it well


class TableEncoder(nn.Module):
    """Encode the rows of a table; everything that it knows was learned by :class:`TableFeatures`.

    A row that is encoded consists of the scaled numbers, an indicator of the gap for each column
    that had gaps in training, one column for each bin of the numbers, if they have bins, one column
    for each category of the columns of few categories, and one code for each column of many
    categories, whose embedding is learned by the net.

    Parameters
    ----------
    columns : TableColumns
        The columns of the table, with their vocabulary.
    centre, factor, fill : ndarray of shape (n_numbers,)
        A number ``x`` becomes ``(x - centre) * factor``, and a gap ``fill``.
    indicators : sequence of int
        Which columns of numbers get an indicator, by their place among these.
    slots : list of ndarray of int
        For each column of categories the slot of each word, then of words that are not known, and
        of gaps. The last slot is the one of what training never had: it is encoded as zeros.
    embedded : sequence of int
        Which columns of categories are embedded, by their place among these.
    clips : bool, default=False
        Whether scaled numbers are clipped smoothly, to between -3 and 3.
    quantiles : ndarray of shape (n_numbers, k) or None, default=None
        Quantiles of each column of numbers, where numbers are scaled to normal scores.
    edges : sequence of ndarray or None, default=None
        Edges of the bins of each column of numbers, in units of the scaled numbers and increasing;
        an empty array for a column without bins. None for no bins.
    periodic : sequence of int, default=()
        Which columns of numbers get periodic embeddings, by their place among these. The net learns
        them, so that the encoder only names the columns.
    dtype : torch.dtype, default=torch.float32
        Dtype of the encoded rows.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from imbtorch import ImbalancedNetClassifier
    >>> X, y = np.array([[1.0], [3.0], [5.0], [np.nan]]), [0, 0, 0, 1]
    >>> encoder = ImbalancedNetClassifier(max_epochs=1).fit(X, y).net_.encoder_
    >>> encoder.names()
    ['x0', 'x0_missing']
    >>> encoder(torch.tensor([[3.0], [torch.nan]])).tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """

    centre: Tensor
    factor: Tensor
    fill: Tensor
    lookup: Tensor
    quantiles: Tensor
    scores: Tensor

    def __init__(
        self,
        columns: TableColumns,
        centre: NDArray[np.float64],
        factor: NDArray[np.float64],
        fill: NDArray[np.float64],
        indicators: list[int],
        slots: list[NDArray[np.intp]],
        n_slots: list[int],
        embedded: list[int],
        *,
        clips: bool = False,
        quantiles: NDArray[np.float64] | None = None,
        edges: Sequence[NDArray[np.float64]] | None = None,
        periodic: Sequence[int] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.columns, self.indicators, self.embedded = columns, indicators, embedded
        self.clips, self.periodic, self.dtype = clips, list(periodic), dtype
        self.numbers, self.categories = columns.numbers, list(columns.vocabulary)
        self.n_slots = n_slots
        self.n_words = [len(slot) - 2 for slot in slots]
        self.one_hot = [j for j in range(len(slots)) if j not in set(embedded)]
        for name, values in (("centre", centre), ("factor", factor), ("fill", fill)):
            self.register_buffer(name, torch.from_numpy(np.array(values, dtype=np.float64)))
        together = np.concatenate(slots) if slots else np.zeros(0, dtype=np.intp)
        self.register_buffer("lookup", torch.from_numpy(together.astype(np.int64)))
        known = np.zeros((len(centre), 0)) if quantiles is None else quantiles
        self.register_buffer("quantiles", torch.from_numpy(np.nan_to_num(known)))
        ranks = torch.linspace(0, 1, known.shape[1], dtype=torch.float64).clamp(1e-3, 1 - 1e-3)
        self.register_buffer("scores", torch.special.ndtri(ranks))
        self.bins = None if edges is None else _bins(edges)

    # -- sizes -----------------------------------------------------------------------------------

    @property
    def n_encoded(self) -> int:
        """Number of columns of an encoded row."""
        dense = len(self.numbers) + len(self.indicators) + sum(self._widths())
        return dense + self.n_bins + len(self.embedded)

    @property
    def n_bins(self) -> int:
        """Number of columns of an encoded row that belong to bins of numbers."""
        return 0 if self.bins is None else sum(self.bins.n_bins)

    @property
    def keeps_zeros(self) -> bool:
        """Whether numbers are only scaled, so that a sparse matrix stays sparse."""
        others = self.n_slots or self.indicators or self.clips or self.quantiles.shape[1]
        more = self.n_bins or self.periodic
        return not others and not more and not bool(self.centre.any())

    @property
    def needs_embeddings(self) -> bool:
        """Whether the net learns embeddings of some columns."""
        return bool(self.embedded or self.periodic)

    def _widths(self) -> list[int]:
        """Return the number of columns of each column of few categories."""
        return [self.n_slots[j] - 1 for j in self.one_hot]

    @property
    def n_compact(self) -> int:
        """Number of columns of a compact row, see :meth:`compact`."""
        return len(self.numbers) + len(self.indicators) + len(self.n_slots)

    # -- encoding --------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Tensor:
        """Encode rows.

        Parameters
        ----------
        x : Tensor of shape (n, n_columns)
            Numbers with NaN as gaps, and codes of categories, as :meth:`TableColumns.read` makes
            them.

        Returns
        -------
        Tensor of shape (n, n_encoded)
            Encoded rows, in ``dtype``.
        """
        return self.with_bins(self.without_bins(x))

    def without_bins(self, x: Tensor) -> Tensor:
        """Encode rows but for the bins of numbers, for samplers that make rows between others.

        Parameters
        ----------
        x : Tensor of shape (n, n_columns)
            As for :meth:`forward`.

        Returns
        -------
        Tensor of shape (n, n_encoded - n_bins)
            Encoded rows; in float64 if bins are still to be added.
        """
        if not self.n_slots and not self.indicators:
            return self._scaled(x)[0].to(self._dtype_before_bins)
        return self._with_ones(self.compact(x))

    def with_bins(self, rows: Tensor) -> Tensor:
        """Add the columns of the bins of numbers.

        Parameters
        ----------
        rows : Tensor of shape (n, n_encoded - n_bins)
            What :meth:`without_bins` returned, or rows that a sampler made of it.

        Returns
        -------
        Tensor of shape (n, n_encoded)
            Encoded rows.
        """
        if self.bins is None:
            return rows
        first = len(self.numbers) + len(self.indicators)
        progress = self.bins(rows[:, : len(self.numbers)].to(self.centre.dtype))
        parts = [rows[:, :first], progress.clamp(-LARGEST, LARGEST), rows[:, first:]]
        return torch.cat([part.to(self.dtype) for part in parts], dim=1)

    @property
    def _dtype_before_bins(self) -> torch.dtype:
        """Dtype of rows to which bins may have to be added, whose edges can be very close."""
        return self.dtype if self.bins is None else self.centre.dtype

    def compact(self, x: Tensor) -> Tensor:
        """Encode rows with one column per category column, for samplers that know categories.

        Parameters
        ----------
        x : Tensor of shape (n, n_columns)
            As for :meth:`forward`.

        Returns
        -------
        Tensor of shape (n, n_compact)
            Scaled numbers without gaps, indicators, and the slot of each category; in float64 if
            there are bins of numbers, which :meth:`expand` adds.
        """
        numbers = x[:, self.numbers] if self.categories else x
        scaled, gaps = self._scaled(numbers)
        parts = [scaled]
        if self.indicators:
            parts.append(gaps[:, self.indicators])
        if self.categories:
            parts.append(self._slots(x[:, self.categories]))
        return torch.cat([part.to(self._dtype_before_bins) for part in parts], dim=1)

    def expand(self, compact: Tensor) -> Tensor:
        """Give each category of the columns of few categories a column of its own, and add bins.

        Parameters
        ----------
        compact : Tensor of shape (n, n_compact)
            What :meth:`compact` returned, or rows that a sampler made of it.

        Returns
        -------
        Tensor of shape (n, n_encoded)
            Encoded rows.
        """
        return self.with_bins(self._with_ones(compact))

    def _with_ones(self, compact: Tensor) -> Tensor:
        """Give each category of the columns of few categories a column of its own."""
        if not self.n_slots:
            return compact
        first = len(self.numbers) + len(self.indicators)
        parts = [compact[:, :first]]
        if self.one_hot:
            parts.append(self._ones(compact[:, [first + j for j in self.one_hot]]))
        if self.embedded:
            parts.append(compact[:, [first + j for j in self.embedded]])
        return torch.cat(parts, dim=1)

    def _ones(self, slots: Tensor) -> Tensor:
        """Put a one at the slot of each category, but for the last slot of each column."""
        last = torch.tensor(self._widths(), device=slots.device)
        starts = torch.cumsum(last, 0) - last
        places = slots.to(torch.int64)
        ones = slots.new_zeros(slots.shape[0], sum(self._widths()))
        is_known = (places < last).to(slots.dtype)
        return ones.scatter_(1, starts + torch.minimum(places, last - 1), is_known)

    def _scaled(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return scaled numbers without gaps, and where the gaps were."""
        numbers = numbers.to(self.centre.dtype)
        gaps = torch.isnan(numbers)
        if self.quantiles.shape[1]:
            scaled = self._normal_scores(torch.where(gaps, self.centre, numbers))
        else:
            scaled = (numbers - self.centre) * self.factor
        scaled = scaled.clamp(-LARGEST, LARGEST)
        if self.clips:
            scaled = scaled / torch.sqrt(1 + torch.square(scaled / 3))
        return torch.where(gaps, self.fill, scaled), gaps

    def _normal_scores(self, numbers: Tensor) -> Tensor:
        """Return the quantile of the normal distribution at the rank of each number."""
        known = self.quantiles
        k = known.shape[1]
        last = (known.unsqueeze(0) <= numbers.unsqueeze(2)).sum(dim=2).clamp(1, k) - 1
        first = (known.unsqueeze(0) < numbers.unsqueeze(2)).sum(dim=2).clamp(1, k) - 1
        rows = torch.arange(known.shape[0], device=known.device)
        below, above = known[rows, first], known[rows, (first + 1).clamp(max=k - 1)]
        width = torch.where(above > below, above - below, torch.ones_like(above))
        inside = ((numbers - below) / width).clamp(0, 1)
        # a value that occupies several quantiles gets the middle of its ranks
        rank = torch.where(last > first, (first + 1 + last) / 2, first + inside).clamp(0, k - 1)
        low = rank.floor().clamp(max=k - 2)
        at = low.to(torch.int64)
        score, following = self.scores[at], self.scores[at + 1]
        return (score + (rank - low) * (following - score)) * (self.factor != 0)

    def _slots(self, codes: Tensor) -> Tensor:
        """Return the slot of each category, ``(n, n_categories)``."""
        n_words = torch.tensor(self.n_words, device=codes.device)
        starts = torch.cumsum(n_words + 2, 0) - (n_words + 2)
        gaps = torch.isnan(codes)
        place = codes.masked_fill(gaps, -1.0).to(torch.int64)
        place = torch.where((place < 0) | (place >= n_words), n_words, place)
        place = torch.where(gaps, n_words + 1, place) + starts
        return self.lookup[place.reshape(-1)].reshape(place.shape)

    def fill_gaps_with(self, numbers: NDArray[np.float64]) -> None:
        """Fill gaps with these numbers from now on.

        Parameters
        ----------
        numbers : ndarray of shape (n_numbers,)
            One number for each column of numbers, in the units of the table.
        """
        scaled, _ = self._scaled(torch.from_numpy(numbers[None, :]))
        self.fill.copy_(scaled[0])

    def put_numbers_in_bins(self, edges: NDArray[np.float64]) -> None:
        """Encode numbers by bins, too, from now on.

        Edges that are equal or nearly equal once they are scaled become one. A column then needs
        two bins at least: one bin would only repeat the scaled number.

        Parameters
        ----------
        edges : ndarray of shape (n_numbers, n_edges)
            Edges of the bins of each column of numbers, in the units of the table, in increasing
            order; NaN at the end of columns with fewer edges.
        """
        scaled = self._scaled(torch.from_numpy(edges.T))[0].numpy().T
        kept = []
        for here in (row[~gaps] for row, gaps in zip(scaled, np.isnan(edges), strict=True)):
            narrow = _NARROWEST * np.abs(here[1:]).clip(min=1)
            distinct = np.append(here[:1], here[1:][np.diff(here) > narrow])
            kept.append(distinct if len(distinct) > 2 else distinct[:0])
        self.bins = _bins(kept)

    # -- names -----------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the names of the columns of an encoded row."""
        of = self.columns.name_of
        names = [of(j) for j in self.numbers]
        names += [f"{of(self.numbers[j])}_missing" for j in self.indicators]
        if self.bins is not None:
            for j, n_bins in zip(self.numbers, self.bins.n_bins, strict=True):
                names += [f"{of(j)}_bin_{i}" for i in range(n_bins)]
        for j in self.one_hot:
            names += [f"{of(self.categories[j])}_{word}" for word in self.words_of(j)]
        return names + [of(self.categories[j]) for j in self.embedded]

    def words_of(self, j: int) -> list[str]:
        """Return what each slot of a column of categories stands for, but for the last one."""
        start = sum(n + 2 for n in self.n_words[:j])
        table = self.lookup[start : start + self.n_words[j] + 2].tolist()
        words = self.columns.vocabulary[self.categories[j]].tolist()
        found: list[list[str]] = [[] for _ in range(self.n_slots[j])]
        for word, slot in zip(words, table, strict=False):
            found[slot].append(str(word))
        found[table[-1]] = ["missing"]
        infrequent = table[-2]
        if infrequent != self.n_slots[j] - 1:
            found[infrequent] = ["infrequent"]
        return [here[0] for here in found[:-1]]


def _bins(edges: Sequence[NDArray[np.float64]]) -> PiecewiseLinear | None:
    """Return the encoding of numbers by bins, or None if no column has bins."""
    return PiecewiseLinear(edges) if any(len(here) for here in edges) else None


def behind_encoder(encoder: TableEncoder | None, module: nn.Module) -> nn.Module:
    """Put an encoder in front of the module that was trained on encoded rows.

    Parameters
    ----------
    encoder : TableEncoder or None
        Fitted encoder, which is copied; None for rows that are not encoded.
    module : torch.nn.Module
        Trained module, whose layers are not copied.

    Returns
    -------
    torch.nn.Module
        ``module`` itself, or a ``torch.nn.Sequential`` that begins with the encoder.
    """
    if encoder is None:
        return module
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    layers = list(module) if type(module) is nn.Sequential else [module]
    copied = copy.deepcopy(encoder)
    copied = copied.float() if device.type == "mps" else copied  # which has no float64
    together = nn.Sequential(copied.to(device), *layers)
    together.training = module.training  # of the layers each keeps its own mode
    return together


class EncodedRows:
    """Rows that stay where they are, on a disk or in a Dataset, and are encoded when they are read.

    Parameters
    ----------
    rows : memory map or DatasetReader of shape (n, n_columns)
        Rows as :meth:`TableColumns.read` makes them.
    encoder : TableEncoder
        Encoder of the rows.
    """

    def __init__(self, rows: Any, encoder: TableEncoder) -> None:
        self.rows, self.encoder = rows, encoder
        self.shape: tuple[int, ...] = (int(rows.shape[0]), encoder.n_encoded)
        self.ndim = 2

    def __len__(self) -> int:
        """Count the rows."""
        return self.shape[0]

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        """Read and encode the rows of a slice or at these positions."""
        return in_memory(np.asarray(self.rows[chosen]), self.encoder)


def encoded(X: Any, encoder: TableEncoder, *, stays: bool) -> Any:
    """Encode the rows of a table.

    Parameters
    ----------
    X : ndarray, CSR matrix or DatasetReader of shape (n, n_columns)
        Rows as :meth:`TableColumns.read` makes them.
    encoder : TableEncoder
        Encoder of the rows.
    stays : bool
        Whether the rows stay where they are, because they do not fit into memory.

    Returns
    -------
    ndarray, CSR array or EncodedRows of shape (n, n_encoded)
        Encoded rows, in the dtype of the encoder.
    """
    if sparse.issparse(X):
        return _scaled_sparse(X, encoder)
    return EncodedRows(X, encoder) if stays else in_memory(X, encoder)


def in_memory(X: NDArray[Any], encoder: TableEncoder) -> NDArray[Any]:
    """Encode an array, block by block."""
    n, kind = len(X), np.float64 if encoder.dtype == torch.float64 else np.float32
    step = max(1, _BLOCK // max(encoder.n_encoded, X.shape[1]))
    if n <= step:
        return _block(X, encoder)
    rows = np.empty((n, encoder.n_encoded), dtype=kind)
    for start in range(0, n, step):
        rows[start : start + step] = _block(X[start : start + step], encoder)
    return rows


def _block(X: NDArray[Any], encoder: TableEncoder) -> NDArray[Any]:
    encoded_rows: Tensor = encoder(torch.from_numpy(np.array(X, dtype=np.float64)))
    return encoded_rows.numpy()


def _scaled_sparse(X: Any, encoder: TableEncoder) -> Any:
    """Scale the values that a sparse matrix stores; the others stay 0."""
    matrix = sparse.csr_array(X)
    factor, fill = encoder.factor.numpy(), encoder.fill.numpy()
    values = matrix.data * factor[matrix.indices]
    gaps = np.isnan(values)
    values[gaps] = fill[matrix.indices[gaps]]
    values = values.clip(-LARGEST, LARGEST)
    kind = np.float64 if encoder.dtype == torch.float64 else np.float32
    parts = (values.astype(kind), matrix.indices, matrix.indptr)
    return sparse.csr_array(parts, shape=matrix.shape)
