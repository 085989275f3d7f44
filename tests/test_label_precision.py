"""Average precision over many labels at once: the values of scikit-learn."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import imbtorch._tasks.labels as module
from imbtorch._tasks.labels import _mean_label_precision


def sample(n=60, n_labels=9, *, seed=0, dtype=np.float64, decimals=None):
    rng = np.random.default_rng(seed)
    labels = (rng.uniform(size=(n, n_labels)) < rng.uniform(0.02, 0.9, n_labels)).astype(np.int8)
    scores = (rng.normal(size=(n, n_labels)) + labels).astype(dtype)
    if decimals is not None:
        scores = scores.round(decimals)
    return labels, scores, rng.uniform(0.1, 3, n)


def expected(labels, scores, weights):
    columns = labels.any(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label whose positives weigh nothing
        return average_precision_score(
            labels[:, columns], scores[:, columns], average="macro", sample_weight=weights
        )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_those_of_scikit_learn(seed, weighted, decimals, dtype):
    labels, scores, weights = sample(seed=seed, decimals=decimals, dtype=dtype)
    weights = weights if weighted else None
    value = _mean_label_precision(labels, scores, weights)
    assert value == pytest.approx(expected(labels, scores, weights), abs=1e-12)


def test_rows_of_weight_0_are_absent():
    labels, scores, weights = sample()
    weights[::3] = 0
    weights[labels[:, 4] == 1] = 0
    value = _mean_label_precision(labels, scores, weights)
    assert value == pytest.approx(expected(labels, scores, weights), abs=1e-12)


def test_labels_without_positives_are_left_out():
    labels, scores, _ = sample()
    labels[:, :3] = 0
    assert _mean_label_precision(labels, scores, None) == pytest.approx(
        _mean_label_precision(labels[:, 3:], scores[:, 3:], None), abs=1e-15
    )
    assert np.isnan(_mean_label_precision(0 * labels, scores, None))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_an_error(bad):
    labels, scores, _ = sample()
    scores[3, 4] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        _mean_label_precision(labels, scores, None)


def test_labels_are_ranked_many_at_a_time(monkeypatch):
    labels, scores, weights = sample(n_labels=50)
    sorts = []
    argsort = np.argsort
    monkeypatch.setattr(np, "argsort", lambda a, **kw: sorts.append(a.size) or argsort(a, **kw))
    _mean_label_precision(labels, scores, weights)
    assert len(sorts) == 1
    monkeypatch.setattr(module, "BLOCK", 600)  # numbers in memory at once: ten labels of 60 rows
    sorts.clear()
    value = _mean_label_precision(labels, scores, weights)
    n_labels = int(labels.any(axis=0).sum())
    assert len(sorts) == -(-n_labels // 10)
    assert max(sorts) <= 600
    assert value == pytest.approx(expected(labels, scores, weights), abs=1e-12)
