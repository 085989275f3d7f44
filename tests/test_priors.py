"""Prior shift, target priors, and the warning about double correction."""

import warnings

import numpy as np
import pytest
from scipy.special import softmax

from imbtorch.exceptions import DoubleCorrectionWarning
from imbtorch.priors import (
    check_double_correction,
    log_prior_ratio,
    normalize,
    resolve_target_prior,
)

CLASSES = np.array(["no", "yes"])
PRIOR = np.array([0.95, 0.05])


def shifted(positive, source, target):
    """Return probabilities of class 1 after a change of the prior."""
    positive = np.asarray(positive)
    proba = np.stack([1 - positive, positive], axis=1)
    ratio = log_prior_ratio(np.array([1 - source, source]), np.array([1 - target, target]))
    return softmax(np.log(proba) + ratio, axis=1)[:, 1]


def test_prior_shift_has_the_values_of_elkan():
    # Elkan (2001), base rate .5 -> .02; reference/loss-catalogue.md, section 8
    np.testing.assert_allclose(
        shifted([0.1, 0.5, 0.9], 0.5, 0.02), [0.002262443, 0.02, 0.155172414], rtol=1e-6
    )


def test_prior_shift_undoes_undersampling_as_dal_pozzolo_has_it():
    # p = b p_s / (b p_s - p_s + 1) for a share b of the negatives that is kept
    keep, rate = 0.05, 0.03
    sampled_rate = rate / (rate + keep * (1 - rate))
    np.testing.assert_allclose(
        shifted([0.1, 0.5, 0.9], sampled_rate, rate), [0.005524862, 0.047619048, 0.310344828],
        rtol=1e-6,
    )  # fmt: skip


def test_weighted_posterior_is_restated_for_the_training_population():
    # section 8: weights (1, 2, 5) turn eta = (.6, .3, .1) into q*
    prior, weights = np.array([0.6, 0.3, 0.1]), np.array([1.0, 2.0, 5.0])
    q = np.array([0.352941, 0.352941, 0.294118])
    ratio = log_prior_ratio(normalize(prior * weights), prior)
    np.testing.assert_allclose(softmax(np.log(q) + ratio), [0.6, 0.3, 0.1], rtol=1e-5)


def test_same_prior_shifts_nothing():
    np.testing.assert_array_equal(log_prior_ratio(PRIOR, PRIOR), [0, 0])


def test_class_the_source_has_never_seen_is_left_alone():
    ratio = log_prior_ratio(np.array([0.9, 0.1, 0.0]), np.array([0.4, 0.3, 0.3]))
    assert ratio[2] == 0
    assert np.isfinite(ratio).all()


@pytest.mark.filterwarnings("error")
def test_class_that_neither_population_has_is_left_alone_in_silence():
    prior = np.array([0.9, 0.1, 0.0])
    np.testing.assert_array_equal(log_prior_ratio(prior, prior), [0, 0, 0])


def test_class_that_the_target_lacks_becomes_impossible():
    assert shifted([0.5], 0.5, 0.0) == 0


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("train", [0.95, 0.05]),
        ("uniform", [0.5, 0.5]),
        ({"yes": 0.2, "no": 0.8}, [0.8, 0.2]),
        ([0.7, 0.3], [0.7, 0.3]),
        (np.array([1.0, 0.0]), [1, 0]),
    ],
)
def test_target_prior_in_every_form(target, expected):
    np.testing.assert_allclose(resolve_target_prior(target, CLASSES, PRIOR), expected)


@pytest.mark.parametrize(
    "wrong", [{"yes": 1.0}, {"yes": 0.5, "no": 0.3, "maybe": 0.2}, {"yes": 0.5, "nein": 0.5}]
)
def test_target_prior_names_every_class_once(wrong):
    with pytest.raises(ValueError, match=r"\['no', 'yes'\]"):
        resolve_target_prior(wrong, CLASSES, PRIOR)


@pytest.mark.parametrize("wrong", [[1.0], [0.2, 0.3, 0.5], [[0.5, 0.5]], 0.5])
def test_target_prior_of_wrong_shape_says_both_shapes(wrong):
    with pytest.raises(ValueError, match=r"shape .*\(2,\)"):
        resolve_target_prior(wrong, CLASSES, PRIOR)


@pytest.mark.parametrize(
    "wrong", [[0.5, 0.6], [1.5, -0.5], [np.nan, 1.0], [np.inf, 0.0], [0.0, 0.0]]
)
def test_target_prior_that_is_no_distribution_is_an_error(wrong):
    with pytest.raises(ValueError, match="sum to 1"):
        resolve_target_prior(wrong, CLASSES, PRIOR)


def test_rounding_in_a_target_prior_is_forgiven():
    prior = resolve_target_prior([1 / 3 + 1e-8, 2 / 3], CLASSES, PRIOR)
    assert prior.sum() == pytest.approx(1, abs=1e-15)


# -- double correction -----------------------------------------------------------------------------

FULL = -np.log(PRIOR)  # the log effect of a setting that removes the imbalance
NOTHING = np.zeros(2)


def quiet(prior, effects):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DoubleCorrectionWarning)
        check_double_correction(prior, effects)


def test_two_full_corrections_are_named():
    effects = {"sampler=A": NOTHING, "class_weight=B": FULL, "loss=C": FULL}
    with pytest.warns(DoubleCorrectionWarning, match="class_weight=B and loss=C") as caught:
        check_double_correction(PRIOR, effects)
    assert "sampler=A" not in str(caught[0].message)
    assert "2.0 times" in str(caught[0].message)


def test_three_corrections_are_named():
    effects = {"sampler=A": FULL, "class_weight=B": FULL, "loss=C": FULL}
    with pytest.warns(DoubleCorrectionWarning, match="sampler=A and class_weight=B and loss=C"):
        check_double_correction(PRIOR, effects)


def test_one_correction_is_none_too_many():
    quiet(PRIOR, {"a": FULL, "b": NOTHING})


def test_one_strong_correction_is_the_users_decision():
    quiet(PRIOR, {"class_weight": 5 * FULL, "loss": NOTHING})


def test_two_halves_make_one_correction():
    quiet(PRIOR, {"class_weight": FULL / 2, "sampler": FULL / 2})


def test_corrections_against_each_other_cancel():
    quiet(PRIOR, {"class_weight": FULL, "sampler": -FULL})


def test_balanced_data_have_nothing_to_correct():
    quiet(np.array([0.5, 0.5]), {"class_weight": np.log([1, 3]), "loss": np.log([1, 3])})


def test_nearly_balanced_data_have_next_to_nothing_to_correct():
    prior = np.array([0.51, 0.49])
    quiet(prior, {"class_weight": np.log([1.0, 2.0]), "loss": -np.log(prior)})


def test_a_class_of_weight_zero_is_left_out_of_the_judgement():
    prior = np.array([0.5, 0.4, 0.1])
    with np.errstate(divide="ignore"):
        dropped = np.log(np.array([1.0, 1.0, 0.0]))
    quiet(prior, {"class_weight": dropped, "loss": -np.log(prior)})
