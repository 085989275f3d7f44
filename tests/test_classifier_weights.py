"""``sample_weight`` and ``class_weight`` act on every loss."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import recall_score
from sklearn.model_selection import KFold, cross_val_score
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.losses import BaseLoss, CrossEntropyLoss, FocalLoss, all_losses
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.weights import class_weights
from tests.toy import overlapping, parameters_of, plain_columns, small, table

X, Y = table()
TORCH_LOSSES = {
    "L1Loss": nn.L1Loss(),
    "MSELoss": nn.MSELoss(),
    "SmoothL1Loss": nn.SmoothL1Loss(),
    "HuberLoss": nn.HuberLoss(),
    "CrossEntropyLoss": nn.CrossEntropyLoss(),
    "NLLLoss": nn.NLLLoss(),
    "MultiMarginLoss": nn.MultiMarginLoss(),
    "BCELoss": nn.BCELoss(),
    "BCEWithLogitsLoss": nn.BCEWithLogitsLoss(),
    "SoftMarginLoss": nn.SoftMarginLoss(),
    "KLDivLoss": nn.KLDivLoss(),
}
LOSSES = {**{name: name for name in all_losses()}, **TORCH_LOSSES}
# Sample weights change the counts that such a loss learns from the rows, class weights do not.
WITH_COUNTS = {
    name for name, loss in all_losses().items() if loss._prepare is not BaseLoss._prepare
}
# A factor common to all positives cancels, and ranks know no threshold.
RANKINGS = {"auc_margin", "pairwise_logistic", "partial_auc", "recall_at_top", "smooth_ap"}


def exact(**params):
    """Return a classifier without rounding and without the randomness of batches."""
    return small(**{"dtype": "float64", "batch_size": 10_000, "loss": "cross_entropy", **params})


def assert_same_net(one, other):
    np.testing.assert_allclose(parameters_of(one), parameters_of(other), rtol=1e-8, atol=1e-11)


@pytest.fixture(autouse=True)
def no_double_correction_warnings():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*correct the same class imbalance.*")
        yield


# -- sample_weight ---------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("loss", sorted(set(LOSSES) - {"smooth_ap"}))  # ties count half there
def test_weight_of_two_is_a_row_given_twice(loss):
    weights = 1 + (np.arange(len(Y)) % 2)
    order = np.repeat(np.arange(len(Y)), weights)
    weighted = exact(loss=LOSSES[loss]).fit(X, Y, sample_weight=weights)
    assert_same_net(weighted, exact(loss=LOSSES[loss]).fit(X[order], Y[order]))


@pytest.mark.parametrize("params", [{}, {"class_weight": "balanced"}, {"class_weight": {1: 4}}])
def test_weight_of_zero_is_a_row_left_out(params):
    weights = (np.arange(len(Y)) % 3 > 0).astype(float)
    kept = weights > 0
    weighted = exact(**params).fit(X, Y, sample_weight=weights)
    removed = exact(**params).fit(X[kept], Y[kept])
    assert_same_net(weighted, removed)
    np.testing.assert_array_equal(weighted.class_counts_, removed.class_counts_)


def test_scale_of_the_weights_does_not_matter():
    weights = np.random.default_rng(0).uniform(0.5, 2, len(Y))
    assert_same_net(
        exact().fit(X, Y, sample_weight=weights), exact().fit(X, Y, sample_weight=1000 * weights)
    )


def test_equal_weights_are_no_weights():
    assert_same_net(exact().fit(X, Y, sample_weight=np.full(len(Y), 7)), exact().fit(X, Y))


@pytest.mark.parametrize("dtype", [int, np.float32, np.float64])
def test_sample_weight_is_not_modified(dtype):
    weights = (1 + np.arange(len(Y)) % 3).astype(dtype)
    before = weights.copy()
    exact(class_weight="balanced").fit(X, Y, sample_weight=weights)
    np.testing.assert_array_equal(weights, before)


def test_sample_weight_counts_in_the_class_counts():
    weights = np.where(Y == 1, 3.0, 0.5)
    clf = exact().fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(clf.class_counts_, np.bincount(Y) * [0.5, 3.0])
    np.testing.assert_allclose(clf.class_prior_, clf.class_counts_ / clf.class_counts_.sum())


@pytest.mark.parametrize(
    ("value", "message"),
    [(-0.5, "sample_weight must be >= 0.*-0.5"), (np.nan, "NaN"), (np.inf, "infinity")],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_weight_that_is_no_weight_names_sample_weight(method, value, message):
    weights = np.ones(len(Y))
    weights[7] = value
    clf, options = small(), {} if method == "fit" else {"classes": [0, 1]}
    with pytest.raises(ValueError, match="sample_weight") as caught:
        getattr(clf, method)(X, Y, sample_weight=weights, **options)
    assert caught.match(message)


def test_all_zero_weights_are_an_error():
    with pytest.raises(ValueError, match="(?i)sample.weights? .*zero"):
        small().fit(X, Y, sample_weight=np.zeros(len(Y)))


@pytest.mark.parametrize("shape", [(299,), (300, 2), (1, 300)])
def test_weights_of_the_wrong_shape_are_an_error(shape):
    with pytest.raises(ValueError, match="(?i)sample_weight|sample weights"):
        small().fit(X, Y, sample_weight=np.ones(shape))


def test_class_without_weight_leaves_one_class_and_is_a_warning():
    with pytest.warns(UserWarning, match="Only class 0 has rows with a weight above 0"):
        small().fit(X, Y, sample_weight=(Y == 0).astype(float))


def test_sample_weight_of_the_validation_part_weighs_the_score():
    X, y = overlapping(400, 0.2)
    weights = np.random.default_rng(1).choice([0.1, 10.0], size=len(y))
    plain = small(validation_fraction=0.3, lr_schedule=lambda p: 0.0, weight_decay=0.0)
    one = plain.fit(X, y).history_[0, "valid_score"]
    other = plain.fit(X, y, sample_weight=weights).history_[0, "valid_score"]
    assert one != other


# -- class_weight ----------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("loss", sorted(set(LOSSES) - WITH_COUNTS))
def test_class_weight_is_a_sample_weight_per_class(loss):
    params = {"loss": LOSSES[loss], "features": None}  # an encoder looks at sample weights alone
    by_class = exact(**params, class_weight={0: 0.5, 1: 3}).fit(X, Y)
    by_row = exact(**params).fit(X, Y, sample_weight=np.where(Y == 1, 3, 0.5))
    assert_same_net(by_class, by_row)


@pytest.mark.matrix
@pytest.mark.parametrize("loss", sorted(set(LOSSES) - RANKINGS))
def test_class_weight_moves_recall_the_right_way(loss):
    X, y = overlapping(600, 0.1)

    # a rate as high as this is for plain columns: behind waves the probabilities come so close to
    # 0 and 1 that soft F-measures hardly have a slope left
    def recall(class_weight):
        clf = ImbalancedNetClassifier(
            MLP((8,)), features=plain_columns(), loss=LOSSES[loss], class_weight=class_weight,
            max_epochs=15, lr=0.03, random_state=0,
        ).fit(X, y)  # fmt: skip
        return recall_score(y, clf.predict(X))

    assert recall({0: 1, 1: 100}) > recall(None) + 0.2 or recall({0: 1, 1: 100}) == 1
    assert recall({0: 100, 1: 1}) < recall(None) - 0.2 or recall({0: 100, 1: 1}) == 0


@pytest.mark.parametrize("strategy", ["balanced", "sqrt", "effective_number", "log"])
def test_strategies_are_computed_from_the_training_labels(strategy):
    clf = exact(class_weight=strategy).fit(X, np.array(["no", "yes"])[Y])
    np.testing.assert_allclose(
        clf.class_weight_, class_weights(strategy, np.bincount(Y), ["no", "yes"])
    )


def test_balanced_is_the_sample_weight_of_scikit_learn():
    weights = compute_sample_weight("balanced", Y)
    balanced = exact(features=None, class_weight="balanced").fit(X, Y)
    assert_same_net(balanced, exact(features=None).fit(X, Y, sample_weight=weights))


def test_encoder_looks_at_sample_weights_alone():
    weights = compute_sample_weight("balanced", Y)
    plain, balanced = exact().fit(X, Y), exact(class_weight="balanced").fit(X, Y)
    centre = exact().fit(X, Y, sample_weight=weights).net_.encoder_.centre
    torch.testing.assert_close(balanced.net_.encoder_.centre, plain.net_.encoder_.centre)
    np.testing.assert_allclose(centre, np.average(X, axis=0, weights=weights), rtol=1e-12)


@pytest.mark.parametrize(
    ("class_weight", "labels"),
    [
        ({"yes": 5}, ["no", "yes"]),
        ({True: 5}, [False, True]),
        ({1: 5}, ["0", "1"]),
        ({1: 5}, [-1, 1]),
        ([1, 5], ["no", "yes"]),
        (np.array([1.0, 5.0]), ["no", "yes"]),
        (lambda counts: [1, 5], ["no", "yes"]),
    ],
)
def test_class_weight_in_every_form(class_weight, labels):
    clf = exact(class_weight=class_weight).fit(X, np.array(labels)[Y])
    assert clf.class_weight_.tolist() == [1, 5]
    assert_same_net(clf, exact(class_weight={1: 5}).fit(X, Y))


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ("balancd", "'balancd'.*'balanced'"),
        ({1: -1}, "class 1 is -1"),
        ({1: float("nan")}, "class 1 is nan"),
        ([1, float("inf")], "class 1 is inf"),
        ({0: 0, 1: 0}, "zero"),
        ([1, 2, 3], r"\(3,\).*\(2,\)"),
        ({0: 0, 1: 1}, r"2 classes.*\[1\]"),
    ],
)
def test_invalid_class_weight_is_an_error(class_weight, message):
    with pytest.raises(ValueError, match=message):
        small(class_weight=class_weight).fit(X, Y)


@pytest.mark.parametrize("class_weight", [{1: 2, 7: 3}, pd.Series({1: 2, 7: 3})], ids=type)
def test_weight_of_a_class_that_no_row_has_is_a_warning(class_weight):
    with pytest.warns(UserWarning, match=r"class_weight names \[7\].*fold that lacks a class"):
        clf = small(class_weight=class_weight).fit(X, Y)
    assert clf.class_weight_.tolist() == [1, 2]


def test_target_prior_of_a_class_that_no_row_has_is_a_warning():
    with pytest.warns(UserWarning, match=r"target_prior names \[7\]"):
        clf = small(target_prior={0: 0.6, 1: 0.2, 7: 0.2}).fit(X, Y)
    same = small(target_prior=[0.75, 0.25]).fit(X, Y)
    np.testing.assert_allclose(clf.predict_proba(X), same.predict_proba(X), rtol=1e-5)


def test_class_weight_schedule_and_a_class_that_no_row_has():
    with pytest.warns(UserWarning, match="names"):
        clf = small(class_weight={1: 2, 7: 3}, class_weight_schedule=0.5).fit(X, Y)
    assert clf.class_weight_.tolist() == [1, 2]


def test_folds_that_lack_a_class():
    y = np.where(np.arange(len(Y)) >= len(Y) - 3, 2, Y)
    cv = KFold(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = cross_val_score(small(class_weight={1: 2, 2: 10}), X, y, cv=cv)
    assert np.isfinite(scores).all()


def test_a_search_knows_all_labels():
    y = np.where(np.arange(len(Y)) >= len(Y) - 3, 2, Y)
    grid, cv = {"lr": [0.01, 0.02]}, KFold(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="class_weight names")
        search = StackedGridSearchCV(small(class_weight={1: 2, 2: 10}), grid, cv=cv, refit=False)
        search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    wrong = StackedGridSearchCV(small(class_weight={1: 2, 7: 10}), grid, cv=cv, error_score="raise")
    with pytest.raises(ValueError, match=r"class_weight names \[7\], which are not among"):
        wrong.fit(X, y)


def test_series_of_weights_is_read_by_its_index():
    words = pd.Series(np.array(["ok", "fraud"])[Y])
    weights = len(Y) / (2 * words.value_counts())  # the more frequent class comes first
    clf, same = (small(class_weight=given).fit(X, words) for given in (weights, weights.to_dict()))
    assert clf.class_weight_.tolist() == same.class_weight_.tolist()
    assert clf.class_weight_[0] == weights["fraud"]


def test_callable_that_returns_a_series():
    found = class_weights(lambda counts: pd.Series({"b": 2.0, "a": 1.0}), [1, 1], ["a", "b"])
    assert found.tolist() == [1, 2]


def test_class_of_weight_zero_is_left_out_but_stays_a_class():
    X, y = table(n_classes=3)
    other = X + 100 * (y == 2)[:, None]
    clf = exact(features=None, class_weight={2: 0}).fit(X, y)
    assert clf.classes_.tolist() == [0, 1, 2]
    assert_same_net(clf, exact(features=None, class_weight={2: 0}).fit(other, y))
    assert np.isfinite(clf.predict_proba(X)).all()


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropyLoss(weight=[1, 5]),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0])),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0]), reduction="sum"),
    ],
    ids=["ours", "torch", "torch sum"],
)
def test_weight_inside_the_loss_is_a_class_weight(loss):
    assert_same_net(exact(loss=loss).fit(X, Y), exact(class_weight=[1, 5]).fit(X, Y))


def test_weight_inside_the_loss_is_applied_once_together_with_class_weight():
    both = exact(loss=FocalLoss(weight=[1, 5]), class_weight={1: 2}).fit(X, Y)
    assert_same_net(both, exact(loss="focal", class_weight={1: 10}).fit(X, Y))


@pytest.mark.parametrize("name", ["NLLLoss", "MultiMarginLoss"])
def test_weight_inside_other_losses_of_torch_is_a_class_weight(name):
    loss = type(TORCH_LOSSES[name])(weight=torch.tensor([1.0, 5.0]))
    explicit = exact(loss=TORCH_LOSSES[name], class_weight=[1, 5])
    assert_same_net(exact(loss=loss).fit(X, Y), explicit.fit(X, Y))


def test_weight_inside_the_loss_of_the_wrong_length_is_an_error():
    with pytest.raises(ValueError, match="weight"):
        exact(loss=CrossEntropyLoss(weight=[1, 2, 3])).fit(X, Y)


def test_balance_holds_whatever_a_batch_holds():
    # at 1 % positives most batches of 16 have none; the minority still carries half of the loss
    X, y = overlapping(3000, 0.01)
    clf = small(
        loss="cross_entropy", class_weight="balanced", batch_size=16, max_epochs=1,
        lr_schedule=lambda progress: 0.0, weight_decay=0.0,
    ).fit(X, y)  # fmt: skip
    losses = -np.log(clf.predict_proba(X)[np.arange(len(y)), y])
    mean_of_means = (losses[y == 0].mean() + losses[y == 1].mean()) / 2
    assert clf.history_[0, "train_loss"] == pytest.approx(mean_of_means, rel=1e-4)
