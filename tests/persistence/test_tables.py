"""Files hold what a net knows of the columns of a table: scales, fillings and categories."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import polars
import pytest
import torch
from scipy import sparse
from torch import nn

import imbtorch
from imbtorch import (
    MLP,
    FileFormatError,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    finetune_head,
    load,
    tau_normalize,
)
from imbtorch.features import FeatureEncoder, TableEncoder, TableFeatures
from tests.features.tables import rare_buyers
from tests.persistence import hostile
from tests.persistence.test_golden import FILES
from tests.persistence.test_round_trip import again, same_net
from tests.toy import plain_columns, small
from tests.training.resume import cut_short


def every_kind(n=200, seed=0):
    """Return a frame with every kind of column, and labels."""
    frame, y = rare_buyers(n, seed)
    rng = np.random.default_rng(seed)
    maybe = pd.array(rng.random(n) < 0.5, dtype="boolean")
    maybe[rng.random(n) < 0.1] = pd.NA
    frame = frame.assign(
        grade=pd.Categorical(rng.choice([10, 20, 35], n)),
        flag=pd.Categorical(rng.random(n) < 0.4),
        maybe=maybe,
        short=rng.normal(size=n).astype(np.float32),
        word=pd.array(rng.choice(["ä", "b", "\U0001f600 c", ""], n), dtype="string[pyarrow]"),
    )
    return frame, y


def with_surprises(frame):
    """Return rows with unknown categories, and gaps in every column."""
    frame = frame.copy()
    frame["town"] = frame["town"].where(frame.index % 3 > 0, "nowhere")
    frame["grade"] = pd.Categorical(frame["grade"].astype(int).where(frame.index % 2 > 0, 99))
    frame["size"] = frame["size"].cat.add_categories(["XXL"])
    frame.loc[0, "size"] = "XXL"
    for i, name in enumerate(frame):
        if frame[name].dtype == bool:
            frame[name] = frame[name].astype("boolean")
        frame.loc[5 * i : 5 * i + 3, name] = None
    return frame


X, Y = every_kind()
STRANGE = with_surprises(X)
VALUES = np.random.default_rng(0).normal(size=200) + (X["short"] > 0)
LABELS = np.stack([Y, X["short"] > 0.5], axis=1).astype(int)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def same_table(twin, estimator):
    """Compare what two estimators know of the columns."""
    for here, there in zip(members_of(twin), members_of(estimator), strict=True):
        found, expected = here.net_.encoder_, there.net_.encoder_
        assert here._columns is found.columns
        assert found.columns.names == expected.columns.names
        words, known = found.columns.vocabulary, expected.columns.vocabulary
        assert list(words) == list(known)
        for column, values in known.items():
            assert words[column].dtype == values.dtype
            assert list(map(type, words[column])) == list(map(type, values))
            assert words[column].tolist() == values.tolist()
        assert (found.bins is None) == (expected.bins is None)
        for name in ("indicators", "embedded", "n_slots", "clips", "dtype", "numbers", "one_hot"):
            assert getattr(found, name) == getattr(expected, name)
        for name, value in expected.state_dict().items():
            assert torch.equal(found.state_dict()[name], value)
        assert found.names() == expected.names()


def members_of(estimator):
    return getattr(estimator, "estimators_", [estimator])


def same(estimator, path, *rows, **how):
    """Save and load; predictions of all rows and the table must be the same."""
    twin = again(estimator, path, rows[0], **how)
    same_table(twin, estimator)
    for more in rows[1:]:
        np.testing.assert_array_equal(twin.predict(more), estimator.predict(more))
        if hasattr(estimator, "predict_proba"):
            there, here = estimator.predict_proba(more), twin.predict_proba(more)
            np.testing.assert_array_equal(here, there)
    return twin


# -- what comes back -------------------------------------------------------------------------------

FEATURES = {
    "auto": "auto",
    "name": "table",
    "robust": TableFeatures(scaling="robust", fill="median", add_indicator=False),
    "quantile": TableFeatures(scaling="quantile"),
    "unscaled": TableFeatures(scaling=None, embedding_size=None),
    "bins": TableFeatures(numeric_embedding="piecewise_linear", n_bins=5),
    "periodic": TableFeatures(numeric_embedding="periodic", n_frequencies=5),
    "periodic alone": TableFeatures(numeric_embedding="periodic", embedding_size=None),
    "rare": TableFeatures(max_categories=7, min_frequency=3, embedding_size=2, max_one_hot=2),
    "mask": TableFeatures(categorical_features=[n not in ("age", "amount", "short") for n in X]),
    "names": TableFeatures(
        categorical_features=["job", "town", "visits", "size", "grade", "flag", "word"]
    ),
}


@pytest.mark.parametrize("features", FEATURES.values(), ids=list(FEATURES))
def test_frames_with_every_kind_of_column(features, path):
    clf = small(features=features).fit(X, Y)
    twin = same(clf, path, X, STRANGE)
    same_net(twin, clf)
    np.testing.assert_array_equal(
        twin.features_.transform(STRANGE), clf.features_.transform(STRANGE)
    )
    assert twin.features_.get_feature_names_out().tolist() == clf.net_.encoder_.names()
    assert twin.feature_names_in_.tolist() == list(X)


def binned(**params):
    return TableFeatures(numeric_embedding="piecewise_linear", **params)


def test_bins_of_numbers(path):
    """Also with every scaling, of arrays, for a module of the user, shared by members."""
    rows = X[["age", "amount", "short"]].to_numpy()
    for scaling in ("robust", "quantile", None):
        twin = same(small(features=binned(scaling=scaling)).fit(rows, Y), path, rows)
        assert twin.net_.encoder_.bins.n_bins == [8, 8, 8]
    same(small(Own, features=binned()).fit(X, Y), path, X, STRANGE, module=Own)
    members = NetEnsembleClassifier(small(features=binned()), 2, subset="all", random_state=0)
    same(members.fit(X, Y), path, X, STRANGE)
    few = small(features=binned()).fit(rows > 0, Y)
    assert same(few, path, rows > 0).net_.encoder_.bins is None


def test_periodic_embeddings(path):
    """Also of arrays, for a module of the user, and of members."""
    rows = X[["age", "amount", "short"]].to_numpy()
    twin = same(small(features=PERIODIC).fit(rows, Y), path, rows)
    assert twin.net_.encoder_.periodic == [0, 1, 2]
    for features in (PERIODIC, TableFeatures(numeric_embedding="periodic", embedding_size=None)):
        same(small(Own, features=features).fit(X, Y), path, X, STRANGE, module=Own)
        same(small("tabm", features=features).fit(X, Y), path, X, STRANGE)
    members = NetEnsembleClassifier(small(features=PERIODIC), 2, subset="all", random_state=0)
    same(members.fit(X, Y), path, X, STRANGE)
    assert "periodic" in hostile.File(path.read_bytes()).document["tables"][0]
    small(features=plain_columns()).fit(X, Y).save(path)
    assert "periodic" not in hostile.File(path.read_bytes()).document["tables"][0]


PERIODIC = TableFeatures(numeric_embedding="periodic", n_frequencies=5)


@pytest.mark.parametrize("features", [binned(), PERIODIC], ids=["bins", "periodic"])
def test_embeddings_of_numbers_in_checkpoints_and_later_fits(features, tmp_path):
    def training(**params):
        return small(features=features, max_epochs=4, **params)

    cut_short(lambda: training(checkpoint=tmp_path / "folder").fit(X, Y), 2)
    resumed = training(checkpoint=tmp_path / "folder").fit(X, Y, resume=True)
    expected = training().fit(X, Y)
    np.testing.assert_array_equal(resumed.predict_proba(STRANGE), expected.predict_proba(STRANGE))
    same(expected, tmp_path / "net", X, STRANGE)
    twins = [load(tmp_path / "net"), pickle.loads(pickle.dumps(expected))]
    first, second = (twin.partial_fit(STRANGE, Y).predict_proba(STRANGE) for twin in twins)
    np.testing.assert_array_equal(first, second)
    cut_short(lambda: training(checkpoint=tmp_path / "other").fit(X, Y), 2)
    with pytest.raises(ValueError, match="features"):
        small(max_epochs=4, checkpoint=tmp_path / "other").fit(X, Y, resume=True)


def test_double_precision(path):
    clf = small(dtype="float64", features=TableFeatures(scaling="robust")).fit(X, Y)
    assert same(clf, path, X, STRANGE).net_.encoder_.dtype == torch.float64


def test_frames_of_polars(path):
    frames = [polars.from_pandas(frame.drop(columns=["grade", "flag"])) for frame in (X, STRANGE)]
    same(small().fit(frames[0], Y), path, *frames)


@pytest.mark.parametrize("kind", ["numbers", "gaps", "words", "objects", "sparse", "labels of int"])
def test_what_is_no_frame(kind, path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 3))
    features = "auto"
    if kind == "gaps":
        rows[rng.random(rows.shape) < 0.1] = np.nan
    if kind == "words":
        rows = np.array([["a", 1.0], ["b", None], [None, 3.5]] * 40, dtype=object)
    if kind == "objects":
        rows = np.array([[1, True, 1], [2, False, 2.5], [None, None, 4]] * 40, dtype=object)
        features = TableFeatures(categorical_features=[0, 1, 2])
    if kind == "sparse":
        rows = sparse.csr_array(rows * (rows > 0))
    if kind == "labels of int":
        rows = pd.DataFrame({0: rows[:, 0], 7: ["a", "b", "c"] * 40})
    clf = small(features=features).fit(rows, Y[:120])
    same(clf, path, rows)


def test_columns_without_any_category(path):
    rows = X.assign(none=pd.Categorical([None] * len(X), categories=["a"]))[["age", "none"]]
    same(small().fit(rows, Y), path, rows)


def test_regressors_and_labels(path):
    model = ImbalancedNetRegressor(MLP((8,)), max_epochs=2, random_state=0).fit(X, VALUES)
    same(model, path, X, STRANGE)
    same(small(loss="bce").fit(X, LABELS), path, X, STRANGE)


def test_members_that_share_an_encoder_share_it_again(path):
    clf = NetEnsembleClassifier(small(), 3, subset="all", random_state=0).fit(X, Y)
    twin = same(clf, path, X, STRANGE)
    assert len({id(member.net_.encoder_) for member in clf.estimators_}) == 1
    assert len({id(member.net_.encoder_) for member in twin.estimators_}) == 1
    assert twin._columns is twin.estimators_[0]._columns
    assert len(hostile.File(path.read_bytes()).document["tables"]) == 1
    copied = pickle.loads(pickle.dumps(clf))
    assert len({id(member.net_.encoder_) for member in copied.estimators_}) == 1


def test_members_that_stopped_early_have_encoders_of_their_own(path):
    base = small(early_stopping=True, max_epochs=3)
    clf = NetEnsembleClassifier(base, 3, subset="all", random_state=0).fit(X, Y)
    twin = same(clf, path, X, STRANGE)
    assert len({id(member.net_.encoder_) for member in twin.estimators_}) == 3
    assert len(hostile.File(path.read_bytes()).document["tables"]) == 3


@pytest.mark.parametrize("features", ["auto", TableFeatures(embedding_size=None)], ids=str)
def test_second_stages(features, path):
    clf = small(features=features).fit(X, Y)
    for second in (finetune_head(clf, X, Y), tau_normalize(clf)):
        same(second, path, X, STRANGE)


@pytest.mark.slow
def test_names_beyond_ascii_and_many_words(path):
    """More text than a document may have."""
    rng = np.random.default_rng(0)
    words = [f"{'ä' * (i % 30)} {i}" for i in range(60_000)]
    rows = pd.DataFrame({"wörd": words, "n\n": rng.normal(size=len(words))})
    clf = small(features=TableFeatures(max_categories=5), max_epochs=1, batch_size=10_000)
    clf.fit(rows, (rng.random(len(words)) < 0.1).astype(int))
    same(clf, path, rows[:50])


# -- training goes on ------------------------------------------------------------------------------


def test_training_goes_on_after_a_load(path):
    clf = small().fit(X, Y)
    clf.save(path)
    twins = [load(path), pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf)]
    first, *others = [twin.partial_fit(STRANGE, Y).predict_proba(STRANGE) for twin in twins[:2]]
    np.testing.assert_array_equal(first, others[0])
    more = twins[0].set_params(warm_start=True).fit(X, Y)
    assert more.n_iter_ == 5
    assert torch.equal(more.net_.encoder_.centre, clf.net_.encoder_.centre)


def test_a_stream_is_saved_between_its_chunks(path):
    clf = small()
    for start in range(0, 200, 50):
        clf.partial_fit(X[start : start + 50], Y[start : start + 50], classes=[0, 1])
    same(clf, path, X, STRANGE)


def test_checkpoints_and_pickles(tmp_path):
    def training():
        return small(checkpoint=tmp_path / "folder", max_epochs=4)

    cut_short(lambda: training().fit(X, Y), 2)
    resumed = training().fit(X, Y, resume=True)
    expected = small(max_epochs=4).fit(X, Y)
    np.testing.assert_array_equal(resumed.predict_proba(STRANGE), expected.predict_proba(STRANGE))
    twin = pickle.loads(pickle.dumps(resumed))
    same_table(twin, resumed)
    np.testing.assert_array_equal(twin.predict_proba(STRANGE), expected.predict_proba(STRANGE))


# -- modules of the user ---------------------------------------------------------------------------


class Own(nn.Module):
    """A module of the user that gets encoded rows."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(input_shape[0], 6)
        self.out = nn.Linear(6, n_outputs)

    def forward(self, x):
        return self.out(torch.tanh(self.hidden(x)))


def lazy(input_shape, n_outputs):
    return nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(n_outputs))


@pytest.mark.parametrize("module", [Own, lazy])
@pytest.mark.parametrize("features", ["table", TableFeatures(embedding_size=None)], ids=str)
def test_modules_of_the_user(module, features, path):
    clf = small(module, features=features).fit(X, Y)
    twin = same(clf, path, X, STRANGE, module=module)
    same_net(twin, clf)
    with pytest.raises(ValueError, match="only the weights of your own module"):
        load(path)
    with pytest.raises(ValueError, match="does not fit the weights"):
        load(path, module=lambda s, n: nn.Linear(*s, n))


def test_a_changed_module_is_not_saved(path):
    clf = small().fit(X, Y)
    clf.set_params(module__activation="tanh")
    with pytest.raises(ValueError, match="has been changed since the fit"):
        clf.save(path)


def test_features_may_be_changed_after_the_fit(path):
    """What predicts is the encoder of the fit; the parameter is for the next one."""
    clf = small().fit(X, Y).set_params(features=TableFeatures(embedding_size=3))
    same(clf, path, X, STRANGE)


# -- encoders of the user --------------------------------------------------------------------------


class Largest(FeatureEncoder):
    """Divides each number by the largest one; an encoder of the user without a name."""

    categorical_features = None

    def __init__(self, factor=1.0):
        self.factor = factor

    def learn(self, columns, X, rows=None, sample_weight=None, *, dtype):
        size = np.abs(X if rows is None else X[rows]).max(axis=0)
        zeros = np.zeros(len(size))
        return TableEncoder(columns, zeros, self.factor / size, zeros, [], [], [], [], dtype=dtype)


def test_encoders_of_the_user(path):
    rows = X[["amount", "short"]].to_numpy()
    clf = small(features=Largest()).fit(rows, Y)
    with pytest.raises(ValueError, match=r"^features=Largest.*set_params\(features='auto'\)"):
        clf.save(path)
    clf.set_params(features="auto")
    same(clf, path, rows)

    class Named(Largest):
        name = "largest_of_test"

    try:
        clf = small(features=Named(factor=2.0)).fit(rows, Y)
        assert same(clf, path, rows).features.factor == 2.0
    finally:
        FeatureEncoder._registry.pop("largest_of_test")
    with pytest.raises(FileFormatError, match="no features 'largest_of_test'"):
        load(path)


def test_encoders_of_another_class(path):
    class Deeper(TableEncoder):
        pass

    class Deep(Largest):
        def learn(self, *args, **kwargs):
            encoder = super().learn(*args, **kwargs)
            encoder.__class__ = Deeper
            return encoder

    clf = small(features=Deep()).fit(X[["amount"]].to_numpy(), Y).set_params(features=None)
    with pytest.raises(ValueError, match="by Deeper, and a file can hold only a TableEncoder"):
        clf.save(path)


@pytest.mark.parametrize(
    "words",
    [pd.interval_range(0, 4).repeat(50), pd.to_datetime(["2020-01-01", "2021-01-01"] * 100)],
    ids=["intervals", "dates"],
)
def test_categories_that_a_file_cannot_hold(words, path):
    try:
        clf = small().fit(X.assign(when=pd.Categorical(words)), Y)
    except ValueError:
        return  # refused by the fit
    with pytest.raises(ValueError, match=r"category of 'when'.*X\['when'\].astype\(str\)"):
        clf.save(path)
    assert not path.exists()


def test_text_that_a_file_cannot_hold(path):
    rows = np.array([["a", 1.0], ["\ud800", 2.0]] * 100, dtype=object)
    with pytest.raises(ValueError, match=r"'\\ud800'.*Clean the text"):
        small().fit(rows, Y).save(path)


# -- files -----------------------------------------------------------------------------------------


def test_files_before_the_encoder_have_none():
    path = next(path for path in FILES if path.parent.name == "0.1.0" and "ensem" in path.stem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # other versions of torch and the rest
        model = load(path)
    assert model.estimator.features is None
    assert {member.features for member in model.estimators_} == {None}
    assert model.estimators_[0].net_.encoder_ is None


def test_a_table_of_numbers_adds_little(path):
    rows = np.random.default_rng(0).normal(size=(100, 4))
    small(features=None).fit(rows, Y[:100]).save(path)
    without = path.stat().st_size
    small(features=plain_columns()).fit(rows, Y[:100]).save(path)
    assert path.stat().st_size < without + 1500


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "table"
    imbtorch.ImbalancedNetClassifier(MLP((4,)), max_epochs=1, random_state=0).fit(X, Y).save(path)
    return path.read_bytes()


def changed(blob, path, change):
    file = hostile.File(blob)
    change(file)
    path.write_bytes(file.bytes())
    return path


def table(**values):
    return lambda file: file.document["tables"][0].update(values)


def category(i, **values):
    return lambda file: file.document["tables"][0]["categories"][i].update(values)


def net(**values):
    return lambda file: file.document["net"].update(values)


def numbers(name, *values):
    """Put these numbers at the beginning of a tensor."""

    def change(file):
        def put(tensors):
            dtype, array = tensors[f"table.0.{name}"]
            array = array.copy()
            array.reshape(-1)[: len(values)] = values
            tensors[f"table.0.{name}"] = dtype, array

        file.rebuild(put)

    return change


def reshaped(name, shape, dtype=None):
    def change(file):
        def put(tensors):
            kind, array = tensors[f"table.0.{name}"]
            tensors[f"table.0.{name}"] = dtype or kind, np.zeros(shape, array.dtype)

        file.rebuild(put)

    return change


def dropped(name):
    return lambda file: file.rebuild(lambda tensors: tensors.pop(name))


def changed_tensor(name, array):
    """Replace a tensor by another of its dtype."""

    def change(file):
        def put(tensors):
            tensors[name] = tensors[name][0], array

        file.rebuild(put)

    return change


def twice(file):
    file.document["tables"] *= 2


def renamed(file):
    """Names of the estimator that are not those of the encoder."""
    names = file.document["net"]["attributes"]["feature_names_in_"]["$texts"][2]
    names[0], names[1] = names[1], names[0]


HOSTILE = {
    "tables that are text": lambda file: file.document.update(tables="a"),
    "tables that are missing": lambda file: file.document.pop("tables"),
    "table that is text": lambda file: file.document.update(tables=["a"]),
    "table twice": twice,
    "unknown part": table(code="import os"),
    "one column more": table(n_columns=13),
    "10**12 columns": table(n_columns=10**12),
    "columns that are true": table(n_columns=True),
    "columns that are negative": table(n_columns=-1),
    "no names": table(named=False),
    "indicator of no column": table(indicators=[99]),
    "indicator twice": table(indicators=[0, 0]),
    "indicator that is text": table(indicators=["0"]),
    "indicator that is true": table(indicators=[True]),
    "2 000 indicators": table(indicators=list(range(2000))),
    "embedding of no column": table(embedded=[6]),
    "embedding twice": table(embedded=[1, 1]),
    "no embedding": table(embedded=[]),
    "another embedding": table(embedded=[0]),
    "clips that are a number": table(clips=1),
    "another dtype": table(dtype="float64"),
    "no dtype": table(dtype="int8"),
    "no categories": table(categories=[]),
    "categories that are text": table(categories=["a"]),
    "column twice": category(1, column=2),
    "column of no table": category(5, column=99),
    "column that is negative": category(0, column=-1),
    "columns out of order": category(0, column=4),
    "one word more": category(0, n_words=4),
    "one word less": category(0, n_words=2),
    "10**12 words": category(0, n_words=10**12),
    "words that are negative": category(0, n_words=-1),
    "words of nothing": category(0, words={"$array": "value.99"}),
    "words that are an object": category(3, words={"$object": ["loss", "focal", {}]}),
    "words that are text in a list": category(
        3, words={"$texts": ["object", [3], ["a", "b", "c"]]}
    ),
    "words that are not sorted": category(3, words={"$texts": ["object", [3], [3, 2, 1]]}),
    "words twice": category(3, words={"$texts": ["object", [3], [1, 1, 2]]}),
    "words that are nothing": category(3, words={"$texts": ["object", [3], [1, None, 2]]}),
    "words that are NaN": category(3, words={"$texts": ["object", [3], [1, {"$float": "nan"}, 2]]}),
    "words that are huge": category(3, words={"$texts": ["object", [3], [1, 2, 10**300]]}),
    "words of two dimensions": category(3, words={"$texts": ["object", [3, 1], [1, 2, 3]]}),
    "one slot more": category(0, n_slots=6),
    "10**12 slots": category(0, n_slots=10**12),
    "no slots": category(0, n_slots=0),
    "slots that are text": category(0, n_slots="5"),
    "one code more": category(1, n_slots=42),
    "table of nothing": net(table=1),
    "table that is negative": net(table=-1),
    "table that is true": net(table=True),
    "net without a table": lambda file: file.document["net"].pop("table"),
    "other columns in the net": net(input_shape=[13]),
    "several dimensions": net(input_shape=[12, 1]),
    "other dtype of the net": net(dtype="float64"),
    "other names": renamed,
    "embeddings by column": net(by_feature=["0.weight"]),
    "centre that is NaN": numbers("centre", np.nan),
    "factor that is infinite": numbers("factor", np.inf),
    "fill that is NaN": numbers("fill", np.nan),
    "centre of one column": reshaped("centre", 1),
    "centre of two dimensions": reshaped("centre", (6, 1)),
    "quantiles of one rank": reshaped("quantiles", (6, 1)),
    "quantiles of other columns": reshaped("quantiles", (5, 0)),
    "quantiles that are NaN": reshaped("quantiles", (6, 2)),
    "slot that is negative": numbers("lookup", -1),
    "slot that is too large": numbers("lookup", 5),
    "slot without a word": numbers("lookup", 1),
    "slot that is huge": numbers("lookup", 2**62),
    "slots of other words": reshaped("lookup", 3),
    "lengths that are negative": numbers("lengths", -1, 4),
    "lengths of more text": numbers("lengths", 2**31 - 1),
    "text that is not UTF-8": numbers("text", 255),
    "text that is too long": reshaped("text", 10_000),
    "name twice": numbers("text", *b"ageage", *b"unt"),
    "no centre": dropped("table.0.centre"),
    "no text": dropped("table.0.text"),
    "no embeddings": dropped("module.0.weight"),
    "no starts": dropped("module.0.starts"),
    "features that are unknown": lambda file: file.document["params"].update(features="code"),
    "features that are a loss": lambda file: file.document["params"].update(
        features={"$object": ["loss", "focal", {}]}
    ),
    "features that are a class": lambda file: file.document["params"].update(
        features={"$class": ["features", "table"]}
    ),
    "parameter of features": lambda file: file.document["params"].update(
        features={"$object": ["features", "table", {"code": 1}]}
    ),
    "value of features": lambda file: file.document["params"].update(
        features={"$object": ["features", "table", {"scaling": "code"}]}
    ),
}


@pytest.fixture(scope="module")
def good_bins(tmp_path_factory):
    """A file whose six columns of numbers have three bins each, but for the one of booleans."""
    path = tmp_path_factory.mktemp("good") / "bins"
    small(MLP((4,)), max_epochs=1, features=binned(n_bins=3)).fit(X, Y).save(path)
    assert hostile.File(path.read_bytes()).document["tables"][0]["n_bins"] == N_BINS
    return path.read_bytes()


N_BINS = [3, 3, 0, 3, 0, 3]
HOSTILE_BINS = {
    "no number of bins": lambda file: file.document["tables"][0].pop("n_bins"),
    "bins that are text": table(n_bins="3"),
    "a number of bins that is text": table(n_bins=["3", 3, 0, 3, 0, 3]),
    "a number of bins that is true": table(n_bins=[3, 3, 0, 3, True, 2]),
    "a negative number of bins": table(n_bins=[3, 3, -1, 3, 0, 3]),
    "bins of one column more": table(n_bins=[*N_BINS, 0]),
    "bins of no column": table(n_bins=[]),
    "no bins": table(n_bins=[0] * 6),
    "one bin more": table(n_bins=[4, 3, 0, 3, 0, 3]),
    "one bin less": table(n_bins=[2, 3, 0, 3, 0, 3]),
    "10**12 bins": table(n_bins=[3, 3, 0, 3, 0, 10**12]),
    "bins of other columns": table(n_bins=[0, 3, 3, 3, 0, 4]),
    "edges that are NaN": numbers("edges", np.nan),
    "edges that are infinite": numbers("edges", -np.inf),
    "edges that are huge": numbers("edges", -1e300),
    "edges that decrease": numbers("edges", 1.0, 0.0),
    "edges that are equal": numbers("edges", 0.0, 0.0),
    "one edge": reshaped("edges", 1),
    "edges of two dimensions": reshaped("edges", (4, 4)),
    "other dtype of the edges": reshaped("edges", 16, "I64"),
    "more edges": reshaped("edges", 100_000),
    "no edges": dropped("table.0.edges"),
}


def test_a_good_table_is_loaded(good, good_bins, good_periodic, path):
    for blob in (good, good_bins, good_periodic):
        clf = load(changed(blob, path, lambda file: file.rebuild(lambda tensors: None)))
        assert clf.predict(STRANGE).shape == (200,)


@pytest.mark.parametrize("change", HOSTILE_BINS.values(), ids=list(HOSTILE_BINS))
def test_hostile_bins_are_refused(change, good_bins, path):
    with pytest.raises(FileFormatError):
        load(changed(good_bins, path, change))


@pytest.fixture(scope="module")
def good_periodic(tmp_path_factory):
    """A file of a net that embeds four of its six columns of numbers, and categories."""
    path = tmp_path_factory.mktemp("good") / "periodic"
    small(MLP((4,)), max_epochs=1, features=PERIODIC).fit(X, Y).save(path)
    assert hostile.File(path.read_bytes()).document["tables"][0]["periodic"] == [0, 1, 3, 5]
    return path.read_bytes()


HOSTILE_PERIODIC = {
    "no columns": lambda file: file.document["tables"][0].pop("periodic"),
    "columns that are a number": table(periodic=3),
    "columns that are text": table(periodic=["0", 1, 3, 5]),
    "columns that are a list": table(periodic=[[0], 1, 3, 5]),
    "column of no number": table(periodic=[0, 1, 3, 6]),
    "negative column": table(periodic=[0, 1, 3, -1]),
    "column twice": table(periodic=[0, 1, 3, 3]),
    "column that is true": table(periodic=[0, True, 3, 5]),
    "one column less": table(periodic=[0, 1, 3]),
    "one column more": table(periodic=[0, 1, 3, 4, 5]),
    "empty columns": table(periodic=[]),
    "other columns": table(periodic=[0, 1, 2, 5]),
    "other order": table(periodic=[1, 0, 3, 5]),
    "no weights": dropped("module.1.weight"),
    "no frequencies": dropped("module.1.frequency"),
    "no places": dropped("module.1.places"),
    "other places": changed_tensor("module.1.places", np.array([0, 1, 2, 5])),
    "places of no column": changed_tensor("module.1.places", np.array([0, 1, 3, 10**9])),
    "weights of two dimensions": changed_tensor("module.1.weight", np.zeros((4, 15), "f4")),
    "no waves": changed_tensor("module.1.weight", np.zeros((4, 3, 0), "f4")),
    "more waves": changed_tensor("module.1.weight", np.zeros((4, 3, 6), "f4")),
    "more results": changed_tensor("module.1.weight", np.zeros((4, 4, 5), "f4")),
    "frequencies that are NaN": changed_tensor("module.1.frequency", np.full((4, 5), np.nan, "f4")),
}


@pytest.mark.parametrize("change", HOSTILE_PERIODIC.values(), ids=list(HOSTILE_PERIODIC))
def test_hostile_periodic_embeddings_are_refused(change, good_periodic, path):
    with pytest.raises(FileFormatError):
        load(changed(good_periodic, path, change))


def test_periodic_embeddings_that_no_module_has_are_refused(good, path):
    with pytest.raises(FileFormatError, match="lacks the periodic embeddings"):
        load(changed(good, path, table(periodic=[0, 1])))


def test_bins_that_the_edges_do_not_ask_for_are_refused(good, path):
    """Edges in a file whose document has no bins, and bins of which the file has no edges."""

    def with_edges(file):
        file.rebuild(lambda tensors: tensors.update({"table.0.edges": ("F64", np.arange(3.0))}))

    def with_nothing(file):
        file.rebuild(lambda tensors: tensors.update({"table.0.edges": ("F64", np.zeros(0))}))
        file.document["tables"][0]["n_bins"] = [0] * 6

    for change in (with_edges, with_nothing, table(n_bins=N_BINS)):
        with pytest.raises(FileFormatError):
            load(changed(good, path, change))


@pytest.mark.parametrize("change", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_tables_are_refused(change, good, path):
    if change is HOSTILE["quantiles that are NaN"]:
        numbers_after = numbers("quantiles", np.nan)
        first = change
        change = lambda file: (first(file), numbers_after(file))  # noqa: E731
    with pytest.raises(FileFormatError):
        load(changed(good, path, change))


def test_starts_of_embeddings_are_those_of_the_codes(good, path):
    def moved(file):
        file.rebuild(lambda tensors: tensors.update({"module.0.starts": ("I64", np.array([99]))}))

    with pytest.raises(FileFormatError, match="invalid starts"):
        load(changed(good, path, moved))


def test_a_file_of_a_module_of_the_user_cannot_ask_for_a_wide_table(path):
    small(Own, features="table").fit(X, Y).save(path)
    blob = path.read_bytes()
    for change in (category(0, n_slots=10**12), table(n_columns=10**9), table(embedded=[0, 1])):
        with pytest.raises(FileFormatError):
            load(changed(blob, path, change), module=Own)
