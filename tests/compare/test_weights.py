"""Weights of rows in a comparison: 2 is the row given twice, and 0 the row left out."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer, precision_recall_curve
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier, compare_strategies
from imbtorch.compare import _trees, default_strategies
from imbtorch.compare._alarms import alarms_for
from imbtorch.compare._figures import draw
from imbtorch.compare._row_values import weight_name
from imbtorch.compare._trees import BoostingOfFoundLength

pytest.importorskip("pandas")

N = 240
X, y = make_classification(N, n_features=6, weights=[0.75], flip_y=0.1, random_state=0)
WEIGHTS = np.random.default_rng(0).integers(0, 4, N)
FOLDS = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
COPIES = np.repeat(np.arange(N), WEIGHTS)  # positions of the rows, each as often as it counts


def repeated(fold):
    """Return the places of the copies of the rows of a fold."""
    return tuple(np.flatnonzero(np.isin(COPIES, part)) for part in fold)


class Converged(LogisticRegression):
    """Is converged so far that weights and copies agree to many digits."""

    def __init__(self):
        super().__init__(tol=1e-10, max_iter=1_000)


@pytest.fixture(scope="module")
def weighted():
    strategies = {"nothing": DummyClassifier(), "logistic": Converged()}
    given = {"strategies": strategies, "scoring": "f1_macro"}
    ours = compare_strategies(X, y, cv=FOLDS, sample_weight=WEIGHTS, **given)
    copies = compare_strategies(X[COPIES], y[COPIES], cv=[repeated(f) for f in FOLDS], **given)
    return ours, copies


def test_every_metric_counts_rows_as_often_as_their_weights_say(weighted):
    ours, copies = (one.folds.drop(columns=["strategy", "chosen", "seconds"]) for one in weighted)
    # ece has bins of equal mass, where copies of a row lie in one bin: the same by both ways
    np.testing.assert_allclose(ours, copies, rtol=1e-5, atol=1e-9)


def test_decisions_and_curves_count_with_weights(weighted):
    for recall in (0.8, 0.9):
        for name in ("nothing", "logistic"):
            ours, copies = (alarms_for(one.predictions[name], recall) for one in weighted)
            for value in ("threshold", "precision", "recall", "per_thousand"):
                assert getattr(ours, value) == pytest.approx(getattr(copies, value), rel=1e-5)
    drawn, expected = (list(draw(one).values())[-1].axes[0].lines for one in weighted)
    for line, other in zip(drawn, expected, strict=True):  # a curve has a point more per row
        precision, recall = line.get_ydata(), line.get_xdata()
        assert np.mean(precision) == pytest.approx(np.mean(other.get_ydata()), abs=0.05)
        assert np.isin(np.round(recall, 6), np.round(other.get_xdata(), 6)).all()


def test_the_result_says_that_rows_are_weighted(weighted):
    ours, copies = weighted
    sentence = "In training and in all metrics each row counts with its weight."
    assert ours.data.endswith(sentence)
    assert "weight" not in copies.data
    assert sentence in " ".join(str(ours).split())
    assert "a larger one if their weights differ" in " ".join(str(ours).split())
    assert ours.run.facts["Rows"] == "240, 6 columns, weighted"


def test_the_code_of_the_result_trains_with_the_weights():
    strategies = {"a": Pipeline([("last", Converged())])}
    ours = compare_strategies(X, y, strategies=strategies, cv=FOLDS, sample_weight=WEIGHTS)
    names = {"X": X, "y": y, "sample_weight": WEIGHTS, "strategies": strategies}
    exec(compile(ours.code, "the code of the report", "exec"), names)
    expected = Converged().fit(X, y, sample_weight=WEIGHTS).predict_proba(X[:5])
    np.testing.assert_allclose(names["model"].predict_proba(X[:5]), expected)
    assert "sample_weight holds the weights of the rows" in ours.code


def test_nets_train_with_the_weights():
    net = ImbalancedNetClassifier("mlp", max_epochs=3, dtype="float64", random_state=0)
    strategies = {"net": net, "in a pipeline": make_pipeline(net)}
    found = compare_strategies(X, y, strategies=strategies, cv=FOLDS, sample_weight=WEIGHTS)
    for name in strategies:
        for (train, test), said in zip(FOLDS, found.predictions[name], strict=True):
            alone = net.fit(X[train], y[train], sample_weight=WEIGHTS[train])
            np.testing.assert_allclose(said.proba[:, 1], alone.predict_proba(X[test])[:, 1])
            np.testing.assert_array_equal(said.weight, WEIGHTS[test])


def test_groups_and_weights_go_together():
    groups = np.arange(N) // 4
    net = ImbalancedNetClassifier("mlp", max_epochs=2, random_state=0)
    search = GridSearchCV(make_pipeline(net), {"imbalancednetclassifier__max_epochs": [2]})
    strategies = {"with a splitter": search.set_params(cv=GroupKFold(3))}
    found = compare_strategies(
        X, y, strategies=strategies, cv=FOLDS, groups=groups, sample_weight=WEIGHTS
    )
    assert found.table["status"].tolist() == ["ok"]
    train, test = FOLDS[0]
    alone = net.fit(X[train], y[train], sample_weight=WEIGHTS[train]).predict_proba(X[test])
    np.testing.assert_allclose(found.predictions["with a splitter"][0].proba[:, 1], alone[:, 1])


@pytest.mark.parametrize("name", ["cross-entropy", "under-sampling", "balanced ensemble"])
def test_default_strategies_take_weights(name):
    settings = {"module": "mlp", "max_epochs": 1, "random_state": 0}
    given = {"strategies": [name], "cv": FOLDS, **settings}
    plain, ours = (
        compare_strategies(X, y, sample_weight=weights, **given) for weights in (None, WEIGHTS + 1)
    )
    assert ours.table["status"].tolist() == ["ok"]
    pairs = zip(plain.predictions[name], ours.predictions[name], strict=True)
    assert all(np.abs(one.proba - other.proba).max() > 1e-6 for one, other in pairs)


def test_smote_says_why_it_takes_no_weights():
    given = {"module": "mlp", "max_epochs": 1, "random_state": 0}
    names = ["cross-entropy", "SMOTE"]
    found = compare_strategies(X, y, strategies=names, cv=3, sample_weight=WEIGHTS + 1, **given)
    assert found.table.loc["cross-entropy", "status"] == "ok"
    assert "makes rows that have no sample_weight" in found.table.loc["SMOTE", "status"]


def test_smote_says_so_too_where_its_repr_has_several_lines():
    pd = pytest.importorskip("pandas")
    shops = {
        f"shop {i}": pd.Categorical.from_codes(np.arange(N) % 3, list("abc")) for i in range(5)
    }
    table = pd.DataFrame({"amount": X[:, 0], **shops})
    given = {"module": "mlp", "max_epochs": 1, "random_state": 0, "cv": 3}
    found = compare_strategies(
        table, y, strategies=["cross-entropy", "SMOTE"], sample_weight=WEIGHTS + 1, **given
    )
    assert "makes rows that have no sample_weight" in found.table.loc["SMOTE", "status"]


def test_the_number_of_trees_is_found_with_the_weights(monkeypatch):
    monkeypatch.setattr(_trees, "_FIRST", 8)
    monkeypatch.setattr(_trees, "_MOST", 8)
    counted = WEIGHTS > 0
    folds = StratifiedKFold(3)
    zeros = np.where(counted, 1.0, 0.0)
    # rows of weight 0 change neither the scores of the folds nor the model
    ours = BoostingOfFoundLength(cv=folds, random_state=0).fit(X, y, zeros)
    scores = []
    for train, test in folds.split(X, y):
        model = HistGradientBoostingClassifier(
            categorical_features="from_dtype", early_stopping=False, max_iter=8, random_state=0
        ).fit(X[train], y[train], zeros[train])
        staged = [raw.ravel() for raw in model.staged_decision_function(X[test])]
        kept = counted[test]
        scores.append([_average_precision(y[test][kept], raw[kept]) for raw in staged])
    np.testing.assert_allclose(ours.scores_, np.array(scores)[:, ours.numbers_ - 1])
    alone = clone(ours.model_).fit(X, y, zeros)
    np.testing.assert_allclose(ours.predict_proba(X), alone.predict_proba(X))


def _average_precision(truth, score):
    precision, recall, _ = precision_recall_curve(truth, score)
    return -np.sum(np.diff(recall) * precision[:-1])


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (LogisticRegression(), "sample_weight"),
        (Pipeline([("a", Pipeline([("b", LogisticRegression())]))]), "a__b__sample_weight"),
        (GridSearchCV(LogisticRegression(), {"C": [1]}), "sample_weight"),
        (GridSearchCV(Pipeline([("a", LogisticRegression())]), {}), "a__sample_weight"),
        (NetEnsembleClassifier(ImbalancedNetClassifier()), "sample_weight"),
        (make_pipeline(KNeighborsClassifier()), ""),
        (Pipeline([("a", "passthrough")]), ""),
    ],
)
def test_the_parameter_of_fit_that_takes_weights_is_found(estimator, name):
    assert weight_name(estimator) == name


def test_every_default_strategy_has_such_a_parameter():
    names = {name: weight_name(one) for name, one in default_strategies(y, max_epochs=2).items()}
    boosting = "classify__trees__sample_weight"
    for name, found in names.items():
        assert found == (boosting if "boosting" in name else "classify__sample_weight")


def balanced(truth, predicted):
    return float(np.mean(truth == predicted))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_weight": -WEIGHTS}, "sample_weight must be >= 0"),
        ({"sample_weight": np.where(WEIGHTS, 1, np.nan)}, "NaN"),
        ({"sample_weight": np.where(y == 1, 0, 1)}, "sample_weight is 0 in all rows of class 1"),
        (
            {"sample_weight": np.isin(np.arange(N), FOLDS[0][0]) * 1, "cv": FOLDS},
            "fold 0 has no test row of class 0 with a weight above 0",
        ),
        (
            {"strategies": {"near": KNeighborsClassifier()}, "sample_weight": WEIGHTS},
            "fit of 'near' has no parameter sample_weight",
        ),
        (
            {"scoring": make_scorer(balanced), "sample_weight": WEIGHTS},
            "takes none. Give another one",
        ),
    ],
)
def test_weights_that_cannot_be_used_are_explained_before_anything_is_trained(arguments, message):
    class Untouched(DummyClassifier):
        def fit(self, X, y, sample_weight=None):
            raise AssertionError("this strategy was fitted")

    given = {"strategies": {"untouched": Untouched()}, "cv": 3, **arguments}
    with pytest.raises(ValueError, match=message):
        compare_strategies(X, y, **given)
