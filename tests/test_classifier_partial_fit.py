"""Training in pieces: ``partial_fit`` and warm starts."""

import copy
import pickle
import textwrap

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE
from scipy import sparse
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.utils.data import IterableDataset

import imbtorch._fit.sources.arrays
from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.weights import class_counts, class_weights
from tests.toy import overlapping, parameters_of, small, table

X, Y = table()
NAMES = np.array(["no", "yes"])


def state_of(clf):
    """Everything that a failed call must leave alone, as bytes."""
    return pickle.dumps(dict(sorted(vars(clf).items())))


@pytest.fixture
def row_weights(monkeypatch):
    """Weights of the rows of every training, as the loss sees them."""
    seen = []
    original = imbtorch._fit.sources.arrays.ArrayRows

    def record(features, codes, weights, *args):
        seen.append(np.ones(len(codes)) if weights is None else np.array(weights))
        return original(features, codes, weights, *args)

    monkeypatch.setattr(imbtorch._fit.sources.arrays, "ArrayRows", record)
    return seen


# -- learning --------------------------------------------------------------------------------------


def test_chunks_add_up_to_a_model():
    X, y = overlapping(3000, 0.2, shift=2.0)
    clf = small(lr=0.02)
    for _ in range(2):
        for start in range(0, 3000, 300):
            chunk = slice(start, start + 300)
            clf.partial_fit(X[chunk], y[chunk], classes=[0, 1])
    assert clf.n_iter_ == 20
    assert clf.score(X, y) > 0.85


def test_one_chunk_is_one_epoch_of_fit():
    params = {"lr_schedule": "constant", "dtype": "float64", "batch_size": 1000}
    chunk = small(**params).partial_fit(X, Y, classes=[0, 1])
    fit = small(max_epochs=1, **params).fit(X, Y)
    np.testing.assert_allclose(parameters_of(chunk), parameters_of(fit), rtol=1e-10)
    np.testing.assert_array_equal(chunk.class_counts_, fit.class_counts_)


def test_prior_is_that_of_all_chunks_so_far():
    clf = small().partial_fit(X, Y, classes=[0, 1])
    clf.partial_fit(X[Y == 0], Y[Y == 0])
    np.testing.assert_array_equal(clf.class_counts_, np.bincount(Y) * [2, 1])
    np.testing.assert_allclose(clf.loss_.log_prior.exp(), clf.class_prior_, rtol=1e-5)


@pytest.mark.parametrize("params", [{}, {"loss": "focal"}, {"loss": "cross_entropy"}])
def test_chunk_of_a_single_class_is_no_error(params):
    clf = small(**params)
    for label in (0, 1, 0):
        clf.partial_fit(X[label == Y], NAMES[Y[label == Y]], classes=NAMES)
    assert clf.classes_.tolist() == ["no", "yes"]
    assert np.isfinite(clf.predict_proba(X)).all()


def test_class_that_never_came_is_predicted_rarely():
    y = Y.copy()
    clf = small(max_epochs=1)
    for _ in range(10):
        clf.partial_fit(X, y, classes=[0, 1, 2])
    assert np.isfinite(clf.predict_proba(X)).all()
    clf.set_params(target_prior="train")
    assert np.isfinite(clf.predict_proba(X)).all()


def test_partial_fit_continues_a_fit():
    clf = small(max_epochs=3).fit(X, Y).partial_fit(X, Y)
    assert clf.n_iter_ == 4
    np.testing.assert_array_equal(clf.class_counts_, 2 * np.bincount(Y))


def test_fit_starts_anew_after_partial_fit():
    params = {"max_epochs": 1}
    clf = small(**params).partial_fit(X, Y, classes=[0, 1]).fit(X, Y)
    np.testing.assert_array_equal(parameters_of(clf), parameters_of(small(**params).fit(X, Y)))


def test_chunks_are_shuffled_differently_every_time():
    orders = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, x):
            if self.training:
                orders.append(x[:, 0].tolist())
            return self.layer(x)

    clf = small(lambda shape, n: Spy(), batch_size=300)
    clf.partial_fit(X, Y, classes=[0, 1]).partial_fit(X, Y)
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_stream_is_repeatable():
    def stream():
        clf = small(MLP((8,), dropout=0.2), class_weight={1: 3}, loss="focal")
        for _ in range(3):
            clf.partial_fit(X, Y, classes=[0, 1])
        return parameters_of(clf)

    np.testing.assert_array_equal(stream(), stream())


@pytest.mark.parametrize("kind", [sparse.csr_array, lambda X: X.astype(np.float32).tolist()])
def test_chunks_in_other_formats(kind):
    clf = small().partial_fit(kind(X), Y, classes=[0, 1]).partial_fit(kind(X), Y)
    assert clf.predict(kind(X)).shape == Y.shape


# -- order, and counts of the whole stream ---------------------------------------------------------

COUNTS = class_counts(NAMES[Y])


def streamed(chunks, *, columns=(X, NAMES[Y]), **params):
    """Train on chunks of so many rows, in the order given."""
    # batches that start at a multiple of 64 bytes are rounded alike wherever they lie
    clf = small(batch_size=32, features=None, **params)  # the first chunk would set the scale
    start = 0
    for size in chunks:
        X_chunk, y_chunk, *weight = (column[start : start + size] for column in columns)
        weight = weight[0] if weight else None
        clf.partial_fit(
            X_chunk, y_chunk, sample_weight=weight, class_counts=COUNTS, shuffle=False
        )  # fmt: skip
        start += size
    return clf


STREAMS = {
    "defaults": {},
    "balanced, SGD": {"class_weight": "balanced", "loss": "focal", "optimizer": "sgd"},
    "clipped": {"gradient_clipping": 0.1, "loss": "ldam", "class_weight": "effective_number"},
    "batch norm": {
        "module": lambda shape, n: nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, n)),
        "sharpness": 0.05,
    },
}


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_chunks_in_order_are_one_pass(name):
    once = parameters_of(streamed([288], **STREAMS[name]))
    for chunks in ([32] * 9, [64, 160, 64], [96, 192]):
        np.testing.assert_array_equal(parameters_of(streamed(chunks, **STREAMS[name])), once)


def test_chunks_in_order_are_an_epoch_of_fit_on_a_stream():
    class Items(IterableDataset):
        def __iter__(self):
            return zip(X, NAMES[Y], strict=True)

    params = {"class_weight": "balanced", "loss": "cross_entropy"}
    settings = {"batch_size": 32, "max_epochs": 1, "lr_schedule": "constant", "features": None}
    clf = small(**settings, **params).fit(Items(), class_counts=COUNTS)
    chunks = streamed([160, 140], **params)
    np.testing.assert_allclose(parameters_of(chunks), parameters_of(clf), atol=1e-6)
    np.testing.assert_array_equal(chunks.class_counts_, clf.class_counts_)


def test_chunks_drop_other_units_every_time():
    masks = []

    class Spy(nn.Module):
        def forward(self, x):
            if self.training:
                masks.append((nn.functional.dropout(torch.ones(1, 40)) > 0).tolist())
            return x

    module = lambda shape, n: nn.Sequential(Spy(), nn.Linear(5, n))  # noqa: E731
    streamed([30, 30, 30], module=module)
    assert masks[0] != masks[1] != masks[2]


def test_counts_of_the_stream_hold_from_the_first_chunk(row_weights):
    params = {"class_weight": "balanced", "loss": "cross_entropy"}
    clf = small(**params)
    for label in (0, 1, 0):  # of one class each
        rows = label == Y
        clf.partial_fit(X[rows], NAMES[Y[rows]], class_counts=COUNTS)
        assert clf.classes_.tolist() == ["no", "yes"]
        np.testing.assert_allclose(clf.effective_prior_, [0.5, 0.5])
        np.testing.assert_array_equal(clf.class_counts_, np.bincount(Y))
    expected = compute_class_weight("balanced", classes=NAMES, y=NAMES[Y])
    np.testing.assert_allclose(clf.class_weight_, expected)
    for label, weights in zip((0, 1, 0), row_weights, strict=True):
        np.testing.assert_allclose(weights, expected[label], rtol=1e-6)


def test_counts_of_weighted_streams(row_weights):
    w = np.where(Y, 3.0, 0.5)
    counts = class_counts(Y, w)
    clf = small(loss="cross_entropy").partial_fit(X[:9], Y[:9], None, w[:9], class_counts=counts)
    np.testing.assert_allclose(row_weights[0][:9], w[:9] / w.mean(), rtol=1e-6)
    np.testing.assert_allclose(clf.class_prior_, np.bincount(Y, w) / w.sum())


def test_counts_of_several_labels():
    tags = np.stack([Y, X[:, 0] > 0], axis=1).astype(int)
    clf = small(loss="bce", class_weight="balanced")
    clf.partial_fit(X[:9], tags[:9], class_counts=class_counts(tags))
    np.testing.assert_allclose(clf.effective_prior_, [0.5, 0.5])
    with pytest.raises(ValueError, match="both"):
        small().partial_fit(X, tags, class_counts={0: 10, 1: 5})


def test_counts_may_lack_a_class_that_never_comes():
    clf = small().partial_fit(X, Y, classes=[0, 1, 2], class_counts={0: 200, 1: 100})
    assert clf.class_counts_.tolist() == [200, 100, 0]


def test_fit_forgets_the_counts_of_a_stream():
    clf = streamed([30]).fit(X, NAMES[Y])
    with pytest.raises(ValueError, match="not the same as on the first call"):
        clf.partial_fit(X, NAMES[Y], class_counts=COUNTS)
    np.testing.assert_array_equal(clf.partial_fit(X, NAMES[Y]).class_counts_, 2 * np.bincount(Y))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"no": 5, "yes": 5, "new": 1}, "'new'.*not among"),
        ({"no": 5}, "'yes'.*count no row"),
        ({"no": 5, "yes": 0.5}, "whole numbers"),
        ({"no": 5, "yes": -1}, ">= 0"),
        ([5, 5], "class_counts returns"),
    ],
)
def test_counts_that_do_not_fit_leave_the_object_unfitted(counts, message):
    clf = small()
    with pytest.raises(ValueError, match=message):
        clf.partial_fit(X, NAMES[Y], classes=NAMES, class_counts=counts)
    assert not [name for name in vars(clf) if name.endswith("_") and not name.startswith("_")]


@pytest.mark.slow
def test_a_thousand_chunks_take_the_memory_and_the_time_of_one(forks):
    code = """
        import copy, time
        import numpy as np
        from imbtorch import MLP, ImbalancedNetClassifier

        def occupied():
            words = open("/proc/self/status").read().split()
            return int(words[words.index("VmRSS:") + 1]) / 1024

        def seconds(clf):
            X = rng.normal(size=(64, 5)).astype(np.float32)
            y = (X[:, 0] > 1).astype(int)
            start = time.process_time()
            clf.partial_fit(X, y, class_counts={0: 840, 1: 160})
            return time.process_time() - start

        rng = np.random.default_rng(0)
        clf = ImbalancedNetClassifier(MLP((16,)), batch_size=64, class_weight="balanced",
                                      loss="cross_entropy", random_state=0)
        for _ in range(100):
            seconds(clf)
        young, before = copy.deepcopy(clf), occupied()
        for _ in range(900):
            seconds(clf)
        grown = occupied() - before
        # in turn, so that both meet the same load of the machine
        pairs = np.array([(seconds(young), seconds(clf)) for _ in range(100)])
        print(grown, np.divide(*np.median(pairs, axis=0)[::-1]))
    """
    megabytes, ratio = map(float, forks.run(textwrap.dedent(code)).split())
    assert megabytes < 20
    assert ratio < 1.5


# -- weights ---------------------------------------------------------------------------------------


def test_weights_do_not_drift_over_equal_chunks(row_weights):
    clf = small(class_weight={0: 1, 1: 10}, loss="cross_entropy")
    for _ in range(5):
        clf.partial_fit(X, Y, classes=[0, 1])
    for weights in row_weights:
        np.testing.assert_allclose(weights, row_weights[0], rtol=1e-6)
    assert row_weights[0].mean() == pytest.approx(1)


def test_chunk_without_positives_keeps_the_scale_of_the_stream(row_weights):
    clf = small(class_weight={0: 1, 1: 10}, loss="cross_entropy")
    clf.partial_fit(X, Y, classes=[0, 1])
    clf.partial_fit(X[Y == 0], Y[Y == 0])
    n, positives = len(Y) + np.count_nonzero(Y == 0), np.count_nonzero(Y)
    mean = ((n - positives) + 10 * positives) / n
    np.testing.assert_allclose(row_weights[1], 1 / mean, rtol=1e-6)


def test_sample_weight_is_scaled_by_the_stream_too(row_weights):
    clf = small(loss="cross_entropy")
    clf.partial_fit(X, Y, classes=[0, 1], sample_weight=np.full(len(Y), 2.0))
    clf.partial_fit(X, Y, sample_weight=np.full(len(Y), 6.0))
    np.testing.assert_allclose(row_weights[1], 6 / 4, rtol=1e-6)


# -- errors ----------------------------------------------------------------------------------------


def started():
    return small(loss="cross_entropy").partial_fit(X, NAMES[Y], classes=NAMES)


ERRORS = {
    "counts of another stream": (
        lambda c: c.partial_fit(X, NAMES[Y], class_counts={"no": 1, "yes": 1}),
        "not the same as on the first call",
    ),
    "unseen label": (lambda c: c.partial_fit(X, np.array(["no", "new"])[Y]), r"\['new'\].*'yes'"),
    "changed classes": (
        lambda c: c.partial_fit(X, NAMES[Y], classes=["no", "new"]),
        "classes=.*is not the same",
    ),
    "balanced": (
        lambda c: c.set_params(class_weight="balanced").partial_fit(X, NAMES[Y]),
        "class_weight='balanced'.*class_counts=.*dict.*class_weight_from_counts",
    ),
    "callable weights": (
        lambda c: c.set_params(class_weight=np.sqrt).partial_fit(X, NAMES[Y]),
        "class counts of the whole data set",
    ),
    "sampler": (
        lambda c: c.set_params(sampler=SMOTE()).partial_fit(X, NAMES[Y]),
        "sampler",
    ),
    "other width": (lambda c: c.partial_fit(X[:, :3], NAMES[Y]), "3 features.*5 features"),
    "infinity": (lambda c: c.partial_fit(X * np.inf, NAMES[Y]), "X contains infinity"),
    "negative weight": (
        lambda c: c.partial_fit(X, NAMES[Y], sample_weight=-np.ones(len(Y))),
        "sample_weight",
    ),
    "divergence": (lambda c: c.set_params(lr=1e25).partial_fit(X, NAMES[Y]), "diverged"),
    "invalid parameter": (lambda c: c.set_params(lr=-1).partial_fit(X, NAMES[Y]), "'lr'"),
}


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_failed_call_is_a_clear_error_and_changes_no_state(name):
    call, message = ERRORS[name]
    clf = started()
    params, before, proba = clf.get_params(deep=False), state_of(clf), clf.predict_proba(X)
    with pytest.raises(ValueError, match=message):
        call(clf)
    clf.set_params(**params)
    np.testing.assert_array_equal(clf.predict_proba(X), proba)
    assert state_of(clf) == before
    assert clf.n_iter_ == 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "classes must be passed on the first call"),
        ({"classes": ["no"]}, r"'yes'"),
        ({"classes": ["no", "yes"], "sample_weight": np.zeros(300)}, "(?i)sample.weights? .*zero"),
    ],
)
def test_failed_first_call_leaves_the_object_unfitted(kwargs, message):
    clf = small()
    with pytest.raises(ValueError, match=message):
        clf.partial_fit(X, NAMES[Y], **kwargs)
    assert not [name for name in vars(clf) if name.endswith("_") and not name.startswith("_")]
    clf.partial_fit(X[:, :3], Y, classes=[0, 1])  # nothing of the failed call is remembered


def test_hint_for_balanced_weights_works():
    weights = class_weights("balanced", np.bincount(Y), [0, 1])
    clf = small(class_weight=weights, loss="cross_entropy").partial_fit(X, Y, classes=[0, 1])
    np.testing.assert_allclose(clf.effective_prior_, [0.5, 0.5])


# -- warm start ------------------------------------------------------------------------------------


def test_warm_start_continues():
    clf = small(warm_start=True, max_epochs=2).fit(X, Y)
    first = parameters_of(clf).copy()
    clf.fit(X, Y)
    assert clf.n_iter_ == 4
    assert clf.history_[:, "epoch"] == [1, 2, 3, 4]
    assert not np.array_equal(parameters_of(clf), first)


def test_cold_start_starts_anew():
    clf = small().fit(X, Y)
    first = parameters_of(clf).copy()
    clf.fit(X, Y)
    assert clf.n_iter_ == 2
    np.testing.assert_array_equal(parameters_of(clf), first)


def test_warm_start_takes_the_present_parameters():
    clf = small(warm_start=True, loss="cross_entropy", lr_schedule="constant").fit(X, Y)
    clf.set_params(lr=0.5, max_epochs=1, loss="focal", batch_size=7, class_weight={1: 3}).fit(X, Y)
    assert clf.n_iter_ == 3
    assert clf.history_[-1, "lr"] == 0.5
    assert clf.loss_.name == "focal"
    assert clf.net_.batch_size == 7
    assert clf.class_weight_.tolist() == [1, 3]


def test_warm_start_with_other_classes_is_an_error():
    clf = small(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"\[0, 1\].*\[0, 2\].*warm_start=False"):
        clf.fit(X, 2 * Y)
    assert clf.classes_.tolist() == [0, 1]


def test_warm_start_with_other_features_is_an_error():
    clf = small(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="3 features"):
        clf.fit(X[:, :3], Y)


def test_warm_start_keeps_an_earlier_copy_as_it_was():
    clf = small(warm_start=True).fit(X, Y)
    earlier = copy.copy(clf)
    proba = earlier.predict_proba(X)
    clf.fit(X, Y)
    np.testing.assert_array_equal(earlier.predict_proba(X), proba)


def test_warm_start_keeps_the_moments_of_the_optimizer():
    clf = small(warm_start=True, batch_size=100, max_epochs=2).fit(X, Y).fit(X, Y)
    (state, *_) = clf.net_.optimizer_.state.values()
    assert int(state["step"]) == 12


def test_chunk_without_a_row_that_weighs_is_counted_and_changes_no_weight():
    features, labels = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    clf = ImbalancedNetClassifier(class_weight={0: 0.0, 1: 1.0}, random_state=0)
    clf.partial_fit(features, labels, classes=[0, 1])
    before = clf.predict_proba(features)
    clf.partial_fit(features[labels == 0], labels[labels == 0])
    np.testing.assert_array_equal(clf.predict_proba(features), before)
    assert clf.class_counts_.tolist() == [60, 30]
