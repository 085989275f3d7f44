"""The uses that this project started from."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.metrics import recall_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier
from tests.toy import overlapping, parameters_of, plain_columns

TORCH_LOSSES = [
    nn.L1Loss(),
    nn.MSELoss(),
    nn.SmoothL1Loss(),
    nn.HuberLoss(),
    nn.CrossEntropyLoss(),
    nn.NLLLoss(),
    nn.MultiMarginLoss(),
    nn.BCELoss(),
    nn.BCEWithLogitsLoss(),
    nn.SoftMarginLoss(),
    nn.KLDivLoss(reduction="batchmean"),
]


@pytest.fixture(autouse=True)
def own_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def keras_weights(y):
    """``{0: n / n0, 1: n / n1}``, as users of Keras write them."""
    return {label: len(y) / count for label, count in enumerate(np.bincount(y))}


def two_outputs():
    """A net of the user's making with one output per class."""
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


@pytest.mark.matrix
@pytest.mark.parametrize("loss", TORCH_LOSSES, ids=lambda loss: type(loss).__name__)
def test_keras_style_weights_act_on_a_loss_of_torch_with_two_outputs(loss):
    X, y = overlapping(1000, 0.05, shift=1.5)

    def recall(class_weight):
        clf = ImbalancedNetClassifier(
            two_outputs(), loss=loss, class_weight=class_weight, lr=0.02, max_epochs=15,
            random_state=0,
        )  # fmt: skip
        return recall_score(y, clf.fit(X, y).predict(X))

    plain, weighted = recall(None), recall(keras_weights(y))
    assert plain < 0.5
    assert weighted > 0.75


def test_l1_loss_is_that_of_torch_on_weighted_probabilities():
    # one step of plain gradient descent, once by the estimator and once by hand
    X, y = overlapping(64, 0.25)
    module, weights = two_outputs().double(), keras_weights(y)
    start = [p.detach().clone() for p in module.parameters()]
    clf = ImbalancedNetClassifier(
        module, loss=nn.L1Loss(), class_weight=weights, lr=0.1, weight_decay=0.0, max_epochs=1,
        lr_schedule="constant", batch_size=64, dtype="float64", random_state=0,
        optimizer=torch.optim.SGD,
    ).fit(X, y)  # fmt: skip
    row = torch.tensor([weights[label] for label in y], dtype=torch.float64)
    proba = torch.softmax(module(torch.from_numpy(X)), dim=1)
    one_hot = nn.functional.one_hot(torch.from_numpy(y), 2).double()
    per_row = nn.functional.l1_loss(proba, one_hot, reduction="none").mean(dim=1)
    (row / row.mean() * per_row).mean().backward()
    by_hand = torch.cat([(s - 0.1 * p.grad).ravel() for s, p in zip(start, module.parameters(),
                                                                    strict=True)])  # fmt: skip
    np.testing.assert_allclose(parameters_of(clf), by_hand.numpy(), rtol=1e-10)


def rare(seed):
    """Return 10 000 rows of which 20 (0.2 %) are positive, and overlap the rest."""
    return overlapping(10_000, 0.002, n_features=6, shift=1.5, seed=seed)


@pytest.mark.slow
def test_focal_loss_and_balanced_weights_find_what_a_plain_net_misses():
    plain = ImbalancedNetClassifier(
        MLP((16,)), loss="cross_entropy", max_epochs=8, random_state=0
    ).fit(*rare(0))
    X, y = rare(1)
    assert not plain.predict(X).any()  # always the majority, and 99.8 % right
    assert plain.score(X, y) == 0.998
    balanced = plain.set_params(loss="focal", class_weight="balanced").fit(*rare(0))
    predicted = balanced.predict(X)
    assert recall_score(y, predicted) >= 0.6
    assert predicted.mean() < 0.2


def test_gamma_is_searched_behind_a_scaler():
    X, y = overlapping(1500, 0.05)
    pipeline = make_pipeline(
        StandardScaler(),
        ImbalancedNetClassifier(
            MLP((8,)), loss="focal", class_weight="balanced", max_epochs=3, random_state=0
        ),
    )
    grid = {"imbalancednetclassifier__loss__gamma": [0, 1, 2, 5]}
    search = GridSearchCV(
        pipeline, grid, cv=3, scoring=["roc_auc", "neg_log_loss"], refit="roc_auc",
        error_score="raise",
    ).fit(X, y)  # fmt: skip
    assert len(set(search.cv_results_["mean_test_neg_log_loss"])) == 4  # gamma reaches the loss
    assert search.best_score_ > 0.75


# Fraud Detection Handbook, chapter 6: reference/loss-catalogue.md, section 11 B
CHAPTER_6 = {
    None: {"roc_auc": 0.937, "average_precision": 0.535, "balanced_accuracy": 0.641},
    "balanced": {"roc_auc": 0.937, "average_precision": 0.536, "balanced_accuracy": 0.899},
}


@pytest.mark.slow
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_linear_module_lands_on_the_published_logistic_regression(class_weight):
    X, y = make_classification(
        5000, n_features=2, n_informative=2, n_redundant=0, n_repeated=0, n_clusters_per_class=1,
        weights=[0.95, 0.05], class_sep=0.5, random_state=0,
    )  # fmt: skip
    linear = ImbalancedNetClassifier(
        MLP(hidden_sizes=()), features=plain_columns(), loss="cross_entropy",
        class_weight=class_weight, lr=0.02, weight_decay=0.02, max_epochs=20, random_state=0,
    )  # fmt: skip
    published = CHAPTER_6[class_weight]
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_validate(linear, X, y, cv=folds, scoring=list(published), error_score="raise")
    for name, value in published.items():
        assert scores[f"test_{name}"].mean() == pytest.approx(value, abs=0.01), name
