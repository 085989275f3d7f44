"""compare_strategies: nested, without leaks, and robust to what fails."""

import sys

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from imbtorch import ImbalancedNetClassifier, compare_strategies
from imbtorch.compare import default_strategies
from imbtorch.compare._compare import pick
from imbtorch.compare._metrics import METRICS
from imbtorch.compare._words import recommend

X, y = make_classification(240, weights=[0.85], class_sep=1.5, random_state=0)
CV = StratifiedKFold(2, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def comparison():
    return compare_strategies(X, y, cv=3, max_epochs=2, random_state=0)


@pytest.mark.slow
def test_every_default_strategy_has_its_numbers(comparison):
    table = comparison.table
    assert list(table.index) == list(default_strategies(y))
    assert (table["status"] == "ok").all()
    boosting = table.index.str.startswith("gradient")
    for name in METRICS:
        lacking = table[name].isna()
        assert (lacking == boosting).all() if name.endswith("train_prior") else not lacking.any()
    assert table["p_value"].isna().tolist() == [True] + [False] * 9
    assert (table["epochs"].isna() == boosting).all()  # its trees are a number here
    assert not comparison.interrupted


def test_means_and_errors_are_those_of_the_folds(comparison):
    folds = comparison.folds[comparison.folds["strategy"] == "SMOTE"]["roc_auc"]
    row = comparison.table.loc["SMOTE"]
    assert row["roc_auc"] == pytest.approx(folds.mean())
    assert row["roc_auc_se"] == pytest.approx(folds.std(ddof=1) / np.sqrt(3))


def test_gamma_is_chosen_in_each_fold(comparison):
    folds = comparison.folds.set_index("strategy").loc["focal, gamma searched"]
    assert all(set(chosen) == {"gamma"} for chosen in folds["chosen"])


def test_printed_table_and_recommendation(comparison):
    text = str(comparison)
    assert "240 rows, 2 classes" in text
    assert all(name in text for name in comparison.table.index)
    assert comparison.recommendation.split()[0] in text


def test_the_same_seed_gives_the_same_numbers():
    runs = [
        compare_strategies(X, y, strategies=["SMOTE"], cv=2, max_epochs=1, random_state=3)
        for _ in range(2)
    ]
    first, second = (run.table.drop(columns=["seconds"]) for run in runs)
    assert first.equals(second)


def test_folds_trained_together_are_those_of_scikit_learn():
    net = ImbalancedNetClassifier(max_epochs=2, dtype="float64", random_state=0)
    found = compare_strategies(X, y, strategies={"net": net}, cv=CV, scoring="roc_auc")
    expected = cross_val_score(net, X, y, cv=CV, scoring="roc_auc")
    np.testing.assert_allclose(found.folds["roc_auc"], expected, atol=1e-8)


class Witness(TransformerMixin, BaseEstimator):
    """Remembers which rows it was fitted to; the first column holds their numbers."""

    seen: list[set[int]] = []  # noqa: RUF012

    def fit(self, X, y=None):
        self.seen.append(set(X[:, 0].astype(int).tolist()))
        return self

    def transform(self, X):
        return X[:, 1:]

    def __sklearn_is_fitted__(self):
        return True


def test_nothing_is_fitted_to_test_rows():
    Witness.seen.clear()
    numbered = np.column_stack([np.arange(len(y)), X])
    folds = list(CV.split(X, y))
    compare_strategies(
        numbered, y, strategies=["cross-entropy", "focal", "smote"], cv=folds, max_epochs=1,
        preprocessing=Witness(), random_state=0,
    )  # fmt: skip
    tests = [set(test.tolist()) for _, test in folds]
    assert len(Witness.seen) >= 2 * 3
    for rows in Witness.seen:
        assert any(not rows & test for test in tests)
    # inner searches leave out a third of the training rows
    assert min(map(len, Witness.seen)) < 0.4 * len(y)


class Broken(LogisticRegression):
    """Fails as it is told to."""

    def __init__(self, error=ValueError("the reason\nand more")):  # noqa: B008
        super().__init__()
        self.error = error

    def fit(self, X, y):
        raise self.error


def test_a_strategy_that_fails_does_not_stop_the_others():
    found = compare_strategies(
        X, y, strategies={"a": LogisticRegression(), "b": Broken(), "c": DummyClassifier()}, cv=2
    )
    assert found.table["status"].tolist() == ["ok", "failed: the reason", "ok"]
    assert "failed: the reason" in str(found)
    assert np.isnan(found.table.loc["b", "roc_auc"])


def test_a_failed_reference_leaves_no_recommendation():
    found = compare_strategies(X, y, strategies={"a": Broken(), "b": LogisticRegression()}, cv=2)
    assert found.recommendation.startswith("No recommendation")
    assert str(found)


def test_ctrl_c_keeps_what_is_finished():
    strategies = {
        "a": LogisticRegression(),
        "b": Broken(KeyboardInterrupt()),
        "c": LogisticRegression(),
    }
    with pytest.warns(UserWarning, match="1 of 3 strategies"):
        found = compare_strategies(X, y, strategies=strategies, cv=2)
    assert found.interrupted
    assert found.table["status"].tolist() == ["ok", "not run", "not run"]
    assert "Interrupted" in str(found)
    with pytest.raises(KeyboardInterrupt):
        compare_strategies(X, y, strategies={"b": Broken(KeyboardInterrupt())}, cv=2)


def test_several_classes_with_names_and_a_scorer_of_scikit_learn():
    pytest.importorskip("pandas")
    X3, y3 = make_classification(
        240, n_informative=4, n_classes=3, weights=[0.6, 0.3], class_sep=2, random_state=0
    )
    names = np.array(["many", "medium", "few"])[y3]
    found = compare_strategies(
        X3, names, strategies=["cross-entropy", "focal"], cv=2, scoring="f1_macro", max_epochs=2,
        random_state=0,
    )  # fmt: skip
    assert (found.table["status"] == "ok").all()
    assert found.table["f1_macro"].between(0, 1).all()
    assert "f1_macro" in found.recommendation
    assert "of class few" in found.data


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": np.zeros(240)}, "one class"),
        ({"y": np.where(np.arange(240) < 3, "odd", "even")}, "'odd' has 3 rows, fewer than the 5"),
        ({"y": np.arange(240) / 7}, "continuous"),
        ({"y": y[:10]}, "inconsistent"),
        ({"cv": [(np.flatnonzero(y == 0)[:9], np.arange(9, 99))]}, "no training row of class 1"),
        ({"cv": [([0, 1, 2], [3, 4])]}, "fold 0 has no"),
        ({"strategies": ["nothing like it"]}, "is not a strategy"),
        ({"strategies": ["balanced"]}, "several strategies"),
        ({"strategies": {}}, "empty"),
        ({"reference": "other"}, "not one of the strategies"),
        ({"scoring": "no_such_score"}, "no_such_score"),
        ({"max_epochs": 0}, "whole number >= 1, or 'auto'"),
        ({"max_epochs": "long"}, "got 'long'"),
        ({"cv": []}, "cv holds no splits"),
        ({"groups": np.arange(9)}, "groups has 9 values, but y has 240 rows"),
        ({"sample_weight": np.ones(1_234)}, "sample_weight has 1,234 values, but y has 240 rows"),
    ],
)
def test_bad_input_is_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare_strategies(**{"X": X, "y": y, **arguments})


@pytest.mark.parametrize("argument", ["groups", "sample_weight"])
def test_lengths_are_compared_before_anything_is_trained(argument):
    untouched = {"a": Broken(AssertionError("this strategy was fitted"))}
    with pytest.raises(ValueError, match=f"{argument} has 239 values, but y has 240 rows"):
        compare_strategies(X, y, strategies=untouched, **{argument: np.ones(239)})


def test_default_strategies_compare_the_length_of_groups():
    with pytest.raises(ValueError, match="groups has 3 values, but y has 240 rows"):
        default_strategies(y, groups=[1, 2, 3])


def test_missing_pandas_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"imbtorch\[compare\]"):
        compare_strategies(X, y)


def test_names_may_be_abbreviated():
    among = {"gradient boosting": 1, "gradient boosting, balanced": 2, "SMOTE": 3}
    assert pick(among, ["gradient boosting", "smo"]) == {"gradient boosting": 1, "SMOTE": 3}


def test_threads_are_as_before_afterwards():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        compare_strategies(X, y, strategies=["under"], cv=2, max_epochs=1, random_state=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_budgets_are_equal_in_steps():
    labels = np.repeat([0, 1], [9_000, 1_000])
    strategies = default_strategies(labels, max_epochs=20, random_state=0)
    nets = {name: s[-1] for name, s in strategies.items() if not name.startswith(("foc", "grad"))}
    rows = {"SMOTE": 18_000, "under-sampling": 2_000, "balanced ensemble": 2_000}
    for name, net in nets.items():
        net = getattr(net, "estimator", net)
        assert net.batch_size == 64
        assert net.max_epochs * rows.get(name, 10_000) == pytest.approx(200_000, rel=0.1), name


def stub(gain, p_value):
    import pandas as pd

    rows = {
        "plain": dict.fromkeys(METRICS, 0.5),
        "remedy": {**dict.fromkeys(METRICS, 0.5), "average_precision": 0.5 + gain},
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["difference"], table["difference_se"] = [np.nan, gain], [np.nan, 0.01]
    table["difference_low"], table["difference_high"] = [np.nan, gain - 0.2], [np.nan, gain + 0.2]
    table["p_value"], table["status"] = [np.nan, p_value], "ok"
    return table


@pytest.mark.parametrize(
    ("gain", "p_value", "words"),
    [
        (0.3, 0.01, "Remedy is better than plain in average precision: +0.300 (95% interval +0.100 "
         "to +0.500; p = 0.010)."),
        (0.1, 0.20, "It remains open whether a strategy is better than plain in average precision. "
         "The largest mean difference is that of remedy: +0.100 (95% interval -0.100 to +0.300; "
         "p = 0.200). The interval includes 0, and differences in both directions."),
        (0.3, 0.20, "It remains open whether a strategy is better than plain in average precision. "
         "The largest mean difference is that of remedy: +0.300 (95% interval +0.100 to +0.500; "
         "p = 0.200). The interval does not include 0, but"),
        (-0.3, 0.01, "No strategy has a better mean than plain in average precision. Worse than "
         "plain, with an adjusted p below 0.05: remedy."),
        (-0.1, 1.0, "No strategy has a better mean than plain in average precision. Decisions"),
        (0.1, np.nan, "It remains open whether a strategy is better than plain"),
    ],
)  # fmt: skip
def test_recommendation_says_what_the_numbers_support(gain, p_value, words):
    assert recommend(stub(gain, p_value), "average_precision", "plain").startswith(words)


def test_a_pipeline_of_ones_own_is_taken_as_it_is():
    found = compare_strategies(
        X, y, strategies={"a": make_pipeline(Witness(), DummyClassifier())}, cv=2
    )
    assert found.table.loc["a", "roc_auc"] == 0.5
