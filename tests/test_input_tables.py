"""A table among several inputs is encoded as a table that is the only input is."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch.callbacks import EpochScoring
from torch import nn

import imbtorch
from imbtorch import (
    FileFormatError,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    Inputs,
    NetEnsembleClassifier,
    Sequences,
    embed,
    finetune_head,
    load,
)
from imbtorch.features import TableFeatures
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.training.parameter_groups import names_of
from tests.persistence import hostile
from tests.several_inputs import EncodedParts, fed

pytestmark = pytest.mark.filterwarnings("ignore::imbtorch.NotStackedWarning", "ignore:max_epochs=2")

N = 90
QUICK = {"max_epochs": 2, "batch_size": 16, "dtype": "float64", "random_state": 0}
rng = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "amount": np.where(rng.random(N) < 0.3, np.nan, 100 * rng.normal(size=N)),
        "colour": rng.choice(["blue", "green", "red"], N),
        "shop": [f"shop {i % 40}" for i in range(N)],
        "size": 5 + rng.normal(size=N),
    }
)
IMAGE, IDS = rng.normal(size=(N, 1, 2, 2)), rng.integers(0, 5, (N, 2))
Y = (FRAME["size"] + 0.3 * rng.normal(size=N) > 6).astype(int).to_numpy()
BOTH = {"image": IMAGE, "table": FRAME}


class Alone(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        width = input_shape["table"] if isinstance(input_shape, dict) else input_shape
        self.out = nn.Sequential(nn.Linear(*width, 4), nn.Tanh(), nn.Linear(4, n_outputs))

    def forward(self, table):
        return self.out(table)


class Beside(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        shapes = list(input_shape.values()) if isinstance(input_shape, dict) else input_shape
        assert shapes[0] == (1, 2, 2)
        self.hidden = nn.Linear(4 + shapes[1][0], 6)
        self.out = nn.Linear(6, n_outputs)

    def forward(self, image, table):
        return self.out(torch.relu(self.hidden(torch.cat([image.flatten(1), table], dim=1))))


def net(features, module=Beside, **params):
    return ImbalancedNetClassifier(module, features=features, **{**QUICK, **params})


def message(call, kind=ValueError):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


SETTINGS = {
    "defaults": TableFeatures(),  # embeddings of categories, and waves of numbers
    "categories only": TableFeatures(numeric_embedding=None),
    "numbers only": TableFeatures(embedding_size=None, scaling="robust"),
    "bins": TableFeatures(numeric_embedding="piecewise_linear", scaling="quantile"),
}


# -- the same as a single table, and as a table that was encoded before --------------------------


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize(
    "params",
    [{}, {"early_stopping": True, "class_weight": "balanced", "loss": "focal"}],
    ids=["plain", "weighted"],
)
def test_same_as_a_table_alone(kind, params):
    features = SETTINGS[kind]
    weights = np.linspace(0, 2, N)
    alone = net(features, Alone, **params).fit(FRAME, Y, sample_weight=weights)
    named = net({"table": features}, Alone, **params)
    named.fit({"table": FRAME}, Y, sample_weight=weights)
    expected = alone.predict_proba(FRAME)
    np.testing.assert_allclose(named.predict_proba({"table": FRAME}), expected, atol=1e-12)
    assert repr(named.features_) == repr({"table": alone.features_})
    names = named.features_["table"].get_feature_names_out()
    assert names.tolist() == alone.features_.get_feature_names_out().tolist()


def test_same_as_a_table_that_was_encoded_before():
    plain = TableFeatures(numeric_embedding=None, embedding_size=None)
    held, train = np.arange(20), np.arange(20, N)
    weights = rng.uniform(0, 3, N)
    rows = Inputs(BOTH)
    clf = net({"table": plain}, early_stopping=True)
    clf.fit(
        rows[train], Y[train], weights[train], X_val=rows[held], y_val=Y[held],
        sample_weight_val=weights[held],
    )  # fmt: skip
    # what is held out teaches the encoder nothing
    encoder = clone(plain).fit(FRAME.iloc[train], sample_weight=weights[train])
    before = {"image": IMAGE, "table": encoder.transform(FRAME)}
    rows = Inputs(before)
    expected = net(None, early_stopping=True).fit(
        rows[train], Y[train], weights[train], X_val=rows[held], y_val=Y[held],
        sample_weight_val=weights[held],
    )  # fmt: skip
    np.testing.assert_allclose(clf.predict_proba(BOTH), expected.predict_proba(before), atol=1e-9)
    transformed = clf.features_["table"].transform(FRAME)
    np.testing.assert_allclose(transformed, before["table"], atol=1e-12)


# -- kinds of tables ------------------------------------------------------------------------------


NUMBERS = FRAME[["amount", "size"]]


def memory_map(folder):
    np.save(folder / "table.npy", NUMBERS.to_numpy())
    return np.load(folder / "table.npy", mmap_mode="r")


@pytest.mark.parametrize(
    "kind", ["pandas", "polars", "array of objects", "list", "numbers", "memory map"]
)
def test_kinds_of_tables(kind, tmp_path):
    tables = {
        "pandas": FRAME,
        "polars": pl.from_pandas(FRAME),
        "array of objects": FRAME.to_numpy(dtype=object),
        "list": FRAME.to_numpy(dtype=object).tolist(),
        "numbers": NUMBERS.to_numpy(),
        "memory map": memory_map(tmp_path),
    }
    table = NUMBERS if kind in ("numbers", "memory map") else FRAME
    expected = net({"table": "table"}).fit({**BOTH, "table": table}, Y)
    clf = net({"table": "table"}).fit({**BOTH, "table": tables[kind]}, Y)
    np.testing.assert_allclose(
        clf.predict_proba({**BOTH, "table": tables[kind]}),
        expected.predict_proba({**BOTH, "table": table}),
        atol=1e-7,
    )


def test_sparse_tables_stay_sparse():
    matrix = sparse.random_array((N, 6), density=0.3, rng=np.random.default_rng(0), format="csr")
    clf = net({"table": "table"}).fit({**BOTH, "table": matrix}, Y)
    alone = TableFeatures().fit(matrix)
    expected = net(None).fit({**BOTH, "table": alone.transform(matrix)}, Y)
    np.testing.assert_allclose(
        clf.predict_proba({**BOTH, "table": matrix}),
        expected.predict_proba({**BOTH, "table": alone.transform(matrix)}),
        atol=1e-12,
    )
    dense = clf.predict_proba({**BOTH, "table": matrix.toarray()})
    np.testing.assert_allclose(dense, clf.predict_proba({**BOTH, "table": matrix}), atol=1e-12)
    fitted_dense = net({"table": "table"}).fit({**BOTH, "table": matrix.toarray()}, Y)
    np.testing.assert_allclose(
        fitted_dense.predict_proba({**BOTH, "table": matrix}),
        fitted_dense.predict_proba({**BOTH, "table": matrix.toarray()}),
        atol=1e-12,
    )


@pytest.mark.parametrize(
    "column", [FRAME["colour"], FRAME["colour"].tolist(), pl.Series(FRAME["colour"].tolist())]
)
def test_a_column_of_words(column):
    clf = net({"table": "table"}).fit({**BOTH, "table": column}, Y)
    assert clf.features_["table"].encoder_.n_encoded == 3
    expected = net({"table": "table"}).fit({**BOTH, "table": FRAME[["colour"]]}, Y)
    np.testing.assert_allclose(
        clf.predict_proba({**BOTH, "table": column}),
        expected.predict_proba({**BOTH, "table": FRAME[["colour"]]}),
        atol=1e-12,
    )


def test_inputs_in_a_tuple_are_named_by_position():
    expected = net({"table": "table"}).fit(BOTH, Y).predict_proba(BOTH)
    clf = net({1: TableFeatures()}).fit((IMAGE, FRAME), Y)
    np.testing.assert_allclose(clf.predict_proba((IMAGE, FRAME)), expected, atol=1e-12)
    assert list(clf.features_) == [1]


def test_two_tables_have_encoders_of_their_own():
    X = {"image": FRAME[["amount"]], "table": FRAME}
    clf = ImbalancedNetClassifier(
        TwoTables, features={"image": TableFeatures(scaling=None), "table": "table"}, **QUICK
    ).fit(X, Y)
    widths = {key: f.encoder_.n_encoded for key, f in clf.features_.items()}
    assert widths == {"image": 2, "table": 7}
    names = [name for names in names_of(clf.module_, clf.loss_).values() for name in names]
    assert "image.numbers.frequency" in names
    assert "table.categories.weight" in names
    assert clf.predict(X).shape == (N,)


class TwoTables(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        width = sum(shape[0] for shape in input_shape.values())
        self.out = nn.Linear(width, n_outputs)

    def forward(self, **tables):
        return self.out(torch.cat(list(tables.values()), dim=1))


def test_beside_sequences():
    records = Sequences([np.ones((1 + i % 4, 2)) * i for i in range(N)])

    class Pooled(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.out = nn.Linear(2 + input_shape["table"][0], n_outputs)

        def forward(self, record, table, lengths):
            mean = record.sum(1) / lengths.unsqueeze(1)
            return self.out(torch.cat([mean, table], dim=1))

    X = {"record": records, "table": FRAME}
    clf = net({"table": "table"}, Pooled).fit(X, Y)
    order = rng.permutation(N)
    np.testing.assert_allclose(
        clf.predict_proba(Inputs(X)[order]), clf.predict_proba(X)[order], atol=1e-12
    )


def test_large_integers_are_scaled_before_they_are_rounded():
    numbers = pd.DataFrame({"id": 2**24 + 1 + 2 * np.arange(N)})
    X = {**BOTH, "table": numbers}
    clf = net({"table": "table"}, dtype="float32").fit(X, Y)
    assert clf.predict(X).shape == (N,)


def test_regressor():
    target = FRAME["size"].to_numpy()
    reg = ImbalancedNetRegressor(Beside, features={"table": "table"}, **QUICK).fit(BOTH, target)
    assert reg.predict(BOTH).shape == (N,)
    assert list(reg.features_) == ["table"]


# -- prediction -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    return net({"table": "table"}).fit(BOTH, Y)


def test_gaps_and_unknown_categories_at_prediction(fitted):
    new = FRAME.assign(colour="violet", shop=None, size=np.nan)
    proba = fitted.predict_proba({"table": new, "image": IMAGE})
    assert np.isfinite(proba).all()
    encoded = fitted.features_["table"].transform(new)
    assert encoded.shape == (N, fitted.net_.tables.encoders["table"].n_encoded)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f[f.columns[::-1]], "X['table']"),
        (lambda f: f.drop(columns="size"), "size"),
        (lambda f: f.assign(size="large"), "held numbers in fit"),
        (lambda f: f.assign(colour=1.0), "held text in fit"),
        (lambda f: f.assign(size=np.inf), "infinite values"),
    ],
    ids=["order", "missing", "text", "numbers", "infinite"],
)
def test_what_prediction_refuses(fitted, change, told):
    shown = message(lambda: fitted.predict({**BOTH, "table": change(FRAME)}))
    assert "X['table']" in shown
    assert told in shown


def test_shapes_and_names_are_those_of_the_user(fitted):
    assert fitted._input_shape == {"image": (1, 2, 2), "table": (4,)}
    assert fitted.n_features_in_ == 2
    assert fitted.feature_names_in_.tolist() == ["image", "table"]
    table = fitted.features_["table"]
    assert table.feature_names_in_.tolist() == list(FRAME)
    assert table.n_features_in_ == 4


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "features", "told"),
    [
        (BOTH, {"frame": "table"}, ["['frame']", "['image', 'table']"]),
        ((IMAGE, FRAME), {"table": "table"}, ["[0, 1]", "by their positions"]),
        ((IMAGE, FRAME), {-1: "table"}, ["[-1]", "[0, 1]"]),
        (BOTH, {"image": "table"}, ["4 dimensions", "Leave 'image' out"]),
        (BOTH, {"table": "tables"}, ["Did you mean 'table'"]),
        (BOTH, {"table": 3}, ["features['table']", "got 3"]),
        (BOTH, {"table": TableFeatures(fill="mode")}, ["fill"]),
        (BOTH, None, ["X['table']", "features={'table': 'table'}"]),
        (BOTH, "auto", ["X['table']", "features={'table': 'table'}"]),
        ((IMAGE, FRAME), None, ["X[1]", "features={1: 'table'}"]),
        ({**BOTH, "table": NUMBERS}, None, ["contains NaN", "features={'table': 'table'}"]),
        (FRAME, {"table": "table"}, ["X is one array", "features='table'"]),
        ([np.ones(2)] * (N - 1) + [np.ones(3)], {"x": "table"}, ["sequences of unequal"]),
        (
            {**BOTH, "table": FRAME.assign(day=pd.Timestamp("2026-01-01"))},
            {"table": "table"},
            ["X['table']", "dates"],
        ),
        (
            {**BOTH, "table": FRAME.assign(name=[f"name {i}" for i in range(N)])},
            {"table": "table"},
            ["X['table']", "nearly all different"],
        ),
    ],
)
def test_what_a_fit_refuses(X, features, told):
    clf = net(features)
    shown = message(lambda: clf.fit(X, Y))
    for part in told:
        assert part in shown
    assert not hasattr(clf, "net_")
    assert clf._columns is None


def test_a_sequence_is_no_table():
    X = {"image": [np.ones(1 + i % 3) for i in range(N)], "table": FRAME}
    shown = message(lambda: net({"image": "table", "table": "table"}).fit(X, Y))
    assert "X['image'] holds sequences" in shown


def test_a_dataset_holds_encoded_items():
    class Items(torch.utils.data.Dataset):
        def __len__(self):
            return N

        def __getitem__(self, i):
            return {"image": IMAGE[i], "table": np.ones(2)}, int(Y[i])

    assert "items are encoded already" in message(lambda: net({"table": "table"}).fit(Items()))


def test_a_module_that_calls_all_of_its_parts():
    width = len(TableFeatures().fit(FRAME).get_feature_names_out())
    module = nn.Sequential(nn.Linear(width, 2))
    X = (FRAME,)
    assert "numeric_embedding=None" in message(lambda: net({0: "table"}, module).fit(X, Y))
    plain = TableFeatures(numeric_embedding=None, embedding_size=None)
    module = nn.Sequential(nn.LazyLinear(2))
    assert net({0: plain}, module).fit(X, Y).predict(X).shape == (N,)


def test_encoders_of_nothing_leave_the_inputs_as_they_are():
    X = {**BOTH, "table": NUMBERS.fillna(0)}
    expected = net(None).fit(X, Y).predict_proba(X)
    for features in ({}, {"table": None}, "auto"):
        clf = net(features).fit(X, Y)
        np.testing.assert_array_equal(clf.predict_proba(X), expected)
        assert clf.features_ is None


# -- parameters -----------------------------------------------------------------------------------


def test_parameters_of_an_encoder():
    given = {"table": "table"}
    clf = net(given)
    assert clf.get_params()["features__table__scaling"] == "standard"
    changed = clone(clf).set_params(features__table__scaling="robust", features__table__n_bins=4)
    assert changed.features["table"].get_params()["scaling"] == "robust"
    assert changed.features["table"].n_bins == 4
    assert clf.features == given == {"table": "table"}
    own = TableFeatures()
    changed = net({"table": own}).set_params(features__table__fill="median")
    assert (changed.features["table"].fill, own.fill) == ("median", "mean")
    changed.set_params(features={1: "table"}, features__1__fill="median")
    assert changed.features[1].fill == "median"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("features__image__scaling", "names the inputs ['table']"),
        ("features__scaling", "features__table__scaling"),
        ("features__table__scale", "Valid parameters are"),
    ],
)
def test_unknown_parameters_of_an_encoder(name, told):
    clf = net({"table": "table"})
    assert told in message(lambda: clf.set_params(lr=0.5, **{name: 1}))
    assert clf.features == {"table": "table"}
    assert clf.lr != 0.5


@pytest.mark.parametrize("kind", [GridSearchCV, StackedGridSearchCV])
def test_searches_over_an_encoder(kind):
    grid = {"features__table__scaling": ["robust", None], "features__table__max_one_hot": [50]}
    search = kind(net({"table": "table"}), grid, cv=2, error_score="raise")
    search.fit(Inputs(BOTH), Y)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 2
    for params, score in zip(search.cv_results_["params"], scores, strict=True):
        clf = net({"table": "table"}).set_params(**params)
        assert score == pytest.approx(cross_val_score(clf, Inputs(BOTH), Y, cv=2).mean())
    assert search.best_estimator_.features["table"].max_one_hot == 50


def test_groups_of_parameters_know_the_embeddings():
    clf = net({"table": "table"}, param_groups={"table.categories.*": {"frozen": True}})
    clf.fit(BOTH, Y)
    names = {name: p for p, (name,) in names_of(clf.module_, clf.loss_).items()}
    assert "table.numbers.frequency" in names
    weight = names["table.categories.weight"]
    again = net({"table": "table"}, max_epochs=1, lr=1e-12).fit(BOTH, Y)
    start = {name: p for p, (name,) in names_of(again.module_, again.loss_).items()}
    torch.testing.assert_close(weight, start["table.categories.weight"], atol=1e-9, rtol=0)


# -- further training, copies, files --------------------------------------------------------------


def test_chunks_are_encoded_as_the_first_one_has_taught():
    clf = net({"table": "table"})
    clf.partial_fit(Inputs(BOTH)[:50], Y[:50], classes=[0, 1])
    mean = clf.features_["table"].encoder_.centre.clone()
    clf.partial_fit(Inputs({**BOTH, "table": FRAME.assign(size=99.0)})[50:], Y[50:])
    torch.testing.assert_close(clf.features_["table"].encoder_.centre, mean)
    constant = {**BOTH, "table": FRAME[["colour"]].assign(size=1.0)}
    with pytest.warns(UserWarning, match="constant in the 90 rows"):
        net({"table": "table"}).partial_fit(constant, Y, classes=[0, 1])


def test_a_warm_start_keeps_the_encoder():
    clf = net({"table": "table"}, warm_start=True).fit(BOTH, Y)
    tables = clf.net_.tables
    clf.fit({**BOTH, "table": FRAME.assign(size=99.0)}, Y)
    assert clf.net_.tables is tables
    assert len(clf.history_) == 4


def test_callbacks_and_scorers_see_rows_that_fit():
    def score(estimator, X, y):
        assert list(X["table"].columns) == list(FRAME)
        return estimator.score(X, y)

    scoring = EpochScoring("accuracy", name="seen", use_caching=False)
    clf = net({"table": "table"}, scoring=score, early_stopping=True, callbacks=[scoring])
    clf.fit(BOTH, Y)
    assert all(0 <= record["seen"] <= 1 for record in clf.history_)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_predict_the_same(fitted, copied):
    again = copied(fitted)
    np.testing.assert_array_equal(again.predict_proba(BOTH), fitted.predict_proba(BOTH))
    assert clone(fitted).features == {"table": "table"}


def test_the_last_layer_is_found(fitted):
    assert embed(fitted, BOTH).shape == (N, 6)
    tuned = finetune_head(fitted, BOTH, Y)
    assert tuned.net_.tables is not None
    assert tuned.predict_proba(BOTH).shape == (N, 2)


def test_a_checkpoint_notices_other_categories(tmp_path):
    clf = net({"table": "table"}, checkpoint=tmp_path / "here").fit(BOTH, Y)
    again = net({"table": "table"}, checkpoint=tmp_path / "here").fit(BOTH, Y, resume=True)
    np.testing.assert_array_equal(again.predict_proba(BOTH), clf.predict_proba(BOTH))
    other = {**BOTH, "table": FRAME.replace({"colour": {"blue": "azure"}})}
    shown = message(
        lambda: net({"table": "table"}, checkpoint=tmp_path / "here").fit(other, Y, resume=True)
    )
    assert "categories" in shown


def test_members_with_rows_of_their_own_have_scales_of_their_own():
    ensemble = NetEnsembleClassifier(
        net({"table": "table"}), n_estimators=2, subset="folds", random_state=0
    ).fit(BOTH, Y)
    one, other = (member.net_.tables.encoders["table"] for member in ensemble.estimators_)
    assert not torch.equal(one.centre, other.centre)
    mean = np.mean([member.predict_proba(BOTH) for member in ensemble.estimators_], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(BOTH), mean, atol=1e-12)


@pytest.mark.parametrize("kind", SETTINGS)
def test_files(kind, tmp_path):
    clf = net({"table": SETTINGS[kind]}).fit(BOTH, Y)
    clf.save(tmp_path / "net")
    again = load(tmp_path / "net", module=Beside)
    np.testing.assert_array_equal(again.predict_proba(BOTH), clf.predict_proba(BOTH))
    assert repr(again.features_) == repr(clf.features_)
    assert again._input_shape == clf._input_shape
    assert "X['table']" in message(lambda: again.predict({**BOTH, "table": FRAME[["size"]]}))
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "net").read_bytes()
    chunk = again.partial_fit(BOTH, Y)
    assert chunk.predict(BOTH).shape == (N,)


def test_files_of_an_ensemble(tmp_path):
    ensemble = NetEnsembleClassifier(
        net({1: "table"}), n_estimators=2, subset="folds", random_state=0
    ).fit((IMAGE, FRAME), Y)
    ensemble.save(tmp_path / "nets")
    again = load(tmp_path / "nets", module=Beside)
    expected = ensemble.predict_proba((IMAGE, FRAME))
    np.testing.assert_allclose(again.predict_proba((IMAGE, FRAME)), expected, atol=1e-12)


def changed_part(**change):
    def act(document):
        (part,) = (p for p in document["net"]["inputs"]["parts"] if "table" in p)
        part.update(change)

    return act


@pytest.mark.parametrize(
    "change",
    [
        changed_part(table=1),
        changed_part(table=True),
        changed_part(table=False),
        changed_part(table=[0]),
        changed_part(table=-1),
        changed_part(shape=[3], columns=["a", "b", "c"]),
        changed_part(shape=[3], columns=None),
        changed_part(dtype="float32"),
        changed_part(columns=["a", "b", "c", "d"]),
        lambda document: document["net"].update(dtype="float32"),
        lambda document: document["net"]["inputs"]["parts"][0].update(table=0),
        lambda document: document["tables"].append(document["tables"][0]),
        lambda document: document.pop("tables"),
    ],
)
def test_a_file_that_was_changed(fitted, change, tmp_path):
    path = tmp_path / "net"
    fitted.save(path)
    load(path, module=Beside)
    file = hostile.File(path.read_bytes())
    change(file.document)
    path.write_bytes(file.bytes())
    with pytest.raises(FileFormatError):
        load(path, module=Beside)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETTINGS)
def test_onnx(kind, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    X = {"image": IMAGE.astype(np.float32), "table": FRAME.astype({"size": np.float32})}
    clf = net({"table": SETTINGS[kind]}, dtype="float32").fit(X, Y)
    clf.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    names = [value.name for value in session.get_inputs()]
    assert names == ["image", *(f"table.{name}" for name in FRAME)]
    new = {**X, "table": X["table"].assign(colour="violet")}
    for rows in (X, new):
        got = session.run(["probabilities"], fed(session, rows))[0]
        np.testing.assert_allclose(got, clf.predict_proba(rows), atol=1e-5)


def test_onnx_of_a_table_of_numbers(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    seconds = NUMBERS.assign(size=1.8e9 + 1000 * FRAME["size"])  # float32 would lose these digits
    X = {"image": IMAGE, "table": seconds}
    plain = TableFeatures(numeric_embedding=None)
    clf = net({"table": plain}, dtype="float32").fit(X, Y)
    clf.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    kinds = {value.name: value.type for value in session.get_inputs()}
    assert kinds == {"image": "tensor(float)", "table": "tensor(double)"}
    given = {"image": IMAGE.astype(np.float32), "table": seconds.to_numpy()}
    got = session.run(["probabilities"], given)[0]
    np.testing.assert_allclose(got, clf.predict_proba(X), atol=1e-5)


def test_a_frame_that_is_given_as_it_is_and_one_that_is_encoded():
    assert imbtorch.Inputs(BOTH).input_shape["table"] == (4,)
    X = {"kind": np.arange(N) % 3, "frame": FRAME[["amount", "size", "colour"]]}
    features = {"frame": TableFeatures(numeric_embedding=None)}
    assert net(features, EncodedParts).fit(X, Y).predict(X).shape == (N,)
