"""The warning that the batches of a whole-batch loss hold no pair of positive and negative."""

import warnings

import numpy as np
import pytest
import torch
from scipy import sparse

from imbtorch import NetEnsembleClassifier
from imbtorch._fit.pairs import has_pair
from imbtorch.losses import all_losses
from imbtorch.losses._whole_batch import WholeBatchMixin
from tests.toy import small, table

X, Y = table()
WHOLE_BATCH = sorted(
    name for name, kind in all_losses().items() if issubclass(kind, WholeBatchMixin)
)


def messages(clf, X=X, y=Y):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf.fit(X, y)
    return [str(warning.message) for warning in caught if "no pair" in str(warning.message)]


@pytest.mark.parametrize("loss", WHOLE_BATCH)
def test_one_row_a_batch_warns_once_and_names_the_way_out(loss):
    (said,) = messages(small(loss=loss, batch_size=1, max_epochs=3))
    assert "batch_size is 1" in said
    assert "sampler=" in said
    assert "300 of the 300" in said or "299 of the 299" in said


def test_a_stack_and_partial_fit_warn_too():
    inner = small(loss="auc_margin", batch_size=1, max_epochs=1)
    assert messages(NetEnsembleClassifier(inner, 2, subset="all", random_state=0))
    with pytest.warns(UserWarning, match="no pair"):
        small(loss="auc_margin", batch_size=1).partial_fit(X[:40], Y[:40], classes=[0, 1])


@pytest.mark.parametrize(
    "params",
    [
        {"batch_size": 64},
        {"batch_size": 2, "sampler": "exact_batches"},
        {"batch_size": 2, "loss": "cross_entropy"},
    ],
    ids=str,
)
def test_batches_with_pairs_are_silent(params):
    assert not messages(small(**{"loss": "pairwise_logistic", **params}))


def test_several_classes_and_labels_are_watched():
    several, classes = table(n_classes=3)
    assert messages(small(loss="auc_margin", batch_size=1), several, classes)
    labels = np.column_stack([Y, 1 - Y])
    assert messages(small(loss="auc_margin", batch_size=1), X, labels)
    assert not messages(small(loss="auc_margin", batch_size=64), X, labels)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_those_of_a_count_batch_by_batch(seed):
    rng = np.random.default_rng(seed)
    n, batch_size = 23, int(rng.integers(1, 6))
    order = torch.from_numpy(rng.permutation(n))
    labels = (rng.random((n, 3)) < 0.3).astype(np.uint8)
    codes = labels.argmax(axis=1)
    found = has_pair(codes, order, batch_size)
    of_labels = has_pair(sparse.csr_array(labels), order, batch_size)
    cuts = np.arange(batch_size, n, batch_size)
    if n % batch_size == 1 and batch_size > 1:  # the last single row joins its neighbour
        cuts = cuts[:-1]
    parts = np.split(order.numpy(), cuts)
    assert found.tolist() == [len(set(codes[part])) > 1 for part in parts]
    assert of_labels.tolist() == [bool(np.ptp(labels[part], axis=0).any()) for part in parts]
    assert len(has_pair(codes, order[:0], batch_size)) == 0
