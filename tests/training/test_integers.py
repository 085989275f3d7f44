"""X of integers, such as identifiers, for a module that looks them up in an embedding."""

import copy
import pickle

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from imblearn.over_sampling import SMOTE, RandomOverSampler
from scipy import sparse
from skorch.callbacks import EpochScoring
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import imbtorch
from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    finetune_head,
)
from imbtorch.exceptions import DivergenceError, NotStackedWarning
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.modules._build import input_dtypes
from imbtorch.samplers import Mixup
from imbtorch.testing import check_module

N, SIZE = 120, 50
LARGE = 2**24 + np.arange(N)[:, None]  # every second one is no float32
Y = (np.arange(N) % 5 == 0).astype(int)
IDS = np.random.default_rng(0).integers(0, SIZE, (N, 3))
SEEN = []


class Hashed(nn.Module):
    """Takes any identifier, and notes what it gets."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.table, self.out = nn.Embedding(101, 4), nn.Linear(4, n_outputs)

    def forward(self, x):
        SEEN.append(x.clone())
        return self.out(self.table(x[:, 0].long() % 101))


class Tagged(nn.Module):
    """Has no layer for identifiers, and says that it wants them."""

    takes_integers = True

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.out = nn.Linear(4, n_outputs)

    def forward(self, x):
        SEEN.append(x.clone())
        return self.out(
            torch.stack([x[:, 0] % k == 0 for k in (2, 3, 5, 7)], 1).to(self.out.weight)
        )


def bag(input_shape, n_outputs):
    return nn.Sequential(nn.EmbeddingBag(SIZE, 4), nn.Linear(4, n_outputs))


def table(input_shape, n_outputs):
    return nn.Sequential(
        nn.Embedding(SIZE, 4), nn.Flatten(), nn.Linear(4 * input_shape[0], n_outputs)
    )


class Columns(nn.Module):
    """One embedding for each of the first two columns, and a number."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.colour, self.town = nn.Embedding(4, 2), nn.Embedding(SIZE, 2)
        self.out = nn.Linear(5, n_outputs)

    def forward(self, x):
        parts = self.colour(x[:, 0].long()), self.town(x[:, 1].long()), x[:, 2:]
        return self.out(torch.cat(parts, dim=1))


class NumbersToo(Columns):
    """Gives its numbers to a linear layer, which takes no integers."""

    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.numbers = nn.Linear(1, 1)

    def forward(self, x):
        parts = self.colour(x[:, 0].long()), self.town(x[:, 1].long()), self.numbers(x[:, 2:])
        return self.out(torch.cat(parts, dim=1))


def small(module=Hashed, **params):
    defaults = {"max_epochs": 2, "random_state": 0, "loss": "cross_entropy", "batch_size": 32}
    return ImbalancedNetClassifier(module, **{**defaults, **params})


def seen(act):
    """Return the distinct values that a module has seen, and check that they are integers."""
    SEEN.clear()
    act()
    assert {x.dtype for x in SEEN} == {torch.int64}
    return set(torch.cat([x.flatten() for x in SEEN]).tolist())


def mapped(tmp_path):
    path = tmp_path / "ids.npy"
    np.save(path, LARGE)
    return np.load(path, mmap_mode="r")


# -- every kind of X -------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [Hashed, Tagged])
@pytest.mark.parametrize(
    "form",
    [
        lambda _: LARGE,
        lambda _: LARGE.astype(np.uint64),
        lambda _: LARGE.astype(">i8"),
        lambda _: LARGE.tolist(),
        lambda _: torch.tensor(LARGE),
        lambda _: pd.DataFrame(LARGE, columns=["id"]),
        lambda _: sparse.csr_matrix(LARGE),
        mapped,
    ],
)
def test_every_form_of_X_keeps_its_integers(form, module, tmp_path):
    X, wanted = form(tmp_path), set(LARGE.ravel().tolist())
    clf = small(module)
    assert seen(lambda: clf.fit(X, Y)) == wanted
    assert seen(lambda: clf.predict(X)) == wanted
    assert seen(lambda: clf.partial_fit(X, Y)) == wanted


def test_small_types_and_truths():
    for dtype in (np.int8, np.uint8, np.uint16, np.int32, bool):
        X = (IDS[:, :1] % 2).astype(dtype)
        assert seen(lambda X=X: small().fit(X, Y)) == {0, 1}


def test_polars():
    polars = pytest.importorskip("polars")
    X = polars.DataFrame({"id": LARGE[:, 0]})
    assert len(seen(lambda: small().fit(X, Y).predict(X))) == N


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(torch.tensor(LARGE), Y, strict=True)


def test_datasets_and_streams():
    wanted = set(LARGE.ravel().tolist())
    data = TensorDataset(torch.tensor(LARGE), torch.tensor(Y))
    clf = small()
    assert seen(lambda: clf.fit(data)) == wanted
    assert seen(lambda: clf.predict(data)) == wanted
    counts = {0: int((Y == 0).sum()), 1: int(Y.sum())}
    assert seen(lambda: small().fit(Stream(), class_counts=counts)) == wanted


def test_a_stream_trains_as_its_rows_do():
    """The shares of the rows stay floats."""
    counts = {0: int((Y == 0).sum()), 1: int(Y.sum())}
    clf = small(max_epochs=3).fit(Stream(), class_counts=counts)
    assert 0.1 < clf.history_[0]["train_loss"] < 3


def test_validation_and_callbacks():
    scoring = EpochScoring("balanced_accuracy", lower_is_better=False)
    clf = small(early_stopping=True, callbacks=[("score", scoring)])
    assert seen(lambda: clf.fit(LARGE, Y)) == set(LARGE.ravel().tolist())
    assert np.isfinite(clf.history_[-1]["valid_loss"])
    scored = small(early_stopping=True, scoring=lambda est, X, y: est.predict_proba(X)[:, 1].mean())
    assert len(seen(lambda: scored.fit(LARGE, Y))) == N


# -- what follows ----------------------------------------------------------------------------------


def test_numbers_are_those_of_floats_that_the_module_converts_itself():
    """Below 2**24 floats and integers are the same identifiers."""
    X = IDS[:, :1]
    clf, other = small().fit(X, Y), small().fit(X.astype(np.float32), Y)
    assert SEEN[-1].dtype == torch.float32
    assert (clf.predict_proba(X) == other.predict_proba(X.astype(np.float64))).all()


@pytest.mark.parametrize("module", [table, bag])
def test_whole_floats_are_converted(module):
    """OrdinalEncoder returns floats."""
    clf = small(module).fit(IDS, Y)
    other = small(module).fit(IDS.astype(float), Y)
    assert (clf.predict_proba(IDS) == other.predict_proba(IDS.astype(np.float32))).all()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (IDS + 0.5, r"not whole numbers, such as .*\.5"),
        (np.array([[2.0**53 + 2]] * N), "so large that different whole numbers"),
        (np.array([[2.0**24]] * N, dtype=np.float32), "so large that different whole numbers"),
        (np.array([[2**63]] * N, dtype=np.uint64), r"above 2\*\*63"),
        (
            pd.DataFrame({"a": [0, 0] + [2**53 + 1] * (N - 2), "b": 0.0}),
            "column 'a' of X .*float64",
        ),
    ],
)
def test_values_that_are_no_integers(X, message):
    with pytest.raises(ValueError, match=message):
        small(Tagged).fit(X, Y)
    clf = small(Tagged).fit(np.zeros((N, X.shape[1]), dtype=int), Y)
    with pytest.raises(ValueError, match=message):
        clf.predict(X)
    with pytest.raises(ValueError, match=message):
        clf.partial_fit(X, Y)


def test_a_module_that_computes_with_numbers_gets_floats_as_before():
    X = np.c_[IDS[:, 0] % 4, IDS[:, 1:]]
    clf = small(NumbersToo).fit(X, Y)
    assert clf.net_.input_dtype == torch.float32
    other = small(NumbersToo).fit(X.astype(np.float32), Y)
    assert (clf.predict_proba(X) == other.predict_proba(X)).all()
    mixed = X + np.array([0, 0, 0.5])
    assert small(Columns).fit(mixed, Y).net_.input_dtype == torch.float32


def test_the_tag_decides():
    class Floats(Hashed):
        takes_integers = False

    clf = small(Floats).fit(IDS, Y)
    assert SEEN[-1].dtype == clf.net_.input_dtype == torch.float32
    with pytest.raises(ValueError, match="takes_integers = True"):
        clf.predict(LARGE.repeat(3, axis=1))
    layers = nn.Sequential(nn.Dropout(0.1), nn.Embedding(9, 2))
    assert input_dtypes(layers, torch.float32, integers=True) == (torch.float32,)
    layers.takes_integers = True
    assert input_dtypes(layers, torch.float32, integers=False) == (torch.int64,)


def test_regressor_and_float64():
    for dtype in ("float32", "float64"):
        reg = ImbalancedNetRegressor(table, dtype=dtype, max_epochs=1, random_state=0)
        assert np.isfinite(reg.fit(IDS, IDS[:, 0] * 1.0).predict(IDS)).all()


# -- many nets -------------------------------------------------------------------------------------


def test_stacks_and_ensembles(recwarn):
    ensemble = NetEnsembleClassifier(small(table), n_estimators=3, random_state=0)
    ensemble.fit(IDS, Y)
    assert not [w for w in recwarn if w.category is NotStackedWarning]
    for member in ensemble.estimators_:
        alone = copy.deepcopy(member).fit(IDS, Y)
        assert np.allclose(alone.predict_proba(IDS), member.predict_proba(IDS), atol=1e-5)
    mean = np.mean([m.predict_proba(IDS) for m in ensemble.estimators_], axis=0)
    assert np.allclose(ensemble.predict_proba(IDS), mean, atol=1e-5)
    search = StackedGridSearchCV(small(table), {"lr": [0.01, 0.02]}, cv=2).fit(IDS, Y)
    assert search.best_score_ > 0.4


def test_a_stack_of_large_identifiers():
    class Quiet(Hashed):
        def forward(self, x):
            return self.out(self.table(x[:, 0] % 101))

    ensemble = NetEnsembleClassifier(
        small(Quiet), n_estimators=3, subset="all", random_state=0
    ).fit(LARGE, Y)
    for member in ensemble.estimators_:
        alone = copy.deepcopy(member).fit(LARGE, Y)
        assert np.allclose(alone.predict_proba(LARGE), member.predict_proba(LARGE), atol=1e-5)
    mean = np.mean([m.predict_proba(LARGE) for m in ensemble.estimators_], axis=0)
    assert np.allclose(ensemble.predict_proba(LARGE), mean, atol=1e-5)


def test_a_stack_never_reads_the_rows_of_another_net():
    """vmap lays the embeddings of the nets one after the other."""

    class Shifted(nn.Module):  # no lookup of values of X as they are
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.table, self.out = nn.Embedding(5, 2), nn.Linear(2, n_outputs)

        def forward(self, x):
            return self.out(self.table(x[:, 0] + 0))

    X = IDS[:, :1] % 5
    ensemble = NetEnsembleClassifier(
        small(Shifted), n_estimators=3, subset="all", random_state=0
    ).fit(X, Y)
    X = X.copy()
    X[7] = 5
    with pytest.raises(ValueError, match="lacks an identifier"):
        ensemble.predict_proba(X)
    again = NetEnsembleClassifier(small(Shifted), n_estimators=3, subset="all")
    with pytest.raises((ValueError, DivergenceError), match=r"NaN|lacks an identifier"):
        again.fit(X, Y)


# -- identifiers that an embedding lacks -----------------------------------------------------------


def broken(value):
    X = IDS.copy()
    X[100, 1] = value
    return X


@pytest.mark.parametrize("value", [-1, SIZE, 2**40])
def test_identifiers_out_of_range_name_their_column(value):
    named = pd.DataFrame(broken(value), columns=["a", "b", "c"])
    for X, column in ((broken(value), "Column 1 of X"), (named, "Column 'b' of X")):
        with pytest.raises(ValueError, match=f"{column} holds identifiers .* has {SIZE} rows"):
            small(table).fit(X, Y)
    clf = small(table).fit(IDS, Y)
    for act in (clf.predict, lambda X: clf.partial_fit(X, Y)):
        with pytest.raises(ValueError, match=f"Column 1 of X holds identifiers .*{value}"):
            act(broken(value))
    with pytest.raises(ValueError, match="Column 1 of X"):
        NetEnsembleClassifier(small(table), n_estimators=2).fit(IDS, Y).predict(broken(value))


def test_each_column_has_its_own_embedding():
    X = np.c_[IDS[:, 0] % 4, IDS[:, 1:]]
    X[50, 0] = 4
    with pytest.raises(ValueError, match="Column 0 of X holds .* 'colour'.* has 4 rows"):
        small(Columns).fit(X, Y)
    X[50, 0] = 3
    X[50, 2] = 10**6  # a number
    small(Columns).fit(X, Y)


def test_identifiers_of_sequences():
    X = np.stack([IDS, IDS], axis=2)
    X[3, 2, 1] = SIZE

    def build(input_shape, n_outputs):
        return nn.Sequential(nn.Embedding(SIZE, 2), nn.Flatten(), nn.LazyLinear(n_outputs))

    with pytest.raises(ValueError, match="positions 0 to 5 of the flattened|positions 5 to 5"):
        small(build).fit(X, Y)


@pytest.mark.parametrize("value", [-1, SIZE])
def test_identifiers_out_of_range_in_a_dataset(value):
    data = TensorDataset(torch.tensor(broken(value)), torch.tensor(Y))
    for module in (table, bag):
        with pytest.raises(ValueError, match=rf"lacks an identifier.*\[{SIZE}\] rows"):
            small(module).fit(data)
        clf = small(module).fit(IDS, Y)
        with pytest.raises(ValueError, match="lacks an identifier"):
            clf.predict(data)


def test_the_first_rows_are_out_of_range():
    with pytest.raises(ValueError, match=f"'0' has {SIZE} rows, but identifiers from"):
        small(table).fit(np.r_[[[0, 1, -1]], IDS[1:]], Y)


# -- integers for a module that wants floats -------------------------------------------------------


class Items(Dataset):
    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i], Y[i]


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint32])
def test_integers_that_floats_cannot_hold_in_a_dataset(dtype):
    X = LARGE.astype(dtype)
    clf = small(nn.Linear(1, 2))
    for rows in (Items(X), Items(torch.tensor(X))):
        with pytest.raises(ValueError, match="float32 cannot hold, such as 16777"):
            clf.fit(rows)
    with pytest.raises(ValueError, match="float32 cannot hold"):
        small(nn.Linear(1, 2)).fit(X - 2**24, Y).predict(Items(X))
    small(nn.Linear(1, 2), dtype="float64").fit(Items(X))


def test_integers_that_floats_cannot_hold_in_an_ensemble():
    base = small("mlp", features=None)
    ensemble = NetEnsembleClassifier(base, n_estimators=2).fit(IDS[:, :1], Y)
    for act in (ensemble.predict, ensemble.predict_proba, ensemble.predict_std):
        with pytest.raises(ValueError, match="X holds integers that float32 cannot hold"):
            act(LARGE)
    with pytest.raises(ValueError, match="X holds integers that float32 cannot hold"):
        finetune_head(base.fit(IDS[:, :1], Y), LARGE, Y)


# -- samplers, files, exports ----------------------------------------------------------------------


def test_samplers_that_draw_rows():
    huge = 2**60 + LARGE
    for sampler in ("class_aware", RandomOverSampler(), None):
        assert seen(lambda s=sampler: small(sampler=s).fit(huge, Y)) <= set(huge.ravel().tolist())


def test_samplers_that_make_rows():
    with pytest.raises(ValueError, match="RandomOverSampler"):
        small(table, sampler=SMOTE(k_neighbors=3)).fit(IDS, Y)
    with pytest.raises(ValueError, match="Mixup mixes rows"):
        small(table, sampler=Mixup()).fit(IDS, Y)


def test_files_and_pickles(tmp_path):
    for module in (Hashed, Tagged, table):
        X = IDS if module is table else LARGE
        clf = small(module).fit(X, Y)
        clf.save(tmp_path / "net")
        for again in (
            imbtorch.load(tmp_path / "net", module=module),
            pickle.loads(pickle.dumps(clf.set_params(module="mlp"))),
        ):
            assert (again.predict_proba(X) == clf.predict_proba(X)).all()
            assert again.net_.input_dtype == torch.int64
            with pytest.raises(ValueError, match=r"not whole|scalar type|floats"):
                again.set_params(module=module).predict(X[:5] + 0.5)


def test_a_net_from_a_file_checks_identifiers_and_trains_further(tmp_path):
    small(table).fit(IDS, Y).save(tmp_path / "net")
    again = imbtorch.load(tmp_path / "net", module=table)
    again.partial_fit(IDS, Y)
    with pytest.raises(ValueError, match="Column 1 of X"):
        again.predict(broken(-1))


def test_checkpoints(tmp_path):
    small(checkpoint=tmp_path).fit(LARGE, Y)
    resumed = small(checkpoint=tmp_path, max_epochs=2).fit(LARGE, Y, resume=True)
    assert (resumed.predict_proba(LARGE) == small().fit(LARGE, Y).predict_proba(LARGE)).all()


@pytest.mark.slow
@pytest.mark.parametrize("is_loaded", [False, True])
def test_export(is_loaded, tmp_path):
    clf = small(table).fit(IDS, Y)
    if is_loaded:
        clf.save(tmp_path / "net")
        clf = imbtorch.load(tmp_path / "net", module=table)
    clf.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert session.get_inputs()[0].type == "tensor(int64)"
    (proba,) = session.run(["probabilities"], {"X": IDS})
    assert np.allclose(proba, clf.predict_proba(IDS), atol=1e-6)


@pytest.mark.slow
def test_export_of_an_ensemble(tmp_path):
    ensemble = NetEnsembleClassifier(small(table), n_estimators=2).fit(IDS, Y)
    ensemble.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (proba,) = session.run(["probabilities"], {"X": IDS})
    assert np.allclose(proba, ensemble.predict_proba(IDS), atol=1e-6)


def test_two_stage():
    clf = small(table).fit(IDS, Y)
    assert finetune_head(clf, IDS, Y).predict(IDS).shape == (N,)


def test_check_module_takes_modules_for_identifiers():
    for module in (table, Columns, Tagged):
        check_module(module, (3,), 2)
