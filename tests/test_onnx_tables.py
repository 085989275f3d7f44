"""ONNX files that take the columns of a table, steps before the net and decisions behind it."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

import imbtorch
from imbtorch import MLP, ImbalancedNetRegressor, NetEnsembleClassifier
from imbtorch._publish.onnx import ExportMixin
from imbtorch._publish.onnx_columns import with_columns
from imbtorch.features import TableColumns, TableFeatures
from imbtorch.model_selection import ScaledClassifierCV, TunedDecisionClassifierCV
from tests.toy import small

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TYPES = {"tensor(string)": object, "tensor(float)": np.float32, "tensor(double)": np.float64}


def words(rng, n, choices, gaps=0.0):
    values = rng.choice(choices, n).astype(object)
    values[rng.random(n) < gaps] = np.nan
    return values


def table(n=300, seed=0, *, day=1.7e9):
    """Return a table with columns of every kind."""
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(8, 1, n)
    amount[rng.random(n) < 0.1] = np.nan
    grade = rng.choice([1.0, 2.5, 4.0, np.nan], n)
    return pd.DataFrame(
        {
            "amount": amount,
            "seconds": day + rng.integers(0, 86400, n),
            "is new": rng.random(n) < 0.3,
            "X": np.ones(n),  # the name of the matrix in the graph, and a constant
            "town": words(rng, n, ["Ulm", "Pau", "Ålesund"], 0.1),
            "shop": words(rng, n, [f"shop {i}" for i in range(20)]),
            "grade": pd.Categorical(grade),
            "rate": rng.integers(0, 5, n) / 10,  # values that occupy several quantiles
        }
    )


def unseen(day=1.7e9):
    """Return other rows, with categories that training did not have, and new gaps."""
    new = table(100, seed=1, day=day)
    new.loc[3, "town"], new.loc[4, "shop"], new.loc[5, "rate"] = "Bern", np.nan, np.nan
    new["grade"] = new["grade"].astype(float)
    new.loc[6, "grade"] = 9.0
    return new.astype({"grade": "category"})


FRAME = table()
TARGET = (FRAME["amount"].fillna(0) > 4000) | (FRAME["town"] == "Ulm")
LABELS = np.stack([TARGET, FRAME["rate"] > 0.2], axis=1).astype(int)


def fed(session, frame):
    """Return the columns of a frame as a file wants them: "" stands for a missing text."""
    inputs = {}
    for value in session.get_inputs():
        column = frame[[value.name]]
        if value.type == "tensor(string)":
            column = column.astype(object).where(column.notna(), "")
        inputs[value.name] = column.to_numpy(TYPES[value.type])
    return inputs


def opened(model, folder):
    path = folder / "model.onnx"
    imbtorch.to_onnx(model, path)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def kinds(session):
    return {value.name: value.type for value in session.get_inputs()}


def features(**params):
    return TableFeatures(max_one_hot=5, **params)


def regressor(**params):
    return ImbalancedNetRegressor(MLP((8,)), max_epochs=2, random_state=0, **params)


def ensemble(**params):
    net = small(features=features(), target_prior="train", **params)
    return NetEnsembleClassifier(net, 2, subset="all", random_state=0)


CASES = {
    "standard": lambda: (small(features=features(), target_prior="train"), TARGET),
    "robust": lambda: (
        regressor(features=features(scaling="robust", fill="median")),
        1e4 + 1e2 * FRAME["amount"].fillna(0),
    ),
    "quantile": lambda: (small(features=features(scaling="quantile")), LABELS),
    "unscaled": lambda: (
        small(features=features(scaling=None, add_indicator=False), dtype="float64"),
        TARGET,
    ),
    "bins": lambda: (
        small(features=features(scaling="robust", numeric_embedding="piecewise_linear")),
        TARGET,
    ),
    "periodic": lambda: (small(features=features(numeric_embedding="periodic")), TARGET),
    "no embeddings": lambda: (small(features=features(embedding_size=None)), TARGET),
    "ensemble": lambda: (ensemble(), TARGET),
    "ensemble with an encoder each": lambda: (ensemble(early_stopping=True), TARGET),
}


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    clf = CASES["standard"]()[0].fit(FRAME, TARGET)
    return clf, opened(clf, tmp_path_factory.mktemp("standard"))


def check_columns(model, session, new):
    (output,) = session.get_outputs()
    is_proba = output.name == "probabilities"
    expected = model.predict_proba(new) if is_proba else model.predict(new)
    size = 1 if is_proba else model.target_scale_
    assert expected.std() > 1e-3 * size  # rows are told apart
    for rows in (new, new[:1]):
        (got,) = session.run(None, fed(session, rows))
        assert_allclose(got / size, expected[: len(rows)] / size, rtol=0, atol=1e-5)


def test_columns_of_every_kind(standard):
    clf, session = standard
    assert kinds(session) == {
        "amount": "tensor(float)",
        "seconds": "tensor(double)",  # float32 has a distance of 128 between such numbers
        "is new": "tensor(float)",
        "X": "tensor(float)",
        "town": "tensor(string)",
        "shop": "tensor(string)",
        "grade": "tensor(float)",
        "rate": "tensor(float)",
    }
    assert all(value.shape[1:] == [1] for value in session.get_inputs())
    check_columns(clf, session, unseen())
    described = json.loads(session.get_modelmeta().custom_metadata_map["imbtorch"])
    assert described["features"] == list(FRAME.columns)
    assert described["classes"] == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("case", [name for name in CASES if name != "standard"])
def test_every_way_to_encode(case, tmp_path):
    model, target = CASES[case]()
    day = 0 if case == "unscaled" else 1.7e9
    model.fit(table(day=day), target)
    check_columns(model, opened(model, tmp_path), unseen(day))


def test_ensemble_encodes_rows_once_where_it_can():
    one, each = (
        CASES[name]()[0].fit(FRAME, TARGET)._serving()
        for name in ("ensemble", "ensemble with an encoder each")
    )
    assert one.encoder is not None
    assert {member.encoder for member in one.members} == {None}
    assert each.encoder is None
    assert None not in {member.encoder for member in each.members}


@pytest.mark.parametrize(
    ("day", "kind"),
    [(0, "tensor(float)"), pytest.param(1.7e9, "tensor(double)", marks=pytest.mark.slow)],
)
def test_table_of_numbers_has_one_input(day, kind, tmp_path):
    numbers, new = (
        rows[["amount", "seconds", "rate"]] for rows in (table(day=day), unseen(day=day))
    )
    clf = small().fit(numbers, TARGET)
    session = opened(clf, tmp_path)
    assert kinds(session) == {"X": kind}
    (got,) = session.run(None, {"X": new.to_numpy(TYPES[kind])})
    assert_allclose(got, clf.predict_proba(new), rtol=0, atol=1e-5)


# -- columns, without a net ------------------------------------------------------------------


def identity(name, width, output="probabilities"):
    """Return a model whose output is its input."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", width])
    node = helper.make_node("Identity", [name], [output])
    graph = helper.make_graph([node], "identity", [value], [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def codes_of(column, vocabulary, in_float64=()):
    """Return the type of an input for these categories, and the codes that it makes."""
    columns = TableColumns(1, ("c",), {0: np.asarray(vocabulary)})
    model = identity("X", 1)
    if in_float64:
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
        model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    session = onnxruntime.InferenceSession(
        with_columns(model, {"X": (columns, frozenset(in_float64))}).SerializeToString()
    )
    kind = kinds(session)["c"]
    (codes,) = session.run(None, {"c": np.asarray(column, dtype=TYPES[kind])[:, None]})
    return kind, codes[:, 0]


@pytest.mark.parametrize(
    ("column", "vocabulary", "in_float64", "kind", "expected"),
    [
        (["b", "a", "z", ""], ["a", "b"], (), "tensor(string)", [1, 0, -1, np.nan]),
        (["b", ""], ["", "b"], (), "tensor(string)", [1, 0]),  # there is a category ""
        (["b", ""], [], (), "tensor(string)", [-1, np.nan]),
        ([0.1, 3, np.nan], [0.1, 2], (), "tensor(float)", [0, -1, np.nan]),
        ([True, False], [False, True], (), "tensor(float)", [1, 0]),
        (
            [2**24 + 1, 2**24, np.nan],
            [2**24, 2**24 + 2],
            (0,),
            "tensor(double)",
            [-1, 0, np.nan],
        ),
    ],
)
def test_codes_of_categories(column, vocabulary, in_float64, kind, expected):
    found, codes = codes_of(column, vocabulary, in_float64)
    assert found == kind
    assert_array_equal(codes, np.asarray(expected, dtype=codes.dtype))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a", "a"), "'a' is not a name of its own"),
        (("a", ""), "'' is not a name of its own"),
        (("a", "probabilities"), "'probabilities' is the name of an output"),
    ],
)
def test_columns_that_cannot_name_inputs(names, said):
    columns = TableColumns(2, names, {0: np.array(["u", "v"])})
    with pytest.raises(ValueError, match=f"{said}.*Rename"):
        with_columns(identity("X", 2), {"X": (columns, frozenset())})


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.7e9, 1.7e9 + 86400], "double"),
        ([2020.0, 2023.0], "float"),  # integers up to 2**24 are exact
        ([0.0, 1e30], "float"),  # scaled as a whole
        ([1e6, 1e6 + 0.5], "double"),
        ([5.0, 5.0], "float"),
    ],
)
def test_which_columns_need_float64(values, kind):
    from imbtorch._publish.onnx_columns import columns_in_float64

    encoder = TableFeatures().fit(np.repeat(values, 50)[:, None]).encoder_
    assert columns_in_float64(encoder) == (frozenset({0}) if kind == "double" else frozenset())


def test_columns_with_narrow_bins_need_float64(tmp_path):
    """Steps of 1 are told apart by bins, where the scaled numbers lie beside one of 1e9."""
    from imbtorch._publish.onnx_columns import columns_in_float64

    rng = np.random.default_rng(0)
    x = np.stack([1e6 + np.arange(200.0), rng.normal(size=200)], axis=1)
    x[0, 0] = 1e9
    y = (x[:, 0] % 50 < 10).astype(int)
    bins = TableFeatures(numeric_embedding="piecewise_linear")
    clf = small(features=bins).fit(x, y)
    assert columns_in_float64(TableFeatures().fit(x).encoder_) == frozenset()
    assert columns_in_float64(clf.net_.encoder_) == frozenset({0})
    session = opened(clf, tmp_path)
    assert kinds(session) == {"X": "tensor(double)"}
    (got,) = session.run(None, {"X": x})
    assert got.std() > 1e-3
    assert_allclose(got, clf.predict_proba(x), rtol=0, atol=1e-5)


# -- decisions and steps, behind and before a classifier without a net -----------------------


class Given(ExportMixin, ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are the columns of X, so that no export takes seconds."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.arange(np.shape(y)[1]) if np.ndim(y) == 2 else np.unique(y)
        self.width_ = np.shape(X)[1]
        return self

    def predict_proba(self, X):
        return np.asarray(X, dtype=np.float32)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _graph(self, *, behind_steps=False):
        return identity("X", self.width_)


RNG = np.random.default_rng(0)
PROBA = RNG.dirichlet([2, 1, 0.5], 200).astype(np.float32)
CODES = np.array([RNG.choice(3, p=np.float64(p) / np.float64(p).sum()) for p in PROBA])
WORDS = np.array(["fine", "fräud", "unclear"])[CODES]
COSTS = [[0, 1, 2], [20, 0, 3], [4, 1, 0]]
PAIR = np.column_stack([PROBA[:, 0], 1 - PROBA[:, 0]])
DECISIONS = {
    "offsets": (TunedDecisionClassifierCV(Given(), cv=2), PROBA, WORDS),
    "costs": (TunedDecisionClassifierCV(Given(), cost_matrix=COSTS, cv=2), PROBA, CODES + 5),
    "labels": (TunedDecisionClassifierCV(Given(), scoring="f1_macro", cv=2), PROBA, PROBA > 0.3),
    "temperature": (ScaledClassifierCV(Given(), cv=2), PROBA, WORDS),
    "vector": (ScaledClassifierCV(Given(), method="vector", cv=2), PROBA, 2.0 * CODES),
    "costs of scaled ones": (
        TunedDecisionClassifierCV(
            ScaledClassifierCV(Given(), method="vector", cv=2), cost_matrix=COSTS, cv=2
        ),
        PROBA,
        WORDS,
    ),
    "threshold": (FixedThresholdClassifier(Given(), threshold=0.3), PAIR, CODES > 0),
    "auto": (FixedThresholdClassifier(Given()), PAIR, CODES > 0),
    "threshold of the first class": (
        FixedThresholdClassifier(Given(), threshold=0.3, pos_label="fine"),
        PAIR,
        np.where(CODES > 0, "fraud", "fine"),
    ),
}


def with_zeros(proba):
    """Return probabilities with a certain row, whose logarithms are not finite."""
    certain = np.zeros_like(proba[:1])
    certain[0, 0] = 1
    return np.concatenate([proba, certain])


@pytest.mark.parametrize("case", DECISIONS)
def test_decision_belongs_to_the_file(case, tmp_path):
    model, proba, y = DECISIONS[case]
    model.fit(proba, y.astype(int) if y.ndim == 2 else y)
    session = opened(model, tmp_path)
    assert [value.name for value in session.get_outputs()] == ["probabilities", "label"]
    rows = with_zeros(proba)
    got, label = session.run(None, {"X": rows})
    assert got.dtype == np.float32
    assert_allclose(got, model.predict_proba(rows), rtol=1e-5, atol=1e-6)
    expected = model.predict(rows)
    assert_array_equal(label, expected)
    assert label.dtype == (object if expected.dtype.kind == "U" else expected.dtype)
    assert len(np.unique(expected)) > 1
    described = json.loads(session.get_modelmeta().custom_metadata_map["imbtorch"])
    assert described["estimator"] == type(model).__name__


def test_probability_of_zero_is_calibrated_as_the_smallest_one(tmp_path):
    model = ScaledClassifierCV(Given(), cv=2).fit(PROBA, CODES)
    model.temperature_ = 9.0
    rows = with_zeros(PROBA)
    got, _ = opened(model, tmp_path).run(None, {"X": rows})
    assert_allclose(got, model.predict_proba(rows), rtol=1e-5)


def test_label_is_not_the_most_probable_one():
    """The cases above would pass in vain if their decisions were those of the probabilities."""
    for case in ("offsets", "costs", "threshold"):
        model, proba, y = DECISIONS[case]
        model.fit(proba, y)
        assert (model.predict(proba) != model.classes_[proba.argmax(axis=1)]).any(), case


def text_table():
    rng = np.random.default_rng(0)
    amount = rng.normal(5, 2, 60)
    amount[:5] = np.nan
    return pd.DataFrame(
        {
            "amount": amount,
            "note": words(rng, 60, ["x", "y"]),
            "town": words(rng, 60, ["Ulm", "Pau"], 0.2),
            "age": rng.integers(20, 60, 60),
        }
    )


def one_hot():
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False)


STEPS = {
    "gaps of numbers": make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["amount", "age"]),
        (one_hot(), ["town"]),  # whose gap is a category
    ),
    "gaps of text": make_column_transformer(
        (SimpleImputer(strategy="median"), ["amount"]),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), one_hot()), ["town"]),
        ("passthrough", ["age"]),
    ),
    "positions": make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), one_hot()), [2]),
        (StandardScaler(), [3, 0]),
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_steps_before_the_net(case, tmp_path):
    pytest.importorskip("skl2onnx")
    frame = text_table()
    model = make_pipeline(STEPS[case], Given()).fit(frame, np.arange(60) % 2)
    session = opened(model, tmp_path)
    assert kinds(session)["town"] == "tensor(string)"
    assert "note" not in kinds(session)  # which no step uses
    new = text_table()[::-1]
    new.loc[7, "town"] = "Bern"
    (got,) = session.run(None, fed(session, new))
    assert_allclose(got, model.predict_proba(new), rtol=1e-5, atol=1e-5)


def test_steps_for_numbers_only_keep_one_input(tmp_path):
    pytest.importorskip("skl2onnx")
    X = text_table()[["amount", "age"]].to_numpy(np.float32)
    model = make_pipeline("passthrough", SimpleImputer(), StandardScaler(), Given())
    model.fit(X, np.arange(60) % 2)
    session = opened(model, tmp_path)
    assert kinds(session) == {"X": "tensor(float)"}
    assert_allclose(session.run(None, {"X": X})[0], model.predict_proba(X), rtol=1e-5, atol=1e-5)


def test_samplers_in_a_pipeline_are_left_out(tmp_path):
    pytest.importorskip("skl2onnx")
    from imblearn.pipeline import make_pipeline as with_sampler
    from imblearn.under_sampling import RandomUnderSampler

    model = with_sampler(StandardScaler(), RandomUnderSampler(random_state=0), Given())
    model.fit(PAIR, CODES > 0)
    (got,) = opened(model, tmp_path).run(None, {"X": PAIR})
    assert_allclose(got, model.predict_proba(PAIR), rtol=1e-5, atol=1e-5)


def test_decision_around_a_pipeline_and_inside_of_one(tmp_path):
    pytest.importorskip("skl2onnx")
    frame, y = text_table(), np.arange(60) % 2
    scaled = make_column_transformer((StandardScaler(), ["age"]), (one_hot(), ["town"]))
    inner = TunedDecisionClassifierCV(FrozenEstimator(Given().fit(PROBA, CODES)), cv=2)
    inside = make_pipeline(StandardScaler(), inner).fit(PROBA, CODES)
    around = FixedThresholdClassifier(make_pipeline(scaled, Given()), threshold=0.2).fit(frame, y)
    for model, rows in ((inside, PROBA), (around, frame)):
        session = opened(model, tmp_path)
        given = {"X": rows} if model is inside else fed(session, rows)
        got, label = session.run(None, given)
        assert_allclose(got, model.predict_proba(rows), rtol=1e-5, atol=1e-5)
        assert (label == model.predict(rows)).mean() > 0.98  # rounding may move a row at the edge


REFUSED_STEPS = {
    "indicator": (SimpleImputer(add_indicator=True), "amount", "does not do the same"),
    "function": (FunctionTransformer(np.log1p), "age", "cannot convert.*FunctionTransformer"),
    "gap as NaN": (
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        "town",
        "does not do the same",
    ),
    "rare words": (
        OneHotEncoder(min_frequency=25, handle_unknown="infrequent_if_exist"),
        "town",
        "skl2onnx",
    ),
}


@pytest.mark.parametrize("case", REFUSED_STEPS)
def test_steps_that_cannot_be_written(case, tmp_path):
    pytest.importorskip("skl2onnx")
    step, column, said = REFUSED_STEPS[case]
    steps = step if case == "function" else make_column_transformer((step, [column]))
    frame = text_table()[[column]]
    model = make_pipeline(steps, Given()).fit(frame, np.arange(60) % 2)
    with pytest.raises(ValueError, match=rf"(?s){said}.*by itself"):
        imbtorch.to_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_categories_behind_steps_are_refused(tmp_path):
    columns = ["town", "age"]
    steps = make_column_transformer(("passthrough", columns), verbose_feature_names_out=False)
    model = make_pipeline(steps.set_output(transform="pandas"), small(max_epochs=1))
    model.fit(FRAME.assign(age=1.0)[columns], TARGET)
    with pytest.raises(ValueError, match="hand on categories.*Give the estimator the table itself"):
        imbtorch.to_onnx(model, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        (RandomForestClassifier(), TypeError, "cannot write RandomForest.*Pipeline that ends"),
        (
            FixedThresholdClassifier(LogisticRegression(), response_method="decision_function"),
            ValueError,
            "expit",
        ),
        (GridSearchCV(Given(), {}, cv=2), TypeError, "best_estimator_"),
        (make_pipeline(StandardScaler(), LogisticRegression()), TypeError, "LogisticRegression"),
    ],
)
def test_what_cannot_be_written_is_named(model, error, said, tmp_path):
    with pytest.raises(error, match=f"(?s){said}"):
        imbtorch.to_onnx(model.fit(PAIR, CODES > 0), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrapper", [TunedDecisionClassifierCV, FixedThresholdClassifier])
def test_unfitted(wrapper, tmp_path):
    for model in (wrapper(Given()), make_pipeline(StandardScaler(), wrapper(Given()))):
        with pytest.raises(NotFittedError):
            imbtorch.to_onnx(model, tmp_path / "model.onnx")


def test_absent_skl2onnx_is_named_with_the_extra(tmp_path, monkeypatch):
    model = make_pipeline(StandardScaler(), Given()).fit(PAIR, CODES > 0)
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"skl2onnx.*imbtorch\[onnx\]"):
        imbtorch.to_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_tuned_net_behind_steps(tmp_path):
    pytest.importorskip("skl2onnx")
    columns = ["amount", "rate", "town"]
    steps = make_column_transformer((SimpleImputer(), columns[:2]), (one_hot(), columns[2:]))
    model = TunedDecisionClassifierCV(make_pipeline(steps, small()), cv=2, random_state=0)
    model.fit(FRAME[columns], TARGET)
    session, new = opened(model, tmp_path), unseen()[columns]
    got, label = session.run(None, fed(session, new))
    assert_allclose(got, model.predict_proba(new), rtol=0, atol=1e-5)
    assert_array_equal(label, model.predict(new))


@pytest.mark.slow
def test_tuned_net_on_a_table(tmp_path):
    net = small(features=features())
    model = TunedDecisionClassifierCV(net, cost_matrix=[[0, 1], [9, 0]], cv=2)
    model.fit(FRAME, np.where(TARGET, "fraud", "fine"))
    session, new = opened(model, tmp_path), unseen()
    got, label = session.run(None, fed(session, new))
    assert_allclose(got, model.predict_proba(new), rtol=0, atol=1e-5)
    assert_array_equal(label, model.predict(new))
