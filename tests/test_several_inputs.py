"""Several inputs do what the same columns do in one array, or are refused with a reason."""

import copy
import pickle
import re
import warnings
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict, train_test_split
from skorch.callbacks import Callback, EpochScoring
from skorch.helper import SliceDict
from torch import nn
from torch.utils.data import Dataset, IterableDataset

import imbtorch
from imbtorch import (
    FileFormatError,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    Inputs,
    NetEnsembleClassifier,
    NetPortfolioClassifier,
    NotStackedWarning,
    compare_strategies,
    finetune_head,
    load,
)
from imbtorch._common.inputs import InputBatch
from imbtorch.features import TableFeatures
from imbtorch.training.data.features import as_features
from imbtorch.weights import class_counts
from tests.persistence import hostile
from tests.several_inputs import (
    COLUMNS,
    FORMS,
    IDS,
    IMAGE,
    MAPPING,
    PLAIN,
    QUICK,
    TABLE,
    USES,
    Items,
    N,
    Parts,
    Whole,
    Y,
    check_stated,
    estimator,
    maker,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "several_inputs.md"
WITH_IDS = {**MAPPING, "ids": IDS}
NAMES = list("abc")
REASONS = ("several inputs", "Dataset")
SLOW = {"ONNX"}

pytestmark = pytest.mark.filterwarnings(
    "ignore::imbtorch.NotStackedWarning",
    "ignore:Training was interrupted",
    "ignore:X does not have valid feature names",
    "ignore::imbtorch.DoubleCorrectionWarning",
    "ignore:max_epochs=2",
)


# -- the table of the page: forms of the data, and what is done with them -----------------------


def table_of(page):
    """Cells of the table on the page: ``{(use, form): cell}``."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    titles, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {
        (use, form): cell for use, *row in rows for form, cell in zip(titles[1:], row, strict=True)
    }


STATED = table_of(PAGE.read_text("utf-8").split("## What works")[1])


@cache
def plain(use, form):
    return USES[PLAIN.get(use, use)](maker(form, whole=True), FORMS[form][0])


def found(use, form):
    """What a use does with a form: "same", "other", or the reason for which it is refused."""
    try:
        values = USES[use](maker(form, whole=False), FORMS[form][1])
    except ValueError as error:
        return str(error)
    same = np.allclose(values, plain(use, form), rtol=0, atol=1e-5)
    return "same" if same else "other"


def test_the_page_has_all_cells():
    assert set(STATED) == {(use, form) for use in USES for form in FORMS}


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("use", "form"),
    [
        pytest.param(use, form, marks=[pytest.mark.slow] if use in SLOW else [])
        for use in USES
        for form in FORMS
    ],
)
def test_same_as_one_array(use, form):
    check_stated(found(use, form), STATED[use, form], REASONS)


# -- arrays of any kind -------------------------------------------------------------------------


def fit(X, module=Parts, with_ids=False, **params):
    return estimator(module, with_ids, **params).fit(X, Y)


@pytest.fixture(scope="module")
def expected():
    return fit(MAPPING).predict_proba(MAPPING)


def memory_map(folder):
    np.save(folder / "image.npy", IMAGE)
    return np.load(folder / "image.npy", mmap_mode="r")


KINDS = {
    "list": lambda folder: {**MAPPING, "table": TABLE.tolist()},
    "tensor": lambda folder: {**MAPPING, "image": torch.from_numpy(IMAGE)},
    "pandas": lambda folder: {**MAPPING, "table": pd.DataFrame(TABLE, columns=NAMES)},
    "polars": lambda folder: {**MAPPING, "table": pl.DataFrame(TABLE, schema=NAMES)},
    "sparse": lambda folder: {**MAPPING, "table": sparse.csr_array(TABLE)},
    "dok": lambda folder: {**MAPPING, "table": sparse.dok_array(TABLE)},
    "csc": lambda folder: {**MAPPING, "table": sparse.csc_matrix(TABLE)},
    "memory map": lambda folder: {**MAPPING, "image": memory_map(folder)},
    "Fortran order": lambda folder: {**MAPPING, "table": np.asfortranarray(TABLE)},
    "SliceDict": lambda folder: SliceDict(**MAPPING),
    "other mapping": lambda folder: MappingProxyType(MAPPING),
    "Inputs": lambda folder: Inputs(MAPPING),
    "Inputs of a list": lambda folder: Inputs([IMAGE, TABLE]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_kinds_of_arrays(kind, early_stopping, tmp_path):
    X = KINDS[kind](tmp_path)
    clf = fit(X, early_stopping=early_stopping)
    reference = fit(MAPPING, early_stopping=early_stopping).predict_proba(MAPPING)
    np.testing.assert_allclose(clf.predict_proba(X), reference, atol=1e-12)
    rows = Inputs(X) if not isinstance(X, Inputs | SliceDict) else X
    np.testing.assert_allclose(clf.predict_proba(rows[5:9]), reference[5:9], atol=1e-12)


class Columns(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        assert input_shape == {"age": (), "income": ()}
        self.out = nn.Linear(2, n_outputs)

    def forward(self, age, income):
        return self.out(torch.stack([age, income], dim=1))


class Joined(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.out = nn.Linear(2, n_outputs)

    def forward(self, x):
        return self.out(x)


def test_columns_of_one_number_for_each_row():
    age, income = TABLE[:, 0], TABLE[:, 1]
    whole = ImbalancedNetClassifier(Joined, features=None, **QUICK).fit(TABLE[:, :2], Y)
    reference = whole.predict_proba(TABLE[:, :2])
    for X in (
        {"age": age, "income": income},
        {"age": age.tolist(), "income": torch.from_numpy(income)},
        {"age": pd.Series(age), "income": pl.Series(income)},
        dict(pd.DataFrame({"age": age, "income": income}).items()),
    ):
        clf = ImbalancedNetClassifier(Columns, **QUICK).fit(X, Y)
        np.testing.assert_allclose(clf.predict_proba(X), reference, atol=1e-12)


def test_a_frame_is_a_table_and_no_mapping():
    frame = pd.DataFrame(TABLE, columns=NAMES)
    clf = ImbalancedNetClassifier(**QUICK).fit(frame, Y)
    assert clf.features_ is not None
    assert clf.feature_names_in_.tolist() == NAMES


@pytest.mark.parametrize("dok", [sparse.dok_array, sparse.dok_matrix])
def test_a_sparse_matrix_that_is_a_dict_is_one_array(dok):
    clf = ImbalancedNetClassifier(nn.Linear(3, 2), **QUICK)
    given = clf.fit(dok(TABLE), Y).predict_proba(dok(TABLE))
    np.testing.assert_allclose(given, clf.fit(TABLE, Y).predict_proba(TABLE), atol=1e-12)


def test_tuples_of_numbers_are_rows():
    rows = tuple(map(tuple, TABLE.tolist()))
    clf = ImbalancedNetClassifier(**QUICK)
    np.testing.assert_array_equal(
        clf.fit(rows, Y).predict_proba(rows), clf.fit(TABLE, Y).predict_proba(TABLE)
    )


def test_the_order_of_the_keys_does_not_matter(expected):
    turned = dict(reversed(MAPPING.items()))
    assert list(turned) != list(MAPPING)
    np.testing.assert_array_equal(fit(MAPPING).predict_proba(turned), expected)


def test_attributes():
    clf = fit(MAPPING)
    assert clf.n_features_in_ == 2
    assert clf.feature_names_in_.tolist() == ["table", "image"]
    assert clf._input_shape == {"table": (3,), "image": (1, 2, 2)}
    assert not hasattr(fit((IMAGE, TABLE)), "feature_names_in_")
    again = ImbalancedNetClassifier(Parts, **QUICK).fit(MAPPING, Y)
    again.set_params(module=nn.Linear(3, 2)).fit(TABLE, Y)
    assert again.n_features_in_ == 3
    assert again._part_names is None


# -- integers -----------------------------------------------------------------------------------


class Dtypes(nn.Module):
    """Remembers the dtypes of its inputs."""

    def __init__(self, n_outputs, takes_integers=None, embeds=True):
        super().__init__()
        if takes_integers is not None:
            self.takes_integers = takes_integers
        self.words, self.out = nn.Embedding(9, 2), nn.Linear(4, n_outputs)
        self.conv = nn.Conv2d(1, 2, 2)
        self.embeds = embeds

    def forward(self, ids, image):
        words = self.words(ids).mean(1) if self.embeds else ids[:, :2].to(self.out.weight.dtype)
        return self.out(torch.cat([words, self.conv(image).flatten(1)], 1))


PIXELS = (IMAGE * 50).astype(np.uint8)


@pytest.mark.parametrize(
    ("given", "tag", "embeds", "kinds"),
    [
        ({"ids": IDS, "image": IMAGE}, None, True, "if"),
        ({"ids": IDS, "image": PIXELS}, None, True, "if"),  # a convolution takes no integers
        ({"ids": IDS, "image": PIXELS}, ("ids",), True, "if"),
        ({"ids": IDS, "image": PIXELS}, "ids", True, "if"),
        ({"ids": IDS.astype(float), "image": IMAGE}, ("ids",), True, "if"),
        ({"ids": IDS, "image": IMAGE}, True, True, "if"),
        ({"ids": IDS, "image": IMAGE}, None, False, "if"),
        ({"ids": IDS, "image": IMAGE}, False, False, "ff"),
    ],
)
def test_dtypes(given, tag, embeds, kinds):
    clf = ImbalancedNetClassifier(Dtypes, **QUICK)
    clf.set_params(module__takes_integers=tag, module__embeds=embeds).fit(given, Y)
    wanted = {"i": torch.int64, "f": torch.float64}
    assert list(clf.net_.input_dtype.values()) == [wanted[kind] for kind in kinds]
    first = clf.predict_proba(given)
    as_floats = {**given, "ids": given["ids"].astype(np.float64)}
    np.testing.assert_array_equal(clf.predict_proba(as_floats), first)


def test_inputs_that_a_module_cannot_take_as_they_are():
    clf = ImbalancedNetClassifier(Dtypes, **QUICK)
    with pytest.raises(ValueError, match=r"ids: \(2, 2\) float64.*takes_integers"):
        clf.fit({"ids": IDS.astype(float), "image": IMAGE}, Y)
    clf.set_params(module__takes_integers=("idz",))
    with pytest.raises(ValueError, match=r"names \['idz'\], but the inputs in X are \['ids'"):
        clf.fit({"ids": IDS, "image": IMAGE}, Y)


def test_identifiers_without_a_row():
    clf = fit(WITH_IDS, with_ids=True)
    wrong = {**WITH_IDS, "ids": IDS + 1}
    message = r"columns 0 to 1 of X\['ids'\] holds identifiers from 1 to 7"
    with pytest.raises(ValueError, match=message):
        clf.predict(wrong)
    with pytest.raises(ValueError, match="the embedding 'words' has 7 rows"):
        fit({**WITH_IDS, "ids": IDS + 7}, with_ids=True)
    late = IDS.copy()
    late[50] = 8
    with pytest.raises(ValueError, match=message.replace("1 to 7", "0 to 8")):
        fit({**WITH_IDS, "ids": late}, with_ids=True)


def test_integers_that_floats_do_not_hold():
    large = np.full((N, 3), 2**24 + 1)
    clf = ImbalancedNetClassifier(nn.Bilinear(3, 2, 2), max_epochs=1)
    with pytest.raises(ValueError, match=r"X\[0\] holds integers that float32 cannot hold"):
        clf.fit((large, IDS), Y)


def test_values_that_are_not_whole():
    clf = fit(WITH_IDS, with_ids=True)
    with pytest.raises(ValueError, match=r"X\['ids'\] is not valid: X holds values that are not"):
        clf.predict({**WITH_IDS, "ids": IDS + 0.5})


# -- what does not fit --------------------------------------------------------------------------


def message(call):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        ({"image": IMAGE}, ["['table'] is missing", "'image': (1, 2, 2)"]),
        ({**MAPPING, "other": TABLE}, ["['other'] is not known"]),
        ({**MAPPING, "table": TABLE[:, :2]}, ["X['table']", "2 features", "3 features"]),
        ({**MAPPING, "image": IMAGE[:, :, 1:]}, ["X['image']", "(1, 1, 2)", "(1, 2, 2)"]),
        ({**MAPPING, "image": IMAGE[:, 0, 0, 0]}, ["X['image']"]),
        ({**MAPPING, "image": IMAGE[:9]}, ["'image': 9", f"'table': {N}", "numbers of rows"]),
        ({**MAPPING, "table": TABLE * np.nan}, ["X['table']", "NaN"]),
        ({**MAPPING, "table": TABLE.astype("U")}, ["X['table']"]),
        ({**MAPPING, "table": None}, ["X['table'] must be an array", "NoneType"]),
        ({**MAPPING, "table": {"a": TABLE}}, ["X['table'] must be an array", "dict"]),
        ((IMAGE, TABLE), ["a tuple", "a mapping"]),
        (TABLE, ["one array with rows of shape (3,)", "'table': (3,)"]),
        ({0: IMAGE, 1: TABLE}, ["must be strings", "0"]),
        ({}, ["no input"]),
    ],
    ids=lambda value: None if isinstance(value, list) else "X",
)
def test_other_inputs_at_prediction(X, words):
    clf = fit(MAPPING)
    before = clf.predict_proba(MAPPING)
    told = message(lambda: clf.predict_proba(X))
    assert all(word in told for word in words), told
    np.testing.assert_array_equal(clf.predict_proba(MAPPING), before)


def test_columns_keep_their_names_and_their_order():
    frame = pd.DataFrame(TABLE, columns=NAMES)
    clf = fit({**MAPPING, "table": frame})
    told = message(lambda: clf.predict({**MAPPING, "table": frame[NAMES[::-1]]}))
    assert "X['table']" in told
    assert "order" in told


def test_several_inputs_for_a_net_of_one():
    clf = ImbalancedNetClassifier(**QUICK).fit(TABLE, Y)
    assert "fitted on one array" in message(lambda: clf.predict(MAPPING))
    assert "fitted on one array" in message(lambda: clf.predict((TABLE, TABLE)))


@pytest.mark.parametrize(
    ("X", "words"),
    [
        ({"image": IMAGE, "tab": TABLE}, ["'tab'", "(image, table, ids=None)", "names of the"]),
        ({"image": IMAGE}, ["['image']", "'table'"]),
        ((IMAGE, TABLE, IDS, IDS), ["4 arrays in a tuple", "(image, table, ids=None)"]),
        ({**MAPPING, "table": TABLE[:5]}, ["'table': 5"]),
        ({"image": IMAGE[:5], "table": TABLE[:5]}, ["5 rows", f"y has {N}"]),
        (tuple(TABLE), ["3 rows", f"y has {N}", "np.stack(X)"]),
        ((TABLE[0], TABLE[1, :2]), ["{0: 3, 1: 2}", "np.stack(X)"]),
        ([IMAGE, TABLE], ["a tuple or a mapping", "(80, 1, 2, 2)"]),
        ({**MAPPING, "table": np.full(N, "2020-01-01", "M8[D]")}, ["X['table']", "dates"]),
        (
            {**MAPPING, "table": [[1.0]] * (N - 1) + [[1.0, 2.0]]},
            ["X['table']", "different lengths"],
        ),
    ],
    ids=lambda value: None if isinstance(value, list) else "X",
)
def test_inputs_that_cannot_be_trained_on(X, words):
    clf = ImbalancedNetClassifier(Parts, **QUICK)
    told = message(lambda: clf.fit(X, Y))
    assert all(word in told for word in words), told
    assert not hasattr(clf, "net_")


def test_a_fit_that_fails_leaves_the_inputs_as_they_were():
    frame = pd.DataFrame(TABLE, columns=NAMES)
    clf = fit({**MAPPING, "table": frame})
    before = dict(vars(clf))
    message(lambda: clf.fit(TABLE, Y))
    assert vars(clf).keys() == before.keys()
    assert all(vars(clf)[name] is value for name, value in before.items())
    told = message(lambda: clf.predict({**MAPPING, "table": frame[NAMES[::-1]]}))
    assert "X['table']" in told


@pytest.mark.parametrize("features", ["table", TableFeatures()])
def test_encoders_say_what_to_do(features):
    told = message(lambda: fit(MAPPING, features=features))
    assert f"features={{'table': {features!r}}}" in told
    assert "features=None" in told


def test_targets_are_explained():
    assert "missing values" in message(
        lambda: ImbalancedNetClassifier(Parts, **QUICK).fit(
            MAPPING, pd.Series(np.where(Y, "a", "b"), dtype="string").where(TABLE[:, 0] > 0, pd.NA)
        )
    )


@pytest.mark.parametrize("module", ["mlp", "tabm", imbtorch.MLP((3,))])
def test_modules_of_one_input(module):
    told = message(lambda: ImbalancedNetClassifier(module, **QUICK).fit(MAPPING, Y))
    assert "takes one" in told
    assert "'table': (3,)" in told


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_take_no_hooks():
    scripted = torch.jit.script(nn.Bilinear(3, 2, 2))
    assert "scripted" in message(
        lambda: ImbalancedNetClassifier(scripted, **QUICK).fit((TABLE, IDS), Y)
    )


def test_modules_of_torch():
    X = (TABLE, IDS)
    clf = ImbalancedNetClassifier(nn.Bilinear(3, 2, 2), **QUICK).fit(X, Y)
    assert clf.net_.input_dtype == {0: torch.float64, 1: torch.float64}
    assert clf.predict(X).shape == (N,)


def test_modules_are_called_with_parts_or_a_batch():
    given = Parts(2).double()
    clf = ImbalancedNetClassifier(given, **QUICK).fit(MAPPING, Y)
    assert not given._forward_pre_hooks  # the net has a copy
    parts = {key: torch.from_numpy(part) for key, part in MAPPING.items()}
    logits = clf.module_(**parts)
    assert torch.equal(logits, clf.module_(parts["image"], parts["table"]))
    assert torch.equal(logits, clf.module_(InputBatch(parts)))


# -- searches, ensembles, files -----------------------------------------------------------------


def test_searches_take_inputs():
    search = GridSearchCV(estimator(Parts, False), {"lr": [0.1, 0.01]}, cv=2)
    for X in (Inputs(MAPPING), SliceDict(**MAPPING), Inputs((IMAGE, TABLE))):
        assert search.fit(X, Y).predict(X).shape == (N,)
    frames = Inputs({"image": IMAGE, "table": pd.DataFrame(TABLE, columns=NAMES)})
    proba = cross_val_predict(estimator(Parts, False), frames, Y, cv=2, method="predict_proba")
    reference = cross_val_predict(
        estimator(Parts, False), Inputs(MAPPING), Y, cv=2, method="predict_proba"
    )
    np.testing.assert_array_equal(proba, reference)
    train, test = train_test_split(frames, random_state=0)
    assert (len(train), len(test)) == (60, 20)


def test_inputs_are_rows():
    X = Inputs({**MAPPING, "table": pd.DataFrame(TABLE, columns=NAMES)})
    assert len(X) == N
    assert X.shape == (N,)
    assert X.input_shape == {"table": (3,), "image": (1, 2, 2)}
    assert repr(X) == f"Inputs(table: ({N}, 3), image: ({N}, 1, 2, 2))"
    for rows in ([3, 5], np.array([3, 5]), np.isin(np.arange(N), [3, 5]), slice(3, 6, 2)):
        assert X[rows]["table"].index.tolist() == [3, 5]
        np.testing.assert_array_equal(X[rows]["image"], IMAGE[[3, 5]])
    assert "X[3:4]" in message(lambda: X[3])
    assert "several inputs" in message(lambda: np.asarray(X))
    copied = pickle.loads(pickle.dumps(copy.deepcopy(X)))
    np.testing.assert_array_equal(copied["image"], IMAGE)
    with pytest.raises(TypeError):
        iter(X)


def test_ensembles_say_why_they_do_not_stack():
    with pytest.warns(NotStackedWarning, match="several inputs"):
        NetEnsembleClassifier(estimator(Parts, False), n_estimators=2).fit(MAPPING, Y)


@pytest.mark.parametrize(
    "call",
    [
        lambda: NetPortfolioClassifier(cv=2).fit(MAPPING, Y),
        lambda: compare_strategies(Inputs(MAPPING), Y, cv=2),
    ],
)
def test_tools_for_tables(call):
    assert re.search("several inputs", message(call))


def test_pickle_and_copy(expected):
    clf = fit(MAPPING)
    for other in (pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf)):
        np.testing.assert_array_equal(other.predict_proba(MAPPING), expected)
        assert "is missing" in message(lambda other=other: other.predict({"image": IMAGE}))


@pytest.mark.parametrize("X", [WITH_IDS, (IMAGE, TABLE, IDS)], ids=["mapping", "tuple"])
def test_files(X, tmp_path):
    clf = fit(X, with_ids=True)
    clf.save(tmp_path / "net")
    again = load(tmp_path / "net", module=clf.module)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again._input_shape == clf._input_shape
    assert again.net_.input_dtype == clf.net_.input_dtype
    again.save(tmp_path / "again")
    assert (tmp_path / "again").stat().st_size == (tmp_path / "net").stat().st_size


def test_files_keep_the_names_of_columns(tmp_path):
    X = {**MAPPING, "table": pd.DataFrame(TABLE, columns=NAMES)}
    clf = fit(X)
    clf.save(tmp_path / "net")
    again = load(tmp_path / "net", module=clf.module)
    assert again._part_names["table"].tolist() == NAMES
    assert "X['table']" in message(lambda: again.predict({**X, "table": X["table"][NAMES[::-1]]}))


class Lazy(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.out = nn.LazyLinear(n_outputs)

    def forward(self, image, table):
        return self.out(torch.cat([image.flatten(1), table], 1))


def test_files_of_lazy_modules(tmp_path):
    clf = ImbalancedNetClassifier(Lazy, **QUICK).fit(MAPPING, Y)
    clf.save(tmp_path / "net")
    again = load(tmp_path / "net", module=Lazy)
    np.testing.assert_array_equal(again.predict_proba(MAPPING), clf.predict_proba(MAPPING))


def changes():
    def part(**values):
        return lambda net: net["inputs"]["parts"][0].update(values)

    yield "no parts", lambda net: net.update(inputs={})
    yield "empty", lambda net: net.update(inputs={"parts": []})
    yield "other number", lambda net: net["inputs"]["parts"].pop()
    yield "one key", part(key="image")
    yield "number for a key", part(key=1)
    yield "list for a key", part(key=[])
    yield "huge shape", part(shape=[2**50])
    yield "negative shape", part(shape=[-1])
    yield "text for a shape", part(shape="3")
    yield "unknown dtype", part(dtype="object")
    yield "dict for a dtype", part(dtype={})
    yield "too many columns", part(columns=["a"] * 9)
    yield "numbers for columns", part(columns=[1, 2, 3])
    yield "more", part(more=1)
    yield "no dict", lambda net: net["inputs"]["parts"].__setitem__(0, 3)
    yield "not the module's", lambda net: net.update(module=None)


@pytest.fixture(scope="module")
def file_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "net"
    fit(MAPPING).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("change", [pytest.param(c, id=name) for name, c in changes()])
def test_damaged_files(change, file_bytes, tmp_path):
    file = hostile.File(file_bytes)
    change(file.document["net"])
    (tmp_path / "net").write_bytes(file.bytes())
    with pytest.raises(FileFormatError):
        load(tmp_path / "net", module=Parts)


@pytest.mark.slow
def test_onnx_of_identifiers_and_ensembles(tmp_path):
    import onnxruntime

    clf = fit(WITH_IDS, with_ids=True)
    ensemble = NetEnsembleClassifier(estimator(Parts, True), n_estimators=2).fit(WITH_IDS, Y)
    for model in (clf, ensemble):
        model.to_onnx(tmp_path / "net.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
        given = {**{k: p.astype(np.float32) for k, p in MAPPING.items()}, "ids": IDS}
        for rows in (slice(None), slice(1)):
            (proba,) = session.run(None, {key: part[rows] for key, part in given.items()})
            np.testing.assert_allclose(proba, model.predict_proba(WITH_IDS)[rows], atol=1e-5)


# -- Datasets -----------------------------------------------------------------------------------


class Pairs(Dataset):
    def __init__(self, weight=None, alone=False):
        self.weight, self.alone = weight, alone

    def __len__(self):
        return N

    def __getitem__(self, i):
        parts = torch.from_numpy(IMAGE[i]), TABLE[i]
        if self.alone:
            return {"image": parts[0], "table": parts[1]}
        return (parts, Y[i]) if self.weight is None else (parts, Y[i], self.weight[i])


def test_datasets_of_tuples(expected):
    clf = estimator(Parts, False).fit(Pairs())
    assert clf._input_shape == ((1, 2, 2), (3,))
    np.testing.assert_allclose(clf.predict_proba(Pairs()), expected, atol=1e-12)
    np.testing.assert_allclose(clf.predict_proba((IMAGE, TABLE)), expected, atol=1e-12)
    weight = np.linspace(0, 2, N)
    heavy = estimator(Parts, False).fit(Pairs(weight)).predict_proba(Pairs(weight))
    reference = estimator(Parts, False).fit(MAPPING, Y, sample_weight=weight)
    np.testing.assert_allclose(heavy, reference.predict_proba(MAPPING), atol=1e-12)


def test_datasets_of_features_alone(expected):
    clf = fit(MAPPING)
    np.testing.assert_allclose(clf.predict_proba(Pairs(alone=True)), expected, atol=1e-12)
    assert "a tuple" in message(lambda: clf.predict(Pairs()))


@pytest.mark.slow
def test_workers_read_datasets(expected):
    clf = estimator(Parts, False, num_workers=1).fit(Pairs())
    np.testing.assert_allclose(clf.predict_proba((IMAGE, TABLE)), expected, atol=1e-12)


class Odd(Items):
    def __init__(self, change):
        super().__init__(MAPPING, True)
        self.change = change

    def __getitem__(self, i):
        parts, y = super().__getitem__(i)
        return (self.change(parts) if i == 7 else parts), y


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: {"table": p["table"]}, "['table', 'image'], another one ['table']"),
        (lambda p: p["table"], "another one []"),
        (lambda p: {**p, "table": p["table"][:2]}, "Input 'table'"),
        (lambda p: {**p, "table": p["table"] * np.nan}, "Input 'table' of X contains NaN"),
        (lambda p: {**p, "table": "text"}, "Input 'table'"),
    ],
)
def test_items_that_differ(change, words):
    assert words in message(lambda: estimator(Parts, False).fit(Odd(change)))


class Stream(IterableDataset):
    def __init__(self, of_parts):
        self.items = Items(MAPPING if of_parts else COLUMNS[:, :7], of_parts)

    def __iter__(self):
        return (self.items[i] for i in range(N))


def test_streams():
    counts = class_counts(Y)
    clf = estimator(Parts, False, class_weight="balanced").fit(Stream(True), class_counts=counts)
    whole = estimator(Whole, False, class_weight="balanced")
    whole.fit(Stream(False), class_counts=counts)
    np.testing.assert_allclose(
        clf.predict_proba(MAPPING), whole.predict_proba(COLUMNS[:, :7]), atol=1e-12
    )


def test_rows_are_the_same_where_every_input_is():
    kinds = dict.fromkeys(MAPPING, torch.float64)

    def rows(**parts):
        return as_features(Inputs({**MAPPING, **parts}), kinds, torch.device("cpu"))

    assert rows().same_as(rows(table=TABLE.copy()))
    assert not rows().same_as(rows(table=TABLE + 1))
    assert not rows().same_as(rows().parts["table"])


# -- the rest of the training -------------------------------------------------------------------


class Batches(Callback):
    def __init__(self):
        self.seen = []

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        self.seen.append((training, len(batch[0]), sorted(batch[0].parts)))


@pytest.mark.parametrize("X", [MAPPING, (IMAGE, TABLE)], ids=["mapping", "tuple"])
def test_callbacks_of_skorch(X, expected):
    callbacks = [Batches(), EpochScoring("accuracy", use_caching=False, name="acc")]
    clf = fit(X, callbacks=callbacks, validation_fraction=0.2)
    (seen,) = [cb.seen for _, cb in clf.net_.callbacks_ if isinstance(cb, Batches)]
    assert {tuple(keys) for *_, keys in seen} == {
        (0, 1) if isinstance(X, tuple) else tuple(sorted(X))
    }
    assert len(clf.history_[:, "acc"]) == 2
    assert len(clf.history_[:, "valid_loss"]) == 2
    whole = fit(COLUMNS[:, :7], Whole, validation_fraction=0.2)
    np.testing.assert_allclose(
        clf.predict_proba(X), whole.predict_proba(COLUMNS[:, :7]), atol=1e-12
    )


@pytest.mark.parametrize(
    "params",
    [
        {"sharpness": 0.05},
        {"on_oom": "split"},
        {"gradient_clipping": 1.0},
        {"averaging": "ema"},
        {"scoring": "average_precision", "early_stopping": True},
        {"warm_start": True},
        {"dtype": "float32"},
    ],
    ids=str,
)
def test_settings_of_the_training(params):
    clf, whole = fit(MAPPING, **params), fit(COLUMNS[:, :7], Whole, **params)
    if params.get("warm_start"):
        clf.fit(MAPPING, Y)
        whole.fit(COLUMNS[:, :7], Y)
    np.testing.assert_allclose(
        clf.predict_proba(MAPPING), whole.predict_proba(COLUMNS[:, :7]), atol=1e-6
    )


def test_scorers_of_ones_own():
    def score(model, X, y):
        return model.predict_proba(X)[:, 1] @ y

    params = {"scoring": score, "early_stopping": True}
    clf, whole = fit(MAPPING, **params), fit(COLUMNS[:, :7], Whole, **params)
    np.testing.assert_allclose(
        clf.history_[:, "valid_score"], whole.history_[:, "valid_score"], atol=1e-12
    )


class Writing(Parts):
    """Writes into its inputs."""

    def forward(self, image, table):
        return super().forward(image.mul_(2) / 2, table.mul_(4) / 4)


@pytest.mark.parametrize("callbacks", [None, [Batches()]], ids=["lean", "hooked"])
@pytest.mark.parametrize("sharpness", [0.0, 0.05])
def test_modules_that_write_into_their_inputs(sharpness, callbacks):
    params = {"sharpness": sharpness, "callbacks": callbacks}
    before = {key: part.copy() for key, part in MAPPING.items()}
    clf, reference = fit(MAPPING, Writing, **params), fit(MAPPING, Parts, **params)
    np.testing.assert_allclose(clf.predict_proba(MAPPING), reference.predict_proba(MAPPING))
    for key, part in MAPPING.items():
        np.testing.assert_array_equal(part, before[key])


def test_labels_and_values():
    labels = np.stack([Y, 1 - Y], 1)
    clf = estimator(Parts, False).fit(MAPPING, labels)
    whole = estimator(Whole, False).fit(COLUMNS[:, :7], labels)
    np.testing.assert_allclose(
        clf.predict_proba(MAPPING), whole.predict_proba(COLUMNS[:, :7]), atol=1e-12
    )
    reg = ImbalancedNetRegressor(Parts, **QUICK).fit(MAPPING, TABLE[:, 0])
    plain = ImbalancedNetRegressor(Whole, **QUICK).fit(COLUMNS[:, :7], TABLE[:, 0])
    np.testing.assert_allclose(reg.predict(MAPPING), plain.predict(COLUMNS[:, :7]), atol=1e-12)


def test_other_methods():
    clf, whole = fit(MAPPING), fit(COLUMNS[:, :7], Whole)
    plain = COLUMNS[:, :7]
    assert clf.score(MAPPING, Y) == whole.score(plain, Y)
    np.testing.assert_allclose(clf.estimate_prior(MAPPING), whole.estimate_prior(plain))
    np.testing.assert_allclose(clf.decision_function(MAPPING), whole.decision_function(plain))
    assert "inputs: table (3), image (1 x 2 x 2)" in clf.model_card()
    head = finetune_head(clf, MAPPING, Y)
    reference = finetune_head(whole, plain, Y)
    np.testing.assert_allclose(
        head.predict_proba(MAPPING), reference.predict_proba(plain), atol=1e-12
    )


def test_outputs_that_are_not_finite():
    clf = fit(MAPPING)
    with torch.no_grad():
        clf.module_.out[0].weight.fill_(float("nan"))
    assert "NaN or infinite" in message(lambda: clf.predict_proba(MAPPING))


def test_validation_rows_with_other_inputs():
    clf = estimator(Parts, False)
    told = message(lambda: clf.fit(MAPPING, Y, X_val={"image": IMAGE}, y_val=Y))
    assert "['table', 'image']" in told
    assert "X_val" in told
    told = message(lambda: clf.fit(MAPPING, Y, X_val={**MAPPING, "table": TABLE[:, :2]}, y_val=Y))
    assert "X['table'] has rows of shape (3,), but X_val['table'] of (2,)" in told


class ByName(nn.Module):
    """A linear model of inputs that come in the order of the call."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(2, 2)

    def forward(self, **parts):
        return self.out(torch.stack(list(parts.values()), dim=1))


class Listed(Dataset):
    """Items of a list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def test_arguments_come_in_the_order_of_the_fit():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = {"a": rng.normal(size=40), "b": rng.normal(size=40)}
    clf = ImbalancedNetClassifier(ByName(), max_epochs=3, random_state=0).fit(X, y)
    other_order = {"b": X["b"], "a": X["a"]}
    np.testing.assert_array_equal(clf.predict_proba(other_order), clf.predict_proba(X))
    items = Listed([{name: part[i] for name, part in other_order.items()} for i in range(40)])
    np.testing.assert_array_equal(clf.predict_proba(items), clf.predict_proba(X))


def test_items_of_any_order_of_their_keys_are_one_dataset():
    rng = np.random.default_rng(0)
    rows = [{"a": rng.normal(), "b": rng.normal()} for _ in range(40)]
    turned = [row if i % 3 == 0 else dict(reversed(row.items())) for i, row in enumerate(rows)]
    clf = ImbalancedNetClassifier(ByName(), max_epochs=2, random_state=0)
    found, expected = (
        clone(clf)
        .fit(Listed([(row, i % 2) for i, row in enumerate(some)]))
        .predict_proba(Listed(some))
        for some in (turned, rows)
    )
    np.testing.assert_array_equal(found, expected)


def test_compiled_modules_are_refused():
    X = {"a": np.zeros(8), "b": np.zeros(8)}
    compiled = torch.compile(ByName(), backend="eager")
    with pytest.raises(ValueError, match="torch.compile .*module around it"):
        ImbalancedNetClassifier(compiled).fit(X, np.arange(8) % 2)


def test_one_input_may_be_a_list_of_rows():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = {"a": rng.normal(size=40), "b": rng.normal(size=40)}
    clf = ImbalancedNetClassifier(ByName(), max_epochs=1, random_state=0)
    expected = clf.fit(X, y).predict_proba(X)
    listed = {"a": list(X["a"]), "b": X["b"].tolist()}
    np.testing.assert_array_equal(clf.fit(listed, y).predict_proba(listed), expected)
    with pytest.raises(ValueError, match="have 40 rows, but y has 39"):
        clf.fit({"a": X["a"].tolist(), "b": X["b"]}, y[:-1])
    with pytest.raises(ValueError, match=r"\['c'\] is not known"):
        clf.predict({"a": X["a"], "c": [[1.0, 2.0]] * 40})


def test_names_of_inputs_are_no_names_of_columns():
    X = {"a": np.zeros(8), "b": np.zeros(8)}
    clf = ImbalancedNetClassifier(ByName(), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.partial_fit(X, np.arange(8) % 2, classes=[0, 1]).partial_fit(X, np.arange(8) % 2)


def test_more_than_a_thousand_inputs_are_saved(tmp_path):
    class Many(ByName):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(1001, 2)

    X = {f"c{i}": np.zeros(8) for i in range(1001)}
    clf = ImbalancedNetClassifier(Many(), max_epochs=1, random_state=0).fit(X, np.arange(8) % 2)
    clf.save(tmp_path / "net")
    again = imbtorch.load(tmp_path / "net", module=Many())
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
