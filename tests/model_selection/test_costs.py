"""Costs need probabilities of the training data, and a labelled matrix is read by its labels."""

import numpy as np
import pytest
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import MLP, ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.model_selection import (
    ScaledClassifierCV,
    StackedGridSearchCV,
    TunedDecisionClassifierCV,
)
from tests.toy import overlapping, plain_columns, table

COSTS = np.array([[0, 1], [20, 0]])
X, Y = overlapping(1200, 0.04, shift=1.5)
X_TEST, Y_TEST = overlapping(4000, 0.04, shift=1.5, seed=1)


def net(**params):
    defaults = {"features": plain_columns(), "max_epochs": 8, "random_state": 0}
    return ImbalancedNetClassifier(MLP((8,)), **{**defaults, **params})


def paid(estimator):
    tuned = TunedDecisionClassifierCV(estimator, cost_matrix=COSTS, cv=2, random_state=0)
    decided = tuned.fit(X, Y).predict(X_TEST)
    expected = (tuned.predict_proba(X_TEST) @ COSTS).argmin(axis=1)
    np.testing.assert_array_equal(decided, expected)
    return COSTS[Y_TEST, decided].mean()


@pytest.fixture(scope="module")
def best():
    return paid(net(target_prior="train"))


GRID = {"weight_decay": [0.0, 0.1]}
KINDS = {
    "default": net(),
    "class_weight": net(loss="cross_entropy", class_weight="balanced"),
    "sampler": net(loss="cross_entropy", sampler=RandomUnderSampler(random_state=0)),
    "hinge": net(loss="hinge", max_epochs=30),
    "ranking": net(loss="auc_margin"),
    "pipeline": make_pipeline(StandardScaler(), net()),
    "pipeline of a hinge": make_pipeline(StandardScaler(), net(loss="hinge", max_epochs=30)),
    "search": GridSearchCV(net(), GRID, cv=2),
    "stacked search": StackedGridSearchCV(net(), GRID, cv=2),
    "search of a pipeline": GridSearchCV(
        make_pipeline(StandardScaler(), net()),
        {f"imbalancednetclassifier__{name}": values for name, values in GRID.items()},
        cv=2,
    ),
    "ensemble": NetEnsembleClassifier(net(max_epochs=60), 2, random_state=0),
    "bagging": BaggingClassifier(net(), 2, random_state=0),
    "voting": VotingClassifier([("a", net()), ("b", net(random_state=1))], voting="soft"),
    "resampled pipeline": make_imblearn_pipeline(RandomUnderSampler(random_state=0), net()),
    "another classifier": LogisticRegression(class_weight="balanced"),
    "temperature": ScaledClassifierCV(net(), cv=2),
    "calibrated": CalibratedClassifierCV(net(loss="hinge"), cv=2),
}


@pytest.mark.matrix
@pytest.mark.parametrize("kind", KINDS)
def test_costs_are_those_of_honest_probabilities(kind, best):
    assert paid(KINDS[kind]) < 1.25 * best


def test_an_ensemble_of_default_nets_is_restated_too():
    tuned = TunedDecisionClassifierCV(
        NetEnsembleClassifier(n_estimators=1, random_state=0), cost_matrix=COSTS
    ).fit(X, Y)
    assert tuned.estimator_.estimator.target_prior == "train"
    assert tuned.estimator.estimator is None


def test_the_estimator_of_the_user_and_a_stated_population_stay():
    given = net()
    tuned = TunedDecisionClassifierCV(given, cost_matrix=COSTS).fit(X, Y)
    assert given.target_prior is None
    assert tuned.estimator_.target_prior == "train"
    stated = TunedDecisionClassifierCV(net(target_prior="uniform"), cost_matrix=COSTS).fit(X, Y)
    assert stated.estimator_.target_prior == "uniform"


def test_without_costs_nothing_is_restated():
    tuned = TunedDecisionClassifierCV(net(max_epochs=1), cv=2).fit(X, Y)
    assert tuned.estimator_.target_prior is None


# -- values that a search tries --------------------------------------------------------------------

TARGETS = {"target_prior": [None, "uniform"]}


def searched(search, **params):
    """Return the search that decides by costs, fitted on few epochs."""
    tuned = TunedDecisionClassifierCV(search, cost_matrix=COSTS, cv=2, random_state=0, **params)
    return tuned.fit(X, Y).estimator_


@pytest.mark.parametrize(
    "search",
    [
        GridSearchCV(net(max_epochs=1), TARGETS, cv=2),
        GridSearchCV(net(max_epochs=1), [{"lr": [0.1]}, TARGETS], cv=2),
        StackedGridSearchCV(net(max_epochs=1), TARGETS, cv=2),
        RandomizedSearchCV(net(max_epochs=1), TARGETS, n_iter=2, cv=2, random_state=0),
        GridSearchCV(make_pipeline(net(max_epochs=1)), {"imbalancednetclassifier__target_prior":
                     (None, "uniform")}, cv=2),
        GridSearchCV(make_pipeline(net()), {"imbalancednetclassifier":
                     [net(max_epochs=1), net(max_epochs=1, target_prior="uniform")]}, cv=2),
        make_pipeline(GridSearchCV(net(max_epochs=1), TARGETS, cv=2)),
    ],
    ids=["grid", "grids", "stacked", "randomized", "pipeline", "nets", "inside"],
)  # fmt: skip
def test_candidates_describe_the_training_data_or_what_the_user_states(search):
    fitted = searched(search)
    inner = fitted[-1] if hasattr(fitted, "steps") else fitted
    tried = [next(reversed(params.values())) for params in inner.cv_results_["params"]]
    targets = [getattr(value, "target_prior", value) for value in tried]
    assert [target for target in targets if target != 0.1] == ["train", "uniform"]
    given = search[-1] if hasattr(search, "steps") else search
    assert "train" not in str(getattr(given, "param_grid", None))


def test_search_over_the_population_pays_as_little_as_the_net(best):
    grid = {"target_prior": [None], "weight_decay": [0.0, 0.1]}
    assert paid(StackedGridSearchCV(net(), grid, cv=2)) < 1.25 * best


@pytest.mark.parametrize("losses", [["focal", "hinge"], ["hinge", "focal"]])
@pytest.mark.parametrize("base", ["focal", "hinge"])
def test_search_over_losses_without_posterior_is_calibrated(losses, base):
    grid = {"loss": losses, "target_prior": [None]}
    search = GridSearchCV(net(max_epochs=1, loss=base), grid, cv=2, error_score="raise")
    fitted = searched(search)
    assert isinstance(fitted, ScaledClassifierCV)
    assert fitted.estimator_.best_estimator_.target_prior is None


def test_search_over_a_resampler_is_calibrated():
    steps = make_imblearn_pipeline("passthrough", net(max_epochs=1))
    grid = {"passthrough": ["passthrough", RandomUnderSampler(random_state=0)]}
    assert isinstance(searched(GridSearchCV(steps, grid, cv=2)), ScaledClassifierCV)


@pytest.mark.parametrize("inner", [net(), make_pipeline(StandardScaler(), net())], ids=type)
def test_a_frozen_net_of_another_population_is_an_error(inner):
    frozen = FrozenEstimator(inner.fit(X, Y))
    for given in (frozen, make_pipeline(frozen)):
        with pytest.raises(ValueError, match="target_prior='train'"):
            TunedDecisionClassifierCV(given, cost_matrix=COSTS).fit(X, Y)


def test_frozen_nets_that_are_honest_or_cannot_be():
    honest = FrozenEstimator(net(target_prior="train").fit(X, Y))
    tuned = TunedDecisionClassifierCV(honest, cost_matrix=COSTS).fit(X, Y)
    assert tuned.estimator_ is honest
    hinge = FrozenEstimator(net(loss="hinge", max_epochs=1).fit(X, Y))
    with pytest.raises(ValueError, match="ScaledClassifierCV"):
        TunedDecisionClassifierCV(make_pipeline(hinge), cost_matrix=COSTS).fit(X, Y)


# -- labelled frames -------------------------------------------------------------------------------

WORDS = np.array(["no", "perhaps", "yes"])
FRAME = [[0, 1, 2], [5, 0, 1], [20, 10, 0]]


def decisions(costs, y):
    features, _ = table(n_classes=3)
    return TunedDecisionClassifierCV(LogisticRegression(), cost_matrix=costs).fit(features, y)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 0, 2]])
@pytest.mark.parametrize("labels", [WORDS, np.array([0, 1, 2])], ids=["words", "numbers"])
def test_a_frame_is_read_by_its_labels(order, labels):
    pd = pytest.importorskip("pandas")
    features, codes = table(n_classes=3)
    frame = pd.DataFrame(FRAME, index=labels, columns=labels)
    plain = decisions(FRAME, labels[codes]).predict(features)
    moved = decisions(frame.iloc[order, order[::-1]], labels[codes]).predict(features)
    np.testing.assert_array_equal(moved, plain)


@pytest.mark.parametrize(
    ("index", "columns", "wrong"),
    [
        (None, None, "index"),
        (["no", "perhaps", "maybe"], list(WORDS), "index"),
        (list(WORDS), ["no", "no", "yes"], "columns"),
        (list(WORDS), ["0", "1", "2"], "columns"),
    ],
)
def test_wrong_labels_are_an_error(index, columns, wrong):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(FRAME, index=index, columns=columns)
    with pytest.raises(ValueError, match=f"{wrong} is .*expected the classes"):
        decisions(frame, WORDS[table(n_classes=3)[1]])


def test_a_frame_of_another_shape_is_an_error():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="columns is"):
        decisions(pd.DataFrame(FRAME, WORDS, WORDS)[["no"]], WORDS[table(n_classes=3)[1]])


def test_frozen_classifiers_with_class_weights_are_no_base_of_costs():
    X, y = make_classification(200, weights=[0.8], random_state=0)
    weighted = LogisticRegression(class_weight="balanced").fit(X, y)
    frozen = FrozenEstimator(weighted)
    with pytest.raises(ValueError, match="class weights"):
        TunedDecisionClassifierCV(frozen, cost_matrix=[[0, 1], [5, 0]]).fit(X, y)
    with pytest.raises(ValueError, match="class weights"):
        TunedDecisionClassifierCV(weighted, cost_matrix=[[0, 1], [5, 0]], cv="prefit").fit(X, y)
    calibrated = ScaledClassifierCV(weighted, method="vector").fit(X, y)
    tuned = TunedDecisionClassifierCV(calibrated, cost_matrix=[[0, 1], [5, 0]], cv="prefit")
    assert tuned.fit(X, y).estimator_ is calibrated
