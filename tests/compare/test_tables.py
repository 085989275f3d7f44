"""compare_strategies on tables with text and gaps: every strategy gets them as they come."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from imbtorch import ImbalancedNetClassifier, compare_strategies
from imbtorch.compare import default_strategies
from imbtorch.compare._boosting import CategoryCodes, boosting

pd = pytest.importorskip("pandas")

N = 240


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "amount": rng.lognormal(5, 1, N),
            "shop": rng.choice(["books", "games", "shoes"], N),
            "age": rng.integers(18, 80, N).astype(float),
        }
    )
    X.loc[::7, "age"] = np.nan
    X.loc[::11, "shop"] = None
    y = np.where((X["shop"] == "games") & (X["amount"] > 200), "fraud", "genuine")
    return X, y


@pytest.mark.slow
def test_every_default_strategy_takes_text_and_gaps(table):
    found = compare_strategies(*table, cv=2, max_epochs=2, random_state=0)
    assert found.table["status"].eq("ok").all(), found.table["status"]


def test_nets_get_the_table_itself(table):
    X, y = table
    strategies = ["cross-entropy", "SMOTE"]
    found = compare_strategies(X, y, strategies=strategies, cv=2, max_epochs=2, random_state=0)
    as_categories = X.astype({"shop": "category"})
    other = compare_strategies(
        as_categories, y, strategies=strategies, cv=2, max_epochs=2, random_state=0
    )
    assert found.table.drop(columns="seconds").equals(other.table.drop(columns="seconds"))
    net = default_strategies(y, X=X, max_epochs=2, random_state=0)["cross-entropy"].fit(X, y)
    assert net[-1].features_.get_feature_names_out().tolist() == [
        "amount", "age", "age_missing", "shop_books", "shop_games", "shop_shoes", "shop_missing",
    ]  # fmt: skip


@pytest.mark.parametrize("n_trees", ["auto", 20])
def test_gradient_boosting_gets_categories_and_gaps_as_they_are(table, n_trees):
    X, y = table
    model = boosting(None, 0, n_trees=n_trees).fit(X, y)
    encoded = model[0].transform(X)
    assert encoded["x1"].dtype == "category"
    assert encoded["x2"].isna().tolist() == X["age"].isna().tolist()
    assert encoded["x0"].tolist() == X["amount"].tolist()
    trees = model[-1].model_ if n_trees == "auto" else model[-1]
    assert trees.is_categorical_.tolist() == [False, True, False]
    by_hand = HistGradientBoostingClassifier(
        categorical_features=[1], max_iter=trees.n_iter_, random_state=0
    )
    codes = X.assign(shop=X["shop"].fillna("~").factorize(sort=True)[0])
    expected = by_hand.fit(codes.to_numpy(), y).predict_proba(codes.to_numpy())
    np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_gradient_boosting_takes_unknown_and_very_many_categories():
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(400)])
    X = pd.DataFrame({"word": np.r_[words, rng.choice(words, 1600)], "x": rng.normal(size=2000)})
    y = rng.integers(0, 2, 2000)
    model = boosting(None, 0).fit(X, y)
    assert model[0].transform(X)["x0"].nunique() <= 255
    new = pd.DataFrame({"word": ["never seen", None], "x": [0.0, np.nan]})
    assert np.isfinite(model.predict_proba(new)).all()


def test_codes_of_numbers_are_these_numbers():
    X = np.array([[1.0, np.nan], [2.0, 3.0], [3.0, 4.0]])
    np.testing.assert_array_equal(CategoryCodes().fit(X).transform(X).to_numpy(), X)


@pytest.mark.parametrize(
    ("columns", "sampler"),
    [(["amount", "age"], SMOTE), (["amount", "shop"], SMOTENC), (["shop"], SMOTEN)],
)
def test_smote_knows_which_columns_are_categories(table, columns, sampler):
    X, y = table
    strategies = default_strategies(y, X=X[columns], max_epochs=1, random_state=0)
    assert type(strategies["SMOTE"][-1].sampler) is sampler
    assert np.isfinite(strategies["SMOTE"].fit(X[columns], y).predict_proba(X[columns])).all()


def test_preprocessing_of_ones_own_comes_first(table):
    X, y = table
    numbers = X[["amount", "age"]]
    found = compare_strategies(
        numbers, y, strategies=["cross", "gradient boosting"], cv=2, max_epochs=1, random_state=0,
        preprocessing=StandardScaler(),
    )  # fmt: skip
    assert found.table["status"].eq("ok").all()


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (lambda n: pd.date_range("2026-01-01", periods=n), "dates"),
        (lambda n: [f"customer {i}" for i in range(n)], "nearly all different"),
    ],
)
def test_columns_that_no_strategy_can_read_are_an_error_at_once(table, column, words):
    X, y = table
    with pytest.raises(ValueError, match=words) as caught:
        compare_strategies(X.assign(when=column(N)), y, cv=2, max_epochs=1)
    assert "when" in str(caught.value)


def compared(X, y, **options):
    return compare_strategies(
        X, y, strategies=["cross"], cv=2, max_epochs=1, module="mlp", random_state=0, **options
    )


def test_an_index_and_identifiers_in_a_frame_are_left_out(table):
    X, y = table
    others = {"Unnamed: 0": range(N), "customer": [f"c{i}" for i in range(N)]}
    with pytest.warns(UserWarning, match="check_columns=False") as caught:
        found = compared(X.assign(**others), y)
    assert "'Unnamed: 0' is left out" in found.notes[0]
    assert "'customer' is left out" in found.notes[1]
    assert "--" not in str(caught[0].message)
    without = compared(X, y)
    assert without.notes == []
    assert found.folds.drop(columns="seconds").equals(without.folds.drop(columns="seconds"))


def test_numbers_in_text_in_a_frame_become_numbers(table):
    X, y = table
    words = X["amount"].map(str).where(np.arange(N) != 3, "?")
    with pytest.warns(UserWarning, match="'amount' holds numbers"):
        found = compared(X.assign(amount=words), y)
    numbers = X["amount"].where(np.arange(N) != 3)
    expected = compared(X.assign(amount=numbers), y)
    assert found.folds.drop(columns="seconds").equals(expected.folds.drop(columns="seconds"))


def test_a_frame_can_be_taken_as_it_is(table):
    X, y = table
    found = compared(X.assign(row=range(N)), y, check_columns=False)
    assert found.notes == []


def test_numbers_and_words_in_a_frame_are_an_error_for_python(table):
    X, y = table
    words = ["high", *map(str, range(N - 1))]
    with pytest.raises(ValueError, match="astype") as caught:
        compared(X.assign(mixed=words), y)
    assert "--" not in str(caught.value)
    twice = pd.concat([X, X[["age"]]], axis=1)
    with pytest.raises(ValueError, match="same name: 'age'"):
        compared(twice, y)


def test_own_strategies_get_the_table_unchecked(table):
    X, y = table
    net = ImbalancedNetClassifier(max_epochs=1, random_state=0)
    found = compare_strategies(X, y, strategies={"net": net}, cv=2)
    assert found.table["status"].tolist() == ["ok"]


@pytest.mark.parametrize("cv", [3, GroupKFold(3)])
def test_groups_are_kept_together(cv):
    X, y = make_classification(300, weights=[0.8], random_state=0)
    seen = []

    class Spy(LogisticRegression):
        def fit(self, X, y):
            seen.append(set(X[:, 0].tolist()))
            return super().fit(X, y)

    groups = np.arange(300) // 10
    X[:, 0] = groups
    compare_strategies(X, y, strategies={"spy": Spy()}, cv=cv, groups=groups, random_state=0)
    assert [len(train) for train in seen] == [20, 20, 20]
