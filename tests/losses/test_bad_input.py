"""Bad input to every registered loss: the message names what is wrong, and nothing becomes NaN."""

import pytest
import torch

from imbtorch.losses import BaseLoss, BCELoss, SmoothAPLoss, all_losses
from imbtorch.losses._whole_batch import WholeBatchMixin
from tests.losses.inputs import COUNTS, LABEL_COUNTS, batch, labels, prepared, value_and_gradient

SETTINGS = [cls(**params) for cls in all_losses().values() for params in cls._test_params]
ONE_OF_EACH = [cls(**cls._test_params[-1]) for cls in all_losses().values()]


def has_sigmoid_form(loss):
    return isinstance(loss, WholeBatchMixin) or type(loss).per_label is not BaseLoss.per_label


def learns_counts(loss):
    """Whether ``prepare`` learns something of the counts that the loss cannot do without."""
    return type(loss)._prepare is not BaseLoss._prepare and not isinstance(loss, SmoothAPLoss)


def needs_counts(loss):
    given = isinstance(loss, BCELoss) and not isinstance(loss.pos_weight, str)
    return learns_counts(loss) and not given


WITH_LABELS = [loss for loss in ONE_OF_EACH if has_sigmoid_form(loss)]
LEARNING = [loss for loss in ONE_OF_EACH if learns_counts(loss)]
NEEDY = [loss for loss in SETTINGS if needs_counts(loss)]


def every(losses):
    return pytest.mark.parametrize("loss", losses, ids=repr)


# -- targets -------------------------------------------------------------------------------------


@every(ONE_OF_EACH)
@pytest.mark.parametrize("wrong", [3, 7, -1])
def test_class_out_of_range_names_class_and_columns(loss, wrong):
    logits, target = batch()
    target[4] = wrong
    with pytest.raises(ValueError, match=rf"class {wrong}\b.* 3 columns"):
        prepared(loss)(logits, target)


@every(ONE_OF_EACH)
@pytest.mark.parametrize("shape", [(11,), (12, 1), (12, 2), ()], ids=str)
def test_target_of_wrong_shape(loss, shape):
    with pytest.raises(ValueError, match="softmax form") as caught:
        prepared(loss)(batch()[0], torch.zeros(shape, dtype=torch.long))
    assert str(shape) in str(caught.value)


@every(ONE_OF_EACH)
def test_float_targets_where_indices_are_meant(loss):
    logits, target = batch()
    with pytest.raises(ValueError, match=r"integers.*torch\.float64"):
        prepared(loss)(logits, target.double())


# -- weights -------------------------------------------------------------------------------------


@every(ONE_OF_EACH)
@pytest.mark.parametrize("n_weights", [2, 4])
def test_class_weights_of_wrong_length(loss, n_weights):
    weight = [1.0] * n_weights
    with pytest.raises(ValueError, match=rf"weight must be 3.*length {n_weights}"):
        prepared(loss, weight=weight)
    ready = prepared(loss)
    ready.weight = weight  # after prepare
    with pytest.raises(ValueError, match=rf"weight.*\b{n_weights}\b.* 3 columns"):
        ready(*batch())


@every(ONE_OF_EACH)
@pytest.mark.parametrize("shape", [(11,), (3,), (12, 3), (12, 1)], ids=str)
def test_row_weights_of_wrong_shape(loss, shape):
    # (12, 1) would broadcast to twelve times twelve rows
    with pytest.raises(ValueError, match="weight") as caught:
        prepared(loss)(*batch(), torch.ones(shape))
    assert str(shape) in str(caught.value)


# -- counts --------------------------------------------------------------------------------------


def uses(loss, logits, target):
    """Everything that reads the counts, as functions of no argument."""
    yield lambda: loss(logits, target)
    yield lambda: loss.log_posterior(logits)
    yield lambda: loss.log_odds(logits)


@every(SETTINGS)
@pytest.mark.parametrize(
    "counts", [[8, 0, 2], [0, 0, 5], [8, 0], [0, 8]], ids=lambda counts: str(counts)
)
def test_class_without_rows(loss, counts):
    n_classes = len(counts)
    ready = prepared(loss, counts, reduction="sum")
    for scale in (1.0, 1e4):
        logits, target = batch(n_classes=n_classes)
        value, grad = value_and_gradient(lambda z, y=target: ready(z, y), scale * logits)
        assert value.isfinite()
        assert grad.isfinite().all()
        assert ready.log_posterior(scale * logits).isfinite().all()
    shift = ready.log_prior_shift()
    assert shift is None or shift.isfinite().all()
    uniform = torch.full((n_classes,), 1 / n_classes, dtype=torch.float64).log()
    bias = ready.initial_bias(uniform)
    assert (bias is None) == (not loss.has_posterior)
    assert bias is None or bias.isfinite().all()


@every([loss for loss in SETTINGS if has_sigmoid_form(loss)])
def test_labels_without_positives_or_negatives(loss):
    ready = prepared(loss, [[10, 0], [0, 10], [8, 2]], reduction="sum")
    logits, target = labels()
    target[0] = 0
    for scale in (1.0, 1e4):
        value, grad = value_and_gradient(lambda z: ready(z, target), scale * logits)
        assert value.isfinite()
        assert grad.isfinite().all()
        assert ready.log_odds(scale * logits).isfinite().all()


@every(NEEDY)
def test_forgotten_prepare_is_named(loss):
    fresh = loss.__sklearn_clone__()
    forgotten = pytest.raises(
        ValueError, match=r"needs the c.*call\s+loss\.prepare\(class_counts\)"
    )
    with forgotten as caught:
        fresh(*batch())
    assert type(loss).__name__ in str(caught.value)
    if has_sigmoid_form(loss):
        with pytest.raises(ValueError, match=r"call\s+loss\.prepare\(class_counts\)"):
            fresh(*labels())


def test_losses_that_need_counts_are_found_above():
    names = {loss.name for loss in NEEDY}
    assert {"logit_adjusted", "ldam", "label_aware_smoothing", "class_balanced", "bce"} <= names
    assert not names & {"cross_entropy", "focal", "hinge", "smooth_ap"}


@every(NEEDY)
@pytest.mark.parametrize("counts", [(5, 3), (5, 3, 2, 1)], ids=len)
def test_counts_of_another_number_of_classes(loss, counts):
    # they would broadcast, or be read off at the wrong class
    with pytest.raises(ValueError, match=r"prepared for|factors"):
        prepared(loss, counts)(*batch())


@every([loss for loss in LEARNING if has_sigmoid_form(loss)])
@pytest.mark.parametrize("counts", [LABEL_COUNTS[:2], LABEL_COUNTS + ((5, 5),)], ids=len)
def test_counts_of_another_number_of_labels(loss, counts):
    n_labels = len(counts)
    with pytest.raises(ValueError, match=rf"\b{n_labels}\b.*\b3\b|\b3\b.*\b{n_labels}\b"):
        prepared(loss, counts)(*labels())


@every(ONE_OF_EACH)
@pytest.mark.parametrize("counts", [[0, 0, 0], [1, -1, 2], [1, float("nan"), 2], [], 5], ids=str)
def test_counts_that_are_no_counts(loss, counts):
    with pytest.raises(ValueError, match="class_counts must be finite"):
        prepared(loss, counts)


@every(WITH_LABELS)
def test_target_outside_zero_and_one_of_another_shape_is_no_label(loss):
    logits, target = labels()
    with pytest.raises(ValueError, match="sigmoid form"):
        prepared(loss, LABEL_COUNTS)(logits, target[:, :2])


def test_counts_of_the_tests_fit_their_classes():
    assert len(COUNTS) == len(LABEL_COUNTS) == 3
