"""DatasetRows: items of a Dataset as rows that scikit-learn divides, without reading them."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    train_test_split,
)
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from imbtorch import (
    DatasetRows,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NetEnsembleRegressor,
    NetPortfolioClassifier,
    compare_strategies,
    embed,
    finetune_head,
)
from imbtorch.model_selection import StackedGridSearchCV, TunedDecisionClassifierCV, cross_fit
from tests.toy import parameters_of, small, table

X, Y = table()
X = X.astype(np.float32)
W = np.random.default_rng(0).integers(0, 4, len(Y)).astype(float)

pytestmark = pytest.mark.filterwarnings("ignore::imbtorch.NotStackedWarning")


class Items(Dataset):
    """Items ``(x, y)`` or ``(x, y, w)``; remembers which were read at the same time."""

    def __init__(self, *columns):
        self.columns, self.reads = columns, []

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, i):
        self.reads.append(int(i))
        return tuple(column[i] for column in self.columns)


class Images(Items):
    """Knows its targets, as the Datasets of torchvision do."""

    target_transform = None

    def __init__(self, *columns):
        super().__init__(*columns)
        self.targets = columns[1].tolist()


class Stream(IterableDataset):
    """Has no rows by position."""

    def __iter__(self):
        return zip(X, Y, strict=True)


def assert_same(a, b):
    np.testing.assert_allclose(parameters_of(a), parameters_of(b), atol=1e-6)


# -- the object ------------------------------------------------------------------------------------


def test_rows_are_views_that_read_nothing():
    data = Items(X, Y)
    rows = DatasetRows(data, Y)
    part = rows[np.arange(100) * 2][np.arange(100) < 50][[3, 1, 1]][:2]
    assert (len(rows), rows.shape, len(part)) == (300, (300,), 2)
    np.testing.assert_array_equal(part.y, Y[[6, 2]])
    assert [part.items[i][1] for i in range(2)] == Y[[6, 2]].tolist()
    assert len(rows[[]]) == 0
    assert rows[[-1]].y.tolist() == [Y[-1]]
    assert len(data.reads) == 2
    assert repr(part) == "DatasetRows(2 items of Items)"
    with pytest.raises(TypeError, match=r"X\[3:4\]"):
        rows[3]
    with pytest.raises(TypeError, match="no array"):
        np.asarray(rows)
    with pytest.raises(IndexError):
        rows[[300]]


@pytest.mark.parametrize("subset", [False, True])
def test_targets_are_found_without_reading_all_items(subset):
    data = Images(X, Y)
    chosen = np.arange(299, -1, -3)
    rows = DatasetRows(Subset(data, chosen.tolist()) if subset else data)
    np.testing.assert_array_equal(rows.y, Y[chosen] if subset else Y)
    assert len(data.reads) <= 5  # the first one, and two of each class
    assert rows.sample_weight is None


@pytest.mark.parametrize("values", [np.arange(300), X[:, 0]], ids=["many classes", "numbers"])
def test_few_items_are_compared_with_stated_targets(values):
    data = Images(X, values)
    np.testing.assert_array_equal(DatasetRows(data).y, values)
    assert len(data.reads) <= 101


def test_targets_that_the_items_change_are_read():
    class Shifted(Images):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x, 1 - y

    class Transformed(Shifted):
        target_transform = 1

    class Flipped(Subset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x, 1 - y

        def __getitems__(self, positions):
            return [self[i] for i in positions]

    flipped = Flipped(Images(X, Y), range(100, 300))
    np.testing.assert_array_equal(DatasetRows(flipped).y, 1 - Y[100:])
    np.testing.assert_array_equal(DatasetRows(Subset(flipped, [3, 7])).y, 1 - Y[[103, 107]])
    for kind in (Shifted, Transformed):
        np.testing.assert_array_equal(DatasetRows(kind(X, Y)).y, 1 - Y)
    np.testing.assert_array_equal(DatasetRows(Items(X, Y)).y, Y)
    assert DatasetRows(Items(X, Y, [None] * 300)).sample_weight is None
    weighted = DatasetRows(Images(X, Y, W))
    np.testing.assert_array_equal(weighted.y, Y)
    np.testing.assert_array_equal(weighted[5:9].sample_weight, W[5:9])


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 3], ["common", "other", "rare"], [[0, 0], [0, 1], [1, 1]]],
    ids=["numbers", "words", "pairs"],
)
def test_rare_targets_that_the_items_change_are_read(labels):
    labels, codes = np.asarray(labels), np.zeros(300, dtype=int)
    codes[5:20], codes[30:40] = 1, 2

    class Merged(Images):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x, labels[1] if np.array_equal(y, labels[2]) else y

    data = Merged(X, labels[codes])
    np.testing.assert_array_equal(DatasetRows(data).y, labels[np.minimum(codes, 1)])


def test_stated_targets_that_cannot_be_compared_are_read():
    data = Items(X, Y)
    for stated in ([{"box": 1}] * 300, [[1], [1, 2]] * 150, [None, "a", 1] * 100):
        data.targets = stated
        np.testing.assert_array_equal(DatasetRows(data).y, Y)


@pytest.mark.parametrize("kind", ["given", "stated", "below a Subset", "read"])
def test_targets_cannot_be_written_into(kind):
    labels, weights = torch.from_numpy(Y.copy()), W.copy()
    data = Items(X, Y)
    if kind in {"stated", "below a Subset"}:
        data.targets = labels
    part = Subset(data, range(300)) if kind == "below a Subset" else data
    rows = DatasetRows(part, labels if kind == "given" else None, weights)
    for held in (rows, rows[:10]):
        for values in (held.y, held.sample_weight):
            with pytest.raises(ValueError, match="read-only"):
                values[:] = 7
    y_train = train_test_split(rows, rows.y, random_state=0)[2]
    y_train[:] = 7
    y = rows.y
    labels[:], weights[:] = 7, 7
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(rows.y, Y)
    np.testing.assert_array_equal(rows.sample_weight, W)


@pytest.mark.filterwarnings("error")
def test_targets_of_rows_are_taken_by_classifier_and_regressor():
    rows, values = DatasetRows(Items(X, Y)), DatasetRows(Items(X, X[:, 0]), None, W + 1)
    small().fit(rows, rows.y, np.ones(300)).partial_fit(rows, rows.y)
    regressor().fit(values, values.y, values.sample_weight).partial_fit(values, values.y)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: DatasetRows(iter([])), TypeError, "map-style Dataset.*got a list_iterator"),
        (lambda: DatasetRows(Stream()), TypeError, "got a Stream"),
        (lambda: DatasetRows(Items(X, Y), Y[1:]), ValueError, r"y has the shape \(299,\).* 300"),
        (lambda: DatasetRows(Items(X, Y), Y, W[1:]), ValueError, "sample_weight has the shape"),
        (lambda: DatasetRows(Items(X)).y, ValueError, r"tuple of 1.*DatasetRows\(dataset, y\)"),
        (lambda: DatasetRows(Items(X[:0], Y[:0])).y, ValueError, "empty"),
    ],
    ids=["iterator", "stream", "y", "weights", "features alone", "empty"],
)
def test_what_cannot_be_rows(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("second", [X, torch.from_numpy(X), X[:, :1]], ids=["array", "tensor", "1"])
@pytest.mark.parametrize("use", ["fit", "own", "partial_fit", "ensemble", "X_val"])
def test_a_second_input_is_no_target(second, use):
    data = Items(X, second)
    rows = DatasetRows(data, Y)
    beside = DatasetRows(data)
    ensemble = NetEnsembleClassifier(small(), n_estimators=2)
    calls = {
        "own": lambda: small().fit(rows),
        "fit": lambda: small().fit(beside, Y),
        "partial_fit": lambda: small(max_epochs=1).partial_fit(beside, Y, classes=[0, 1]),
        "ensemble": lambda: ensemble.fit(rows, Y),
        "X_val": lambda: small().fit(DatasetRows(Items(X, Y)), X_val=rows),
    }
    with pytest.raises(ValueError, match=r"second entry .* shape \(\d,\).* shape \(\).*collate_fn"):
        calls[use]()


def test_a_second_entry_of_the_form_of_a_target_is_replaced():
    pairs = np.stack([Y, 1 - Y], axis=1)
    for labels, y in ((Y, 1 - Y), (pairs, 1 - pairs), (["a"] * 300, Y), (torch.from_numpy(Y), Y)):
        assert_same(small().fit(DatasetRows(Items(X, labels), y)), small().fit(X, y))
    column = DatasetRows(Items(X, torch.from_numpy(Y + 1)[:, None]))[20:]
    assert column.y.shape == (280, 1)
    assert_same(small().fit(column, column.y.ravel()), small().fit(X[20:], Y[20:] + 1))
    TunedDecisionClassifierCV(small(), cv=2).fit(column, column.y.ravel())
    values = X[:, 0]
    rows = DatasetRows(Items(X, values.tolist()), 2 * values)
    assert_same(regressor().fit(rows), regressor().fit(X, 2 * values))

    def both(items):
        return np.stack([np.concatenate(item) for item in items])

    two = DatasetRows(Items(X, X), Y)
    assert_same(small(collate_fn=both).fit(two), small().fit(np.hstack([X, X]), Y))


def test_items_of_another_shape_are_found_without_a_pass():
    class Uneven(Items):
        def __getitem__(self, i):
            return (X[i], Y[i]) if i < 200 else (X[i, :3], Y[i])

    rows = DatasetRows(Uneven(X, Y), Y)
    clf = small(features=None, sampler=None, batch_size=4)
    with pytest.raises(ValueError, match="same shape"):
        clf.fit(rows)
    clf.fit(rows[:200])
    with pytest.raises(ValueError, match=r"rows of shape \(3,\)|same shape"):
        clf.predict(rows[200:])
    with pytest.raises(ValueError, match="same shape"):
        clf.predict(rows[100:])


# -- the same nets as from arrays ------------------------------------------------------------------


def test_targets_and_weights_of_the_rows_count_unless_others_are_given():
    rows = DatasetRows(Items(X, Y, W))
    assert_same(small().fit(rows), small().fit(X, Y, W))
    assert_same(small().fit(rows, 1 - Y), small().fit(X, 1 - Y, W))
    assert_same(small().fit(rows, Y, np.ones(300)), small().fit(X, Y, np.ones(300)))
    given = DatasetRows(Items(X, Y), 1 - Y, W)
    assert_same(small().fit(given[50:]), small().fit(X[50:], 1 - Y[50:], W[50:]))
    assert_same(
        NetEnsembleClassifier(small(), n_estimators=2, random_state=0)
        .fit(rows, rows.y)
        .estimators_[1],
        NetEnsembleClassifier(small(), n_estimators=2, random_state=0).fit(X, Y, W).estimators_[1],
    )


def test_features_are_never_in_memory_together():
    class Watched(Items):
        largest = 0

        def __getitems__(self, positions):
            Watched.largest = max(Watched.largest, len(positions))
            return [self[i] for i in positions]

    images = np.random.default_rng(0).normal(size=(300, 3000)).astype(np.float32)
    rows = DatasetRows(Watched(images, Y), Y)
    clf = small(features=None, batch_size=32, early_stopping=True)
    search = GridSearchCV(clf, {"lr": [0.01]}, cv=2).fit(rows, rows.y)
    search.predict_proba(rows)
    assert Watched.largest <= 8 * 2**20 // images[0].nbytes + 1 < 900


def test_searches_and_splitters():
    rows = DatasetRows(Items(X, Y))
    train, test, y_train, y_test = train_test_split(rows, rows.y, stratify=rows.y, random_state=0)
    X_train, X_test, *_ = train_test_split(X, Y, stratify=Y, random_state=0)
    assert isinstance(train, DatasetRows)
    for kind in (GridSearchCV, StackedGridSearchCV):
        search = kind(small(), {"lr": [0.01, 0.1]}, cv=2, error_score="raise")
        found = search.fit(train, y_train).predict_proba(test)
        score = search.score(test, y_test)
        expected = search.fit(X_train, y_train).predict_proba(X_test)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert score == search.score(X_test, y_test)


def regressor():
    return ImbalancedNetRegressor("mlp", max_epochs=2, random_state=0)


def portfolio():
    recipe = {"module": "mlp", "features__numeric_embedding": None}
    return NetPortfolioClassifier(recipes={"a": recipe}, random_state=0)


DIVIDING = {
    "score": lambda x: cross_val_score(small(), x, Y, cv=3, scoring="average_precision"),
    "predict": lambda x: cross_val_predict(small(), x, Y, cv=3, method="predict_proba"),
    "learning curve": lambda x: learning_curve(small(), x, Y, cv=2, train_sizes=[0.5, 1.0])[2],
    "decisions": lambda x: TunedDecisionClassifierCV(small(), cv=2).fit(x, Y).predict(x),
    "cross_fit": lambda x: cross_fit(small(), x, Y, cv=2).oof_predict_proba_,
    "cross_fit of values": lambda x: cross_fit(regressor(), x, X[:, 0], cv=2).oof_predict_,
    "embed": lambda x: embed(small().fit(x, Y), x),
    "head": lambda x: finetune_head(small().fit(x, Y), x, Y).predict_proba(x),
}
SLOW = {
    "processes": lambda x: cross_val_score(small(), x, Y, cv=2, n_jobs=2),
    "length": lambda x: small(max_epochs="auto").fit(x, Y).predict_proba(x),
    "portfolio": lambda x: portfolio().fit(x, Y).predict_proba(x),
    "ensemble of values": lambda x: (
        NetEnsembleRegressor(regressor(), n_estimators=2, random_state=0).fit(x, X[:, 0]).predict(x)
    ),
}


@pytest.mark.parametrize(
    "use",
    [*DIVIDING.values(), *(pytest.param(use, marks=pytest.mark.slow) for use in SLOW.values())],
    ids=[*DIVIDING, *SLOW],
)
def test_what_divides_rows(use):
    np.testing.assert_allclose(use(DatasetRows(Items(X, Y))), use(X), atol=1e-5)


def test_validation_rows_and_chunks():
    data, val = Items(X[:200], Y[:200], W[:200]), Items(X[200:], Y[200:], W[200:])
    for train, valid in ((data, val), (DatasetRows(data), DatasetRows(val))):
        clf = small(early_stopping=True).fit(train, X_val=valid)
        plain = small(early_stopping=True)
        plain.fit(
            X[:200], Y[:200], W[:200], X_val=X[200:], y_val=Y[200:], sample_weight_val=W[200:]
        )
        assert_same(clf, plain)
        np.testing.assert_allclose(clf.history_[:, "valid_score"], plain.history_[:, "valid_score"])
    with pytest.raises(ValueError, match="X_val a ndarray; give two Datasets"):
        small().fit(data, X_val=X, y_val=Y)
    with pytest.raises(ValueError, match=r"DatasetRows\(X_val\)"):
        small().fit(data, X_val=val, y_val=Y[200:])
    chunks, plain = small(max_epochs=1), small(max_epochs=1)
    chunks.partial_fit(data, classes=[0, 1]).partial_fit(DatasetRows(val))
    plain.partial_fit(X[:200], Y[:200], [0, 1], W[:200]).partial_fit(
        X[200:], Y[200:], None, W[200:]
    )
    assert_same(chunks, plain)
    reg = ImbalancedNetRegressor("mlp", random_state=0).partial_fit(Items(X, X[:, 0]))
    assert_same(reg, ImbalancedNetRegressor("mlp", random_state=0).partial_fit(X, X[:, 0]))


class Loans(Dataset):
    """Items that only a function of the user can take apart."""

    def __init__(self, start=0, stop=300):
        self.rows, self.reads = range(start, stop), []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        self.reads.append(int(i))
        i = self.rows[i]
        return {"x": X[i], "label": Y[i], "weight": W[i], "id": i}


class Numbered(Loans):
    """Items ``(features, label, identifier)``."""

    def __getitem__(self, i):
        item = super().__getitem__(i)
        return item["x"], item["label"], item["id"]


def weighted(items):
    return tuple(np.stack([item[key] for item in items]) for key in ("x", "label", "weight"))


def unweighted(items):
    return weighted(items)[:2]


def without_identifier(items):
    return np.stack([item[0] for item in items]), np.array([1 - item[1] for item in items])


COLLATED = {
    "weights": (Loans, weighted, Y, W),
    "no weights": (Loans, unweighted, Y, None),
    "other labels, identifiers": (Numbered, without_identifier, 1 - Y, None),
}


@pytest.mark.parametrize("name", COLLATED)
def test_a_collate_fn_makes_targets_and_weights_of_validation_rows(name):
    kind, collate_fn, y, w = COLLATED[name]
    clf = small(collate_fn=collate_fn, early_stopping=True)
    clf.fit(kind(0, 200), X_val=kind(200, 300))
    plain, weights = small(early_stopping=True), {}
    if w is not None:
        weights = {"sample_weight": w[:200], "sample_weight_val": w[200:]}
    plain.fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:], **weights)
    assert_same(clf, plain)
    np.testing.assert_allclose(clf.history_[:, "valid_score"], plain.history_[:, "valid_score"])
    np.testing.assert_allclose(clf.class_prior_, plain.class_prior_)


def nets(**params):
    return NetEnsembleClassifier(small(**params), n_estimators=2, random_state=0)


USES = {
    "net": small,
    "ensemble": nets,
    "decisions": lambda **params: TunedDecisionClassifierCV(small(**params), cv=2),
    "decisions of an ensemble": lambda **params: TunedDecisionClassifierCV(nets(**params), cv=2),
    "search": lambda **params: GridSearchCV(small(**params), {"lr": [0.1]}, cv=2),
    "stacked search": lambda **params: StackedGridSearchCV(small(**params), {"lr": [0.1]}, cv=2),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", COLLATED)
def test_a_collate_fn_makes_weights_of_rows(name, use):
    kind, collate_fn, y, w = COLLATED[name]
    rows = DatasetRows(kind(), y)
    found = USES[use](collate_fn=collate_fn).fit(rows, rows.y).predict_proba(X)
    weights = {} if w is None else {"sample_weight": w}
    np.testing.assert_allclose(found, USES[use]().fit(X, y, **weights).predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("name", COLLATED)
def test_a_collate_fn_makes_targets_of_rows_unless_they_are_given(name):
    kind, collate_fn, y, w = COLLATED[name]
    clf = small(collate_fn=collate_fn)
    assert_same(
        clf.fit(DatasetRows(kind())[50:]),
        small().fit(X[50:], y[50:], None if w is None else w[50:]),
    )
    given = DatasetRows(kind(), Y, W + 1)
    assert_same(clf.fit(given), small().fit(X, Y, W + 1))
    chunk, plain = small(max_epochs=1, collate_fn=collate_fn), small(max_epochs=1)
    chunk.partial_fit(DatasetRows(kind()), classes=[0, 1])
    assert_same(chunk, plain.partial_fit(X, y, [0, 1], w))


@pytest.mark.parametrize("name", COLLATED)
def test_a_pass_looks_only_for_weights_that_are_missing(name):
    kind, collate_fn, y, w = COLLATED[name]
    rows = DatasetRows(kind(), y, w)
    small(collate_fn=collate_fn, max_epochs=1, features=None).fit(rows, rows.y)
    assert len(rows.dataset.reads) < 310


def test_streams_have_no_validation_rows_beside_them():
    for X_val, name in ((Items(X, Y), "X is"), (Stream(), "X is|X_val is")):
        with pytest.raises(ValueError, match=f"({name}) an IterableDataset.*map-style"):
            small().fit(Stream(), X_val=X_val)


@pytest.mark.parametrize("sampler", ["RandomOverSampler", "RandomUnderSampler"])
@pytest.mark.parametrize("params", [{}, {"features": None}, {"early_stopping": True}], ids=str)
def test_samplers_that_draw_rows(sampler, params):
    import imblearn.over_sampling
    import imblearn.under_sampling

    over = getattr(imblearn.over_sampling, sampler, None)
    kind = over or getattr(imblearn.under_sampling, sampler)
    data = Items(X, Y, W)
    found = small(sampler=kind(), **params).fit(data)
    expected = small(sampler=kind(), **params).fit(X, Y, W)
    assert_same(found, expected)
    np.testing.assert_allclose(found.effective_prior_, expected.effective_prior_)


# -- the way out -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda data: cross_val_predict(small(), data, Y, cv=2),
        lambda data: GridSearchCV(small(), {"lr": [0.1]}, cv=2, error_score="raise").fit(data, Y),
        lambda data: TunedDecisionClassifierCV(small(), cv=2).fit(data, Y),
        lambda data: cross_fit(small(), data, Y, cv=2),
        lambda data: cross_fit(ImbalancedNetRegressor(), data, X[:, 0], cv=2),
        lambda data: NetEnsembleClassifier(small(), n_estimators=2).fit(data, Y),
        lambda data: NetPortfolioClassifier().fit(data, Y),
        lambda data: small().fit(data, Y),
    ],
    ids=["predict", "grid", "tuned", "cross_fit", "regressor", "ensemble", "portfolio", "fit"],
)
def test_errors_of_datasets_name_the_rows(use):
    with pytest.raises(ValueError, match=r"imbtorch\.DatasetRows\(dataset\)"):
        use(Items(X, Y))


def test_tables_are_compared_only():
    with pytest.raises(TypeError, match="no array"):
        compare_strategies(DatasetRows(Items(X, Y)), Y)


def test_tensors_as_items():
    rows = DatasetRows(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)))
    np.testing.assert_array_equal(rows.y, Y)
    clf = ImbalancedNetClassifier("mlp", max_epochs=1, random_state=0)
    np.testing.assert_array_equal(clf.fit(rows).predict(rows), clf.fit(X, Y).predict(X))
