"""What ``X`` and ``y`` may be, and what the errors say."""

import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier, ImbalancedNetRegressor
from tests.toy import parameters_of, small, table

X, Y = table()
NAMES = list("abcde")


class Mean(nn.Module):
    """Averages over time."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[-1], n_outputs)

    def forward(self, x):
        return self.layer(x.mean(dim=1))


def pandas():
    return pytest.importorskip("pandas")


def polars():
    return pytest.importorskip("polars")


def learned(**params):
    """Return a classifier that learns the toy table well."""
    return small(max_epochs=25, lr=0.02, **params)


# -- labels ----------------------------------------------------------------------------------------

LABELS = {
    "strings": lambda: np.array(["no", "yes"])[Y],
    "objects": lambda: np.array(["no", "yes"], dtype=object)[Y],
    "list of strings": lambda: ["yes" if label else "no" for label in Y],
    "booleans": lambda: Y == 1,
    "3 and 5": lambda: np.array([3, 5])[Y],
    "signs": lambda: np.array([-1, 1])[Y],
    "rare class first": lambda: np.array(["z", "a"])[Y],
    "whole floats": lambda: Y.astype(float),
    "bytes of integers": lambda: Y.astype(np.uint8),
    "pandas strings": lambda: pandas().Series(np.array(["no", "yes"])[Y], dtype="string"),
    "pandas categories": lambda: pandas().Series(np.array(["no", "yes"])[Y], dtype="category"),
    "pandas booleans": lambda: pandas().Series(Y == 1),
    "pandas with another index": lambda: pandas().Series(Y, index=range(1000, 1000 + len(Y))),
    "polars strings": lambda: polars().Series(np.array(["no", "yes"])[Y].tolist()),
    "polars integers": lambda: polars().Series(Y),
}


@pytest.mark.matrix
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", sorted(LABELS))
def test_labels_of_any_type(name):
    y = LABELS[name]()
    labels = np.asarray(y)
    clf = learned().fit(X, y)
    assert clf.classes_.tolist() == sorted(set(labels.tolist()))
    predicted = clf.predict(X)
    assert predicted.dtype == clf.classes_.dtype
    assert np.mean(predicted == labels) > 0.9
    assert clf.score(X, y) > 0.9


@pytest.mark.parametrize("n_classes", [2, 4])
def test_columns_are_in_the_order_of_the_classes(n_classes):
    X, y = table(600, rate=0.6, n_classes=n_classes, n_features=6)
    names = np.array(["d", "a", "c", "b"])[:n_classes]
    clf = learned().fit(X, names[y])
    proba = clf.predict_proba(X)
    assert clf.classes_.tolist() == sorted(names.tolist())
    assert proba.shape == (len(X), n_classes)
    for column, label in enumerate(clf.classes_):
        of_class = names[y] == label
        assert proba[of_class, column].mean() > 0.5 > proba[~of_class, column].mean()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_predictions_agree_with_each_other(n_classes, dtype):
    X, y = table(n_classes=n_classes)
    clf = small(dtype=dtype).fit(X, y)
    proba, scores = clf.predict_proba(X), clf.decision_function(X)
    assert proba.dtype == dtype
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), proba, rtol=1e-6)
    np.testing.assert_array_equal(clf.predict(X), clf.classes_[proba.argmax(axis=1)])
    if n_classes == 2:
        np.testing.assert_array_equal(clf.predict(X), clf.classes_[(scores > 0).astype(int)])
        np.testing.assert_allclose(scores, np.log(proba[:, 1] / proba[:, 0]), atol=1e-4)
    else:
        np.testing.assert_array_equal(clf.predict(X), clf.classes_[scores.argmax(axis=1)])


def test_scores_do_not_saturate_where_probabilities_do():
    clf = small().fit(X, Y)
    far = 1e4 * np.sign(X[:1]) * np.array([[1.0], [2.0], [4.0]])
    scores = clf.decision_function(far)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) == 3


def test_several_chunks_are_put_together(monkeypatch):
    clf = small(dtype="float64").fit(X, Y)
    whole = clf.predict_proba(X)
    monkeypatch.setattr("imbtorch.training.prediction.CHUNK_ROWS", 7)
    np.testing.assert_allclose(clf.predict_proba(X), whole, rtol=1e-12)
    np.testing.assert_allclose(clf.predict_proba(sparse.csr_array(X)), whole, rtol=1e-12)


@pytest.mark.parametrize("name", ["predict", "predict_proba", "decision_function"])
def test_one_row_is_predicted_as_among_many(name):
    clf = small(dtype="float64").fit(X, Y)
    predict = getattr(clf, name)
    np.testing.assert_allclose(predict(X[5:6]), predict(X)[5:6], rtol=1e-12)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.linspace(0, 1, len(Y)), "(?i)continuous"),
        (np.eye(2)[Y] * 2, "matrix of labels, 0 or 1"),
        (np.zeros(len(Y)), "class"),
        (Y[:-1], "inconsistent"),
        (np.where(Y == 1, np.nan, 0.0), "NaN"),
        (None, "requires y"),
    ],
    ids=["continuous", "indicators", "one class", "too short", "NaN", "none"],
)
def test_target_that_cannot_be_learned(y, message):
    with pytest.raises(ValueError, match=message):
        small().fit(X, y)


# -- X ---------------------------------------------------------------------------------------------


def memmap(folder, dtype="float64"):
    np.save(folder / "X.npy", X.astype(dtype))
    return np.load(folder / "X.npy", mmap_mode="r")


KINDS = {
    "list": lambda folder: X.tolist(),
    "fortran order": lambda folder: np.asfortranarray(X),
    "big-endian": lambda folder: X.astype(">f8"),
    "memmap": memmap,
    "CSR array": lambda folder: sparse.csr_array(X),
    "CSR matrix": lambda folder: sparse.csr_matrix(X),
    "CSC matrix": lambda folder: sparse.csc_matrix(X),
    "CSR with 64-bit indices": lambda folder: with_wide_indices(sparse.csr_array(X)),
    "pandas": lambda folder: pandas().DataFrame(X, columns=NAMES),
    "polars": lambda folder: polars().DataFrame(X, schema=NAMES),
}


def with_wide_indices(matrix):
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return matrix


@pytest.mark.matrix
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}], ids=["plain", "validated"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_net_is_the_same_however_X_is_given(kind, params, tmp_path):
    given = KINDS[kind](tmp_path)
    if sparse.issparse(given):  # a table of which is scaled without subtracting anything
        params = {**params, "features": None}
    clf = small(dtype="float64", **params).fit(given, Y)
    expected = small(dtype="float64", **params).fit(X, Y)
    np.testing.assert_allclose(parameters_of(clf), parameters_of(expected), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(clf.predict_proba(given), expected.predict_proba(X), rtol=1e-9)


def test_memmap_is_left_as_it_is(tmp_path):
    given = memmap(tmp_path)
    small().fit(given, Y).predict_proba(given)
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_X_and_y_are_not_modified(dtype):
    given, y = X.astype(dtype), Y.copy()
    small(dtype=dtype, early_stopping=True).fit(given, y).predict_proba(given)
    np.testing.assert_array_equal(given, X.astype(dtype))
    np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize("library", [pandas, polars])
def test_feature_names_are_recorded_and_checked(library):
    library = library()
    frame = library.DataFrame({name: X[:, i] for i, name in enumerate(NAMES)})
    clf = small().fit(frame, Y)
    assert clf.feature_names_in_.tolist() == NAMES
    assert clf.n_features_in_ == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.predict(frame)
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[NAMES[::-1]])
    with pytest.warns(UserWarning, match="feature names"):
        clf.predict(X)


@pytest.mark.parametrize("library", [pandas, polars])
def test_column_that_is_no_number_is_named_with_a_way_out(library):
    frame = library().DataFrame(
        {"amount": X[:, 0], "country": ["de", "fr", "us"] * 100, "card": ["x"] * 300}
    )
    with pytest.raises(
        ValueError, match=r"\['country', 'card'\].*ColumnTransformer.*OneHotEncoder.*'table'"
    ):
        small(features=None).fit(frame, Y)


def test_categorical_column_is_named():
    pd = pandas()
    frame = pd.DataFrame({"amount": X[:, 0], "kind": pd.Categorical(["u", "v"] * 150)})
    with pytest.raises(ValueError, match=r"\['kind'\]"):
        small(features=None).fit(frame, Y)


def test_date_column_is_named():
    pd = pandas()
    frame = pd.DataFrame({"amount": X[:, 0], "when": pd.date_range("2024-01-01", periods=300)})
    with pytest.raises((ValueError, TypeError), match="when"):
        small().fit(frame, Y)


def test_missing_value_in_a_data_frame_is_called_nan():
    pd = pandas()
    frame = pd.DataFrame(X, columns=NAMES).astype("Float64")
    frame.loc[3, "b"] = pd.NA
    with pytest.raises(ValueError, match="X contains NaN"):
        small(features=None).fit(frame, Y)


def test_string_column_at_prediction_is_named():
    pd = pandas()
    frame = pd.DataFrame(X, columns=NAMES)
    with pytest.raises(ValueError, match=r"\['b'\]"):
        small(features=None).fit(frame, Y).predict(frame.assign(b="u"))
    clf = small().fit(frame, Y)
    with pytest.raises(ValueError, match="Column 'b' held numbers in fit, but holds 'u' now"):
        clf.predict(frame.assign(b="u"))


def poisoned(value):
    wrong = X.copy()
    wrong[4, 2] = value
    return wrong


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict_proba"])
def test_number_that_is_not_finite_names_X(method, kind, value):
    wrong = kind(poisoned(value))
    clf = small(features=None if np.isnan(value) else "auto")
    call = {
        "fit": lambda: clf.fit(wrong, Y),
        "partial_fit": lambda: clf.partial_fit(wrong, Y, classes=[0, 1]),
        "predict_proba": lambda: clf.fit(kind(X), Y).predict_proba(wrong),
    }[method]
    with pytest.raises(ValueError, match="X contains (NaN|infinity)"):
        call()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("method", ["fit", "predict_proba"])
def test_number_too_large_for_float32_is_an_error(method, kind):
    wrong = kind(poisoned(1e300))
    clf = small(features=None)
    clf = clf if method == "fit" else clf.fit(kind(X), Y)
    with pytest.raises(ValueError, match='X has values too large.*dtype="float64"'):
        clf.fit(wrong, Y) if method == "fit" else clf.predict_proba(wrong)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, 1e300, 1e30, 2.0**24 + 1])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict_proba"])
def test_a_table_may_hold_gaps_and_numbers_of_any_size(method, kind, value):
    wrong, clf = kind(poisoned(value)), small()
    if method == "partial_fit":
        clf = ImbalancedNetClassifier(random_state=0).partial_fit(wrong, Y, classes=[0, 1])
    else:
        clf.fit(wrong if method == "fit" else kind(X), Y)
    assert np.isfinite(clf.predict_proba(wrong)).all()


@pytest.mark.parametrize("shape", [(300, 6), (300, 4), (300, 5, 2), (300,)])
def test_rows_of_another_shape_are_an_error(shape):
    clf = small().fit(X, Y)
    with pytest.raises(ValueError, match="features|shape|1D|dim"):
        clf.predict(np.zeros(shape))


def test_rows_of_another_shape_are_an_error_in_more_dimensions():
    sequences = np.zeros((40, 6, 2), dtype=np.float32)
    sequences[:10] += 1
    clf = ImbalancedNetClassifier(Mean, max_epochs=1).fit(sequences, np.arange(40) < 10)
    with pytest.raises(ValueError, match=r"\(6, 3\).*\(6, 2\)"):
        clf.predict(np.zeros((4, 6, 3)))


def test_sequences_into_an_mlp_say_how_to_flatten():
    with pytest.raises(ValueError, match=r"MLP.*X\.reshape\(len\(X\), 12\)"):
        small(MLP((4,))).fit(np.zeros((40, 6, 2)), np.arange(40) % 2)


def test_unfitted_estimator_says_so():
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(small(), name)(X)


# -- what is no number, and numbers that float32 cannot hold ---------------------------------------


WHEN = np.datetime64("2024-01-01", "us") + np.arange(len(Y)).astype("timedelta64[h]")
DATES = {
    "mixed": lambda: pandas().DataFrame({"t": WHEN, "x": X[:, 0]}),
    "alone": lambda: pandas().DataFrame({"t": WHEN}),
    "NaT": lambda: pandas().DataFrame({"t": np.r_[np.datetime64("NaT"), WHEN[1:]]}),
    "zone": lambda: pandas().DataFrame({"t": pandas().Series(WHEN).dt.tz_localize("UTC")}),
    "duration": lambda: pandas().DataFrame({"t": WHEN - WHEN[0]}),
    "words": lambda: pandas().DataFrame({"t": WHEN, "x": ["a"] * len(Y)}),
    "polars": lambda: polars().DataFrame({"t": WHEN, "x": X[:, 0]}),
    "polars alone": lambda: polars().DataFrame({"t": WHEN}),
    "array": lambda: WHEN[:, None],
    "objects": lambda: np.array(
        [list(row) for row in zip(WHEN, X[:, 0], strict=True)], dtype=object
    ),
    "list": lambda: [[when, 1.0] for when in WHEN.tolist()],
    "durations": lambda: (WHEN - WHEN[0])[:, None],
}


@pytest.mark.parametrize("make", DATES.values(), ids=DATES)
def test_dates_are_refused_wherever_they_stand(make):
    with pytest.raises(ValueError, match=r"dates or durations.*the year, the month"):
        small().fit(make(), Y)


def test_dates_are_refused_at_prediction():
    clf = small(max_epochs=1).fit(X[:, :1], Y)
    with pytest.raises(ValueError, match="dates or durations"):
        clf.predict(WHEN[:, None])


IDS = 2**24 + np.arange(len(Y))[:, None]


@pytest.mark.parametrize(
    "make",
    [
        lambda: IDS,
        lambda: -IDS.astype(np.int32),
        lambda: sparse.csr_array(IDS),
        lambda: pandas().DataFrame({"id": IDS[:, 0], "x": X[:, 0]}),
        lambda: polars().DataFrame({"id": IDS[:, 0], "x": X[:, 0]}),
    ],
    ids=["int64", "int32", "sparse", "pandas", "polars"],
)
def test_integers_that_float32_cannot_hold(make):
    with pytest.raises(ValueError, match=r'16777217.*OrdinalEncoder.*dtype="float64"'):
        small(features=None).fit(make(), Y)
    with pytest.raises(ValueError, match="16777217"):
        ImbalancedNetClassifier(features=None).partial_fit(make(), Y, classes=[0, 1])
    small(features=None, dtype="float64", max_epochs=1).fit(make(), Y)
    if sparse.issparse(make()):  # nothing is subtracted
        with pytest.raises(ValueError, match="16777217"):
            small().fit(make(), Y)
    else:  # an encoder computes in float64
        proba = small(max_epochs=1).fit(make(), Y).predict_proba(make())
        assert len(np.unique(proba[:, 1])) > 0.9 * len(Y)


def test_integers_that_float32_holds():
    small(features=None, max_epochs=1).fit(2 * IDS - 2**24, Y)
    small(features=None, max_epochs=1).fit(np.full_like(IDS, 2**24), Y)


def test_integers_that_float32_cannot_hold_at_prediction():
    clf = small(features=None, max_epochs=1).fit(X[:, :1], Y)
    with pytest.raises(ValueError, match="16777217"):
        clf.predict(IDS)


@pytest.mark.parametrize("params", [{}, {"features": None, "dtype": "float64"}])
def test_integers_that_float64_cannot_hold(params):
    wide = 2**53 + 2**24 * IDS + 1
    with pytest.raises(ValueError, match="float64 cannot hold"):
        small(**params).fit(wide, Y)
    with pytest.raises(ValueError, match="float64 cannot hold"):
        small(max_epochs=1, **params).fit(X[:, :1], Y).predict(wide)


class Log(nn.Module):
    """Computes a logarithm, which negative numbers do not have."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        return self.layer(x.log())


class Infinite(nn.Module):
    """Returns infinity for large numbers."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], n_outputs)

    def forward(self, x):
        return self.layer(x) + torch.where(x[:, :1] > 100, torch.inf, 0.0)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
@pytest.mark.parametrize("several", [False, True])
def test_outputs_that_are_nan_are_an_error_that_names_rows(method, several):
    positive = np.abs(X) + 0.1
    y = np.stack([Y, 1 - Y, Y], axis=1) if several else Y
    loss = "bce" if several else "cross_entropy"
    clf = ImbalancedNetClassifier(Log, loss=loss, max_epochs=1, random_state=0).fit(positive, y)
    new = positive.copy()
    new[[2, 5], 0] = -1
    with pytest.raises(ValueError, match=r"Log are NaN or infinite for 2 of \d+ rows of X: 2, 5\."):
        getattr(clf, method)(new)


def test_outputs_of_a_regressor_that_are_infinite():
    reg = ImbalancedNetRegressor(Infinite, max_epochs=1, random_state=0).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="Infinite are NaN or infinite for 1 of 1 rows of X: 0"):
        reg.predict(np.full((1, X.shape[1]), 200.0))


def test_prior_of_zero_is_no_wrong_output():
    clf = small(max_epochs=1, target_prior=[1.0, 0.0]).fit(X, Y)
    assert (clf.predict_log_proba(X)[:, 1] == -np.inf).all()


def test_missing_labels_are_named():
    words = np.array(["no", "yes"], dtype=object)[Y]
    words[3] = None
    with pytest.raises(ValueError, match="missing values"):
        small().fit(X, words)
