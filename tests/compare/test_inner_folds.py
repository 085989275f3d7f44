"""What is found out inside of a fold keeps groups together, and the order of time."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier, compare_strategies
from imbtorch._fit import length as length_file
from imbtorch.compare import _strategies, _trees, default_strategies
from imbtorch.compare._inner_folds import (
    CompleteFolds,
    KnownGroups,
    inner_folds,
    lost_groups,
    with_groups,
)

pytest.importorskip("pandas")

N = 240
X, y = make_classification(N, n_features=6, weights=[0.75], random_state=0)
GROUPS = np.random.default_rng(0).permutation(N) // 6
NUMBERED = np.column_stack([np.arange(N), X])


@pytest.fixture(autouse=True)
def short_searches(monkeypatch):
    """End every search after a few epochs or trees; the tests look at its folds."""
    monkeypatch.setattr(length_file, "_MOST_EPOCHS", 2)
    monkeypatch.setattr(length_file, "_MOST_STEPS", 1)
    monkeypatch.setattr(_strategies, "_STEPS", 1)
    monkeypatch.setattr(_strategies, "_EPOCHS", 2)
    monkeypatch.setattr(_trees, "_FIRST", 2)
    monkeypatch.setattr(_trees, "_MOST", 2)


@pytest.fixture
def inner_splits(monkeypatch):
    """Remember each inner split, as positions in the whole table."""
    seen = []
    split = CompleteFolds.split

    def spy(folds, X, y=None, groups=None):
        for train, test in split(folds, X, y, groups):
            seen.append((len(X), train, test))
            yield train, test

    monkeypatch.setattr(CompleteFolds, "split", spy)
    return seen


DEFAULTS = [
    "cross-entropy",
    pytest.param("focal", marks=pytest.mark.slow),
    "SMOTE",
    "under-sampling",
    "balanced ensemble",
    "gradient boosting",
]


@pytest.mark.parametrize("name", DEFAULTS)
def test_inner_folds_of_every_strategy_keep_groups_together(name, inner_splits):
    folds = [(np.arange(N - 60), np.arange(N - 60, N)), (np.arange(90, N), np.arange(90))]
    groups = np.arange(N) // 6  # sorted, so that the inner folds would not be in order by chance
    found = compare_strategies(X, y, strategies=[name], cv=folds, groups=groups, random_state=0)
    assert found.table["status"].tolist() == ["ok"]
    of_size = {len(train): groups[train] for train, _ in folds}
    assert {size for size, *_ in inner_splits} == set(of_size)
    for size, train, test in inner_splits:
        assert not np.intersect1d(of_size[size][train], of_size[size][test]).size
        assert len(train) + len(test) == size  # nothing was purged


@pytest.mark.parametrize("name", DEFAULTS)
def test_no_inner_fold_trains_on_rows_later_than_its_test_rows(name, inner_splits):
    cv = TimeSeriesSplit(2, gap=3)
    found = compare_strategies(X, y, strategies=[name], cv=cv, random_state=0)
    assert found.table["status"].tolist() == ["ok"]
    assert {size for size, *_ in inner_splits} == {len(train) for train, _ in cv.split(X)}
    for _, train, test in inner_splits:
        assert train.max() + 3 < test.min()  # the gap of the outer folds, too


class Witness(LogisticRegression):
    """Remembers which rows its fits got; the first column holds their numbers."""

    seen = []  # noqa: RUF012

    def fit(self, X, y):
        self.seen.append(X[:, 0].astype(int))
        return super().fit(X, y)


@pytest.mark.parametrize(
    "build",
    [
        lambda cv: GridSearchCV(Witness(), {"C": [1.0]}, cv=cv),
        lambda cv: CalibratedClassifierCV(Witness(), cv=cv),
    ],
    ids=["search", "calibration"],
)
def test_splitters_of_own_strategies_get_the_groups_of_their_rows(build):
    Witness.seen.clear()
    folds = list(GroupKFold(2).split(X, y, GROUPS))
    found = compare_strategies(
        NUMBERED, y, strategies={"own": build(GroupKFold(3))}, cv=folds, groups=GROUPS
    )
    assert found.table["status"].tolist() == ["ok"]
    parts = [rows for rows in Witness.seen if len(rows) < 0.4 * N]
    assert len(parts) == 6
    for rows in parts:  # two thirds of the groups of a fold, each of them whole
        whole = np.isin(GROUPS, GROUPS[rows])
        assert len(rows) == whole.sum()


def test_own_nets_of_found_length_keep_groups_together():
    net = ImbalancedNetClassifier(max_epochs="auto", validation=GroupKFold(3), random_state=0)
    ensemble = NetEnsembleClassifier(
        ImbalancedNetClassifier(max_epochs=2), cv=GroupKFold(3), subset="folds", random_state=0
    )
    strategies = {"net": net, "ensemble": ensemble}
    found = compare_strategies(X, y, strategies=strategies, cv=GroupKFold(2), groups=GROUPS)
    assert found.table["status"].tolist() == ["ok", "ok"]
    by_hand = with_groups(net, GROUPS).fit(X, y)
    with_metadata = net.fit(X, y, groups=GROUPS)
    assert by_hand.n_epochs_ == with_metadata.n_epochs_
    np.testing.assert_array_equal(by_hand.predict_proba(X), with_metadata.predict_proba(X))


def test_numbers_of_folds_that_lose_groups_are_named():
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=3)
    with pytest.warns(UserWarning, match=r"cv=3 of GridSearchCV .* GroupKFold"):
        compare_strategies(X, y, strategies={"own": search}, cv=GroupKFold(2), groups=GROUPS)
    assert lost_groups(GridSearchCV(LogisticRegression(), {})) == ["cv=None"]
    assert lost_groups(NetEnsembleClassifier()) == []
    assert all(
        lost_groups(one) == [] for one in default_strategies(y, inner_cv=GroupKFold(3)).values()
    )


def test_groups_of_other_rows_are_an_error():
    known = KnownGroups(GroupKFold(2), GROUPS)
    with pytest.raises(ValueError, match="gets 100 rows, but the groups of 240"):
        list(known.split(X[:100], y[:100]))
    nested = CalibratedClassifierCV(
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=GroupKFold(2)), cv=GroupKFold(2)
    )
    found = compare_strategies(X, y, strategies={"own": nested}, cv=GroupKFold(2), groups=GROUPS)
    assert "Use one splitter in a strategy" in found.table["status"].iloc[0]


def test_the_rule_of_the_inner_folds():
    assert inner_folds(list(StratifiedKFold(3).split(X, y)), None, 0) is None
    assert inner_folds(list(KFold(3).split(X)), None, 0) is None
    in_time = inner_folds(list(TimeSeriesSplit(3, gap=7).split(X)), None, 0)
    assert in_time.splitter.gap == 7
    by_hand = [(np.arange(100), np.arange(100, 150)), (np.arange(150), np.arange(150, 240))]
    assert isinstance(inner_folds(by_hand, None, 0).splitter, TimeSeriesSplit)
    assert "StratifiedGroupKFold" in repr(inner_folds(list(KFold(3).split(X)), GROUPS, 0))


def test_only_complete_folds_count():
    labels = np.zeros(80, int)
    labels[[30, 50, 70]] = 1  # the first quarter has none
    folds = CompleteFolds(TimeSeriesSplit(3))
    assert [len(train) for train, _ in folds.split(labels, labels)] == [40, 60]
    assert folds.get_n_splits(labels, labels) == 2
    apart = list(folds.split(labels, labels, np.arange(80) // 8))
    assert [len(train) for train, _ in apart] == [40, 56]  # rows of the group that goes on
    with pytest.raises(ValueError, match="Give max_epochs=number"):
        list(folds.split(labels, np.arange(80) == 79))


def test_a_strategy_without_complete_inner_folds_says_so():
    rare = np.zeros(N, int)
    rare[[110, 200]] = 1
    found = compare_strategies(
        X, rare, strategies=["cross-entropy"], cv=[(np.arange(120), np.arange(120, N))]
    )
    assert "no inner fold" in found.table["status"].iloc[0]
    stated = compare_strategies(
        X,
        rare,
        strategies=["cross-entropy"],
        cv=[(np.arange(120), np.arange(120, N))],
        max_epochs=1,
    )
    assert stated.table["status"].tolist() == ["ok"]
