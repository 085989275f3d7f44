"""The same rule of length for every remedy."""

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier, compare_strategies
from imbtorch._fit import length as length_file
from imbtorch.compare import _strategies, _trees, default_strategies
from imbtorch.compare._folds import epochs_of
from imbtorch.compare._numbers import count
from imbtorch.compare._search import ShorterGridSearchCV
from imbtorch.compare._smote import AtMostNeighbors
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.model_selection._stacked_tasks import final_step

X, y = make_classification(240, n_features=6, weights=[0.8], random_state=0)


@pytest.fixture
def short_searches(monkeypatch):
    """End every search after a few epochs or trees."""
    monkeypatch.setattr(length_file, "_MOST_EPOCHS", 4)
    monkeypatch.setattr(length_file, "_MOST_STEPS", 1)
    monkeypatch.setattr(_strategies, "_STEPS", 9)
    monkeypatch.setattr(_strategies, "_EPOCHS", 2)
    monkeypatch.setattr(_trees, "_FIRST", 3)
    monkeypatch.setattr(_trees, "_MOST", 3)


def test_every_net_finds_its_own_length_unless_a_number_is_given():
    for name, one in default_strategies(y, random_state=0).items():
        last = final_step(getattr(one, "estimator", one))
        last = getattr(last, "estimator", last)
        if "boosting" in name:
            assert type(last) is _trees.BoostingOfFoundLength
        else:
            assert last.max_epochs == "auto", name
    stated = default_strategies(y, max_epochs=2)
    assert final_step(stated["gradient boosting"]).max_iter == 100
    assert final_step(stated["focal, gamma searched"].estimator).max_epochs == 2


@pytest.mark.slow
def test_the_table_has_the_epochs_of_every_default_strategy(short_searches):
    pytest.importorskip("pandas")
    found = compare_strategies(X, y, cv=2, random_state=0)
    assert (found.table["status"] == "ok").all(), found.table["status"]
    longest = 4 * length_file._LONGER_WITH_SCHEDULE
    epochs = found.table["epochs"]
    assert epochs.drop("balanced ensemble").between(1, longest).all()
    # members of few rows take as many steps as a net on all rows, in more epochs
    assert longest / 4 < epochs["balanced ensemble"] <= 10 * longest
    means = found.folds.groupby("strategy")["epochs"].mean()
    assert means.to_dict() == found.table["epochs"].to_dict()


def test_gamma_is_chosen_at_a_stated_number_and_the_length_found_for_the_best(short_searches):
    search = default_strategies(y, random_state=0)["focal, gamma searched"]
    before = search.get_params()
    search.fit(X, y)
    assert set(search.best_params_) == {"classify__loss__gamma"}
    assert set(search.cv_results_["param_classify__max_epochs"]) == {3}  # 9 steps of 64 of 240 rows
    net = search.best_estimator_[-1]
    assert net.max_epochs == "auto"
    alone = search.estimator.set_params(**search.best_params_).fit(X, y)
    assert net.n_epochs_ == alone[-1].n_epochs_
    np.testing.assert_array_equal(search.predict_proba(X), alone.predict_proba(X))
    assert before.keys() == search.get_params().keys()


def test_without_settings_of_its_own_the_search_is_the_stacked_one():
    net = ImbalancedNetClassifier(loss="focal", max_epochs=2, random_state=0)
    grid = {"loss__gamma": [0.0, 2.0]}
    own = ShorterGridSearchCV(net, grid, cv=2).fit(X, y)
    plain = StackedGridSearchCV(net, grid, cv=2).fit(X, y)
    np.testing.assert_array_equal(
        own.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )
    assert own.best_params_ == plain.best_params_


def test_epochs_are_known_of_nets_only():
    net = ImbalancedNetClassifier(max_epochs=2, random_state=0)
    assert epochs_of(net.fit(X, y)) == 2
    assert epochs_of(NetEnsembleClassifier(net, 2, random_state=0).fit(X, y)) == 2
    assert np.isnan(epochs_of(LogisticRegression().fit(X, y)))
    assert count(float("nan")) == "–"
    assert count(19.5) == "20"


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 20])
@pytest.mark.parametrize("sampler", [SMOTE, SMOTENC, SMOTEN])
def test_smote_takes_as_many_neighbours_as_there_are(rows, sampler):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(X[:60]).add_prefix("x")
    word = pd.Series(np.where(X[:60, 0] > 0, "a", "b")).astype("category")
    labels = np.repeat([1, 0], [rows, 60 - rows])
    given = {SMOTE: table, SMOTENC: table.assign(w=word), SMOTEN: word.to_frame("w")}[sampler]
    params = {"random_state": 0} | ({"categorical_features": "auto"} if sampler is SMOTENC else {})
    neighbors = AtMostNeighbors(n_neighbors=6)
    X_new, y_new = sampler(k_neighbors=neighbors, **params).fit_resample(given, labels)
    assert np.bincount(y_new).tolist() == [60 - rows] * 2
    assert not pd.isna(X_new).any(axis=None)
    if rows == 1 and sampler is SMOTE:
        assert (X_new.iloc[60:].to_numpy() == table.iloc[0].to_numpy()).all()
    if rows > 5:
        assert X_new.equals(sampler(**params).fit_resample(given, labels)[0])


def test_all_nets_have_the_stated_module():
    y = np.arange(200) % 10 == 0
    for strategy in default_strategies(y, module="mlp").values():
        params = strategy.get_params()
        modules = [value for name, value in params.items() if name.split("__")[-1] == "module"]
        assert all(module == "mlp" for module in modules)
    assert default_strategies(y)["cross-entropy"][-1].module == "tabm"
