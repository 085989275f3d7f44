"""What changes between epochs: class weights, the sampler, the loss, the learning rate."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from imbtorch import MLP
from imbtorch.losses import FocalLoss
from imbtorch.samplers import BaseSampler, Plan
from imbtorch.training.data.rows import ArrayRows
from imbtorch.training.optimizers import LR_SCHEDULES
from imbtorch.training.schedules import power_at
from imbtorch.training.single.engine import SingleEngine
from tests.toy import parameters_of, small, table
from tests.training.helpers import Plain, WatchBatches

pytestmark = pytest.mark.filterwarnings("ignore::imbtorch.DoubleCorrectionWarning")

X, Y = table(200)
LABELS = np.stack([Y, X[:, 0] > 0.5, X[:, 1] > 0], axis=1).astype(int)
OFF = {
    "loss_schedule": None, "class_weight_schedule": None, "sampler_schedule": None,
    "gradient_clipping": None, "sharpness": 0.0, "averaging": None,
}  # fmt: skip
PATHS = {"chain": {}, "autograd": {"module": Plain}, "hooked": {"callbacks": [WatchBatches()]}}
every_path = pytest.mark.parametrize("path", sorted(PATHS))
each_target = pytest.mark.parametrize("y", [Y, LABELS], ids=["classes", "labels"])


@pytest.fixture
def weights_seen(monkeypatch):
    """Return weights of rows and of labels, as they are in each epoch."""
    seen = []
    plainly = ArrayRows.batches

    def batches(self, *args, **kwargs):
        seen.append(
            [None if w is None else w.numpy().copy() for w in (self.weights, self.label_weight)]
        )
        return plainly(self, *args, **kwargs)

    monkeypatch.setattr(ArrayRows, "batches", batches)
    return seen


@pytest.fixture
def orders_seen(monkeypatch):
    """Return the rows of each epoch, in order."""
    seen = []
    plainly = SingleEngine.epoch

    def epoch(self, runs, epoch):
        seen.append(runs[0].order.numpy().copy())
        return plainly(self, runs, epoch)

    monkeypatch.setattr(SingleEngine, "epoch", epoch)
    return seen


# -- off -------------------------------------------------------------------------------------------


@every_path
@each_target
def test_what_is_off_changes_no_bit(path, y):
    params = {**PATHS[path], "class_weight": "balanced", "loss": "bce"}
    plain = parameters_of(small(**params).fit(X, y))
    np.testing.assert_array_equal(parameters_of(small(**params, **OFF).fit(X, y)), plain)


@every_path
@each_target
def test_constant_power_of_one_changes_no_bit(path, y):
    params = {**PATHS[path], "class_weight": "balanced", "loss": "bce"}
    plain = parameters_of(small(**params).fit(X, y))
    clf = small(**params, class_weight_schedule=lambda t: 1.0, sampler_schedule=None)
    np.testing.assert_array_equal(parameters_of(clf.fit(X, y)), plain)


@every_path
@each_target
def test_constant_power_of_zero_is_no_class_weight(path, y):
    params = {**PATHS[path], "loss": "bce"}
    plain = parameters_of(small(**params).fit(X, y))
    clf = small(**params, class_weight="balanced", class_weight_schedule=lambda t: 0.0)
    np.testing.assert_array_equal(parameters_of(clf.fit(X, y)), plain)


# -- class weights ---------------------------------------------------------------------------------


def test_powers():
    assert [power_at(0.5, t) for t in (0, 0.49, 0.5, 0.9)] == [0, 0, 1, 1]
    assert [power_at("cumulative", t) for t in (0, 0.5, 0.8)] == [0, 0.25, 0.8**2]
    assert power_at(lambda t: 1 - t, 0.25) == 0.75


@pytest.mark.parametrize(("fraction", "n"), [(0.8, 5), (0.8, 10), (0.6, 5), (0.7, 10), (0.3, 10)])
def test_deferred_weights_begin_at_the_epoch_that_the_fraction_says(fraction, n):
    powers = [power_at(fraction, epoch / n) for epoch in range(n)]
    assert powers.index(1) == round(fraction * n)


def test_deferred_weights_of_rows(weights_seen):
    clf = small(class_weight="balanced", class_weight_schedule=0.5, max_epochs=4).fit(X, Y)
    rows = clf.class_weight_[Y]
    assert [rows_of for rows_of, _ in weights_seen[:2]] == [None, None]
    for weights, _ in weights_seen[2:]:
        np.testing.assert_allclose(weights, rows / rows.mean(), rtol=1e-6)


def test_cumulative_weights_of_rows(weights_seen):
    clf = small(class_weight={1: 9}, class_weight_schedule="cumulative", max_epochs=4, loss="bce")
    clf.fit(X, Y)
    for epoch, (weights, _) in enumerate(weights_seen[1:], 1):
        rows = np.where(Y == 1, 9 ** (epoch / 4) ** 2, 1)
        np.testing.assert_allclose(weights, rows / rows.mean(), rtol=1e-6)
    assert weights_seen[0][0] is None


def test_sample_weight_is_not_scheduled(weights_seen):
    given = np.linspace(0.5, 2, len(Y))
    clf = small(class_weight={1: 9}, class_weight_schedule=0.5, dtype="float64")
    clf.fit(X, Y, sample_weight=given)
    np.testing.assert_allclose(weights_seen[0][0], given / given.mean())
    rows = given * np.where(Y == 1, 9, 1)
    np.testing.assert_allclose(weights_seen[1][0], rows / rows.mean())


def test_weight_of_the_loss_is_not_scheduled(weights_seen):
    loss = FocalLoss(weight=[1.0, 2.0])
    small(loss=loss, class_weight={1: 9}, class_weight_schedule=0.5, dtype="float64").fit(X, Y)
    for (weights, _), factor in zip(weights_seen, [2, 18], strict=True):
        rows = np.where(Y == 1, factor, 1)
        np.testing.assert_allclose(weights, rows / rows.mean())


def test_deferred_weights_of_labels(weights_seen):
    clf = small(loss="bce", class_weight="balanced", class_weight_schedule=0.5, dtype="float64")
    clf.fit(X, LABELS)
    (_, first), (_, second) = weights_seen
    assert first is None
    np.testing.assert_allclose(second, clf.class_weight_)


def test_cumulative_weights_of_labels(weights_seen):
    clf = small(
        loss="bce", class_weight={0: 1, 1: 5}, class_weight_schedule=lambda t: t, max_epochs=4
    )
    clf.set_params(dtype="float64").fit(X, LABELS)
    counts = np.stack([len(X) - LABELS.sum(0), LABELS.sum(0)], axis=1)
    for epoch, (_, weights) in enumerate(weights_seen[1:], 1):
        raw = np.array([1, 5]) ** (epoch / 4) * np.ones((3, 1))
        np.testing.assert_allclose(weights, raw / ((counts * raw).sum() / counts.sum()))


def test_class_of_weight_zero_stays_away(orders_seen):
    X3, y3 = table(300, n_classes=3, rate=0.4)
    small(class_weight={2: 0}, class_weight_schedule=0.5).fit(X3, y3)
    assert len(orders_seen) == 2
    for order in orders_seen:
        assert not (y3[order] == 2).any()


@every_path
@each_target
def test_two_stages_are_two_fits(path, y):
    # one batch per epoch: the order of the rows, which starts anew with a fit, is no matter
    whole = {
        **PATHS[path], "loss": "bce", "dtype": "float64", "batch_size": len(Y), "lr": 0.05,
        "lr_schedule": "constant",
    }  # fmt: skip
    at_once = small(**whole, class_weight="balanced", class_weight_schedule=0.5, max_epochs=6)
    at_once.fit(X, y)
    stages = small(**whole, max_epochs=3, warm_start=True).fit(X, y)
    stages.set_params(class_weight="balanced").fit(X, y)
    np.testing.assert_allclose(parameters_of(at_once), parameters_of(stages), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(at_once.effective_prior_, stages.effective_prior_)
    np.testing.assert_allclose(at_once.class_weight_, stages.class_weight_)


def test_schedule_without_class_weight_is_an_error():
    with pytest.raises(ValueError, match="class_weight_schedule=0.5 has no class_weight"):
        small(class_weight_schedule=0.5).fit(X, Y)


@pytest.mark.parametrize("power", [1.5, -0.1, float("nan"), "much", None])
def test_power_out_of_range_is_an_error(power):
    clf = small(class_weight="balanced", class_weight_schedule=lambda t: power if t else 1.0)
    with pytest.raises(ValueError, match=r"power in \[0, 1\].*after 50%"):
        clf.fit(X, Y)
    assert not hasattr(clf, "classes_")


def test_schedules_belong_to_fit():
    params = {"class_weight": {1: 3}, "class_weight_schedule": 0.5, "averaging": "ema"}
    one = small(**params).partial_fit(X, Y, classes=[0, 1])
    other = small(class_weight={1: 3}).partial_fit(X, Y, classes=[0, 1])
    np.testing.assert_array_equal(parameters_of(one), parameters_of(other))


def test_clipping_acts_in_partial_fit():
    one = small(gradient_clipping=1e-3, optimizer="sgd").partial_fit(X, Y, classes=[0, 1])
    other = small(optimizer="sgd").partial_fit(X, Y, classes=[0, 1])
    assert abs(parameters_of(one) - parameters_of(other)).max() > 1e-5


# -- the sampler -----------------------------------------------------------------------------------


class Twice(BaseSampler):
    """Every epoch sees class 1 alone."""

    def _plan(self, targets, n_classes, batch_size, seed):
        class OneClass(Plan):
            def order(self, epoch, n_epochs):
                return np.flatnonzero(targets).astype(np.int32)

            def expected_counts(self, n_epochs=None):
                return np.array([1.0, (targets == 1).sum()])

        return OneClass()


def test_sampler_begins_late(orders_seen):
    small(sampler=Twice(), sampler_schedule=0.5, max_epochs=4).fit(X, Y)
    sampled = [order.copy() for order in orders_seen]
    orders_seen.clear()
    small(max_epochs=4).fit(X, Y)
    for epoch in (0, 1):
        np.testing.assert_array_equal(sampled[epoch], orders_seen[epoch])
    for epoch in (2, 3):
        np.testing.assert_array_equal(sampled[epoch], np.flatnonzero(Y))


def test_sampler_by_name_begins_late(orders_seen):
    clf = small(sampler="class_balanced", sampler_schedule=0.75, max_epochs=4).fit(X, Y)
    late = small(sampler="class_balanced", max_epochs=4).fit(X, Y)
    assert all((np.sort(order) == np.arange(len(Y))).all() for order in orders_seen[:3])
    np.testing.assert_array_equal(orders_seen[3], orders_seen[7])
    np.testing.assert_allclose(clf.effective_prior_, late.effective_prior_)


def test_first_stage_is_that_without_a_sampler():
    params = {"loss": "cross_entropy", "max_epochs": 2}
    seen = []

    def scoring(clf, X_valid, y_valid):
        seen.append(parameters_of(clf).copy())
        return 0.0

    params = {**params, "scoring": scoring, "validation_fraction": 0.2}
    small(**params, sampler="class_balanced", sampler_schedule=0.5).fit(X, Y)
    small(**params).fit(X, Y)
    np.testing.assert_array_equal(seen[0], seen[2])
    assert (seen[1] != seen[3]).any()


def test_rows_of_the_validation_part_are_never_seen(orders_seen):
    clf = small(sampler="class_balanced", sampler_schedule=0.5, validation_fraction=0.2)
    clf.fit(X, Y)
    plain, sampled = orders_seen
    assert len(plain) == clf.class_counts_.sum() < len(Y)
    assert set(sampled) <= set(plain)


class FromImblearn:
    def fit_resample(self, X, y):
        return X, y


@pytest.mark.parametrize("sampler", [None, FromImblearn()], ids=["none", "imblearn"])
def test_schedule_of_a_sampler_that_does_not_plan_is_an_error(sampler):
    with pytest.raises(ValueError, match="sampler_schedule=0.5 needs a sampler that plans"):
        small(sampler=sampler, sampler_schedule=0.5).fit(X, Y)


# -- the loss --------------------------------------------------------------------------------------


class Seen(FocalLoss):
    """Notes gamma at each batch."""

    name = ""
    gammas: list = []  # noqa: RUF012

    def per_sample(self, logits, target):
        self.gammas.append(self.gamma)
        return super().per_sample(logits, target)

    def with_gradient(self, logits, target):
        self.gammas.append(self.gamma)
        return super().with_gradient(logits, target)


@every_path
def test_loss_sees_the_values_of_the_epoch(path):
    Seen.gammas = []
    schedule = {"gamma": lambda t: 4 * (1 - t)}
    clf = small(**PATHS[path], loss=Seen(), loss_schedule=schedule, max_epochs=4, batch_size=10**6)
    clf.fit(X, Y)
    assert list(dict.fromkeys(Seen.gammas[1:])) == [4.0, 3.0, 2.0, 1.0]  # the first one is a trial
    assert clf.loss_.gamma == 1.0
    assert clf.loss.gamma == 2.0


def test_constant_schedule_is_the_value():
    one = small(loss="focal", loss_schedule={"gamma": lambda t: 3.0}).fit(X, Y)
    other = small(loss=FocalLoss(3.0)).fit(X, Y)
    # the output bias starts from the loss as it was given
    params = {"module": lambda shape, n: MLP((8,)).build(shape, n)}
    one, other = one.set_params(**params).fit(X, Y), other.set_params(**params).fit(X, Y)
    np.testing.assert_array_equal(parameters_of(one), parameters_of(other))


def test_posterior_has_the_last_value():
    clf = small(loss="logit_adjusted", loss_schedule={"tau": lambda t: t}, max_epochs=4).fit(X, Y)
    expected = small(loss="logit_adjusted", max_epochs=1).set_params(loss__tau=0.75).fit(X, Y)
    assert clf.loss_.tau == 0.75
    np.testing.assert_allclose(clf.effective_prior_, expected.effective_prior_)
    prior = small(loss="logit_adjusted").fit(X, Y).effective_prior_
    assert abs(clf.effective_prior_ - prior).max() > 0.05


def test_loss_is_prepared_for_each_value():
    schedule = {"beta": lambda t: 0.9 + 0.09 * t}
    clf = small(loss="class_balanced", loss_schedule=schedule, max_epochs=3).fit(X, Y)
    again = clone(clf.loss_).prepare(clf.class_counts_)
    logits, target = torch.randn(5, 2), torch.tensor([0, 1, 0, 1, 1])
    torch.testing.assert_close(again(logits, target), clf.loss_(logits, target))
    assert clf.loss_.beta == pytest.approx(0.96)


def test_early_stopping_goes_back_to_the_values_of_the_best_epoch():
    scores = iter([0.1, 0.9, 0.3, 0.3, 0.3])
    clf = small(
        loss="focal", loss_schedule={"gamma": lambda t: 10 * t}, early_stopping=True, patience=2,
        scoring=lambda clf, X, y: next(scores), max_epochs=10,
    ).fit(X, Y)  # fmt: skip
    assert clf.n_iter_ == 4
    assert clf.loss_.gamma == 1.0


@pytest.mark.parametrize("y", [LABELS], ids=["labels"])
def test_loss_of_labels_is_scheduled(y):
    clf = small(loss="focal", loss_schedule={"gamma": lambda t: 1 + t}).fit(X, y)
    assert clf.loss_.gamma == 1.5
    assert np.isfinite(clf.predict_proba(X)).all()


def test_unknown_name_is_an_error_before_training():
    clf = small(loss="focal", loss_schedule={"gama": lambda t: t})
    with pytest.raises(ValueError, match=r"\['gama'\], which FocalLoss does not have.*'gamma'"):
        clf.fit(X, Y)


@pytest.mark.parametrize("name", ["weight", "reduction", "ignore_index"])
def test_what_is_no_matter_of_epochs_is_an_error(name):
    with pytest.raises(ValueError, match="does not have"):
        small(loss="focal", loss_schedule={name: lambda t: None}).fit(X, Y)


def test_value_out_of_range_is_an_error():
    clf = small(loss="focal", loss_schedule={"gamma": lambda t: -1.0})
    with pytest.raises(ValueError, match="'gamma' parameter of FocalLoss"):
        clf.fit(X, Y)
    assert not hasattr(clf, "classes_")


def test_number_in_place_of_a_callable_is_an_error():
    with pytest.raises(ValueError, match=r"loss_schedule\['gamma'\] must be a callable"):
        small(loss="focal", loss_schedule={"gamma": 1.0}).fit(X, Y)


# -- the learning rate -----------------------------------------------------------------------------


def test_step_schedule():
    progress = [0, 0.5, 0.79, 0.8, 0.85, 0.9, 0.99]
    assert [LR_SCHEDULES["step"](t) for t in progress] == [1, 1, 1, 0.1, 0.1, 0.01, 0.01]


def test_step_schedule_changes_with_the_epoch():
    clf = small(lr_schedule="step", max_epochs=10, lr=1.0, optimizer="sgd").fit(X, Y)
    assert clf.history_[:, "lr"] == pytest.approx([1.0] * 8 + [0.1, 0.01])


def test_warmup_cosine_schedule():
    factor = LR_SCHEDULES["warmup_cosine"]
    assert [factor(0), factor(0.05), factor(1)] == pytest.approx([0.04, 1, 0])
    assert factor(0.025) == pytest.approx(0.52)
    assert factor(0.525) == pytest.approx(0.5)


# -- as parameters ---------------------------------------------------------------------------------


def halving(progress):
    return 1 - progress / 2


def test_grid_search_over_schedules():
    grid = {
        "class_weight_schedule": [None, 0.5, "cumulative", halving],
        "averaging": [None, "ema"],
        "sharpness": [0.05],
        "gradient_clipping": [1.0],
    }
    search = GridSearchCV(small(class_weight="balanced", loss="bce", max_epochs=2), grid, cv=2)
    assert np.isfinite(search.fit(X, Y).cv_results_["mean_test_score"]).all()


def test_clone_keeps_every_schedule():
    params = {
        "loss": "focal", "loss_schedule": {"gamma": halving}, "class_weight": "balanced",
        "class_weight_schedule": 0.5, "sampler": "class_balanced", "sampler_schedule": 0.5,
        "gradient_clipping": 1.0, "sharpness": 0.1, "averaging": "swa",
    }  # fmt: skip
    clf = clone(small(**params, max_epochs=4))
    assert {key: clf.get_params()[key] for key in params if key != "loss_schedule"} == {
        key: value for key, value in params.items() if key != "loss_schedule"
    }
    assert clf.loss_schedule["gamma"] is halving
    one, other = parameters_of(clf.fit(X, Y)), parameters_of(clone(clf).fit(X, Y))
    np.testing.assert_array_equal(one, other)
