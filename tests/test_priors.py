"""Prior shift, target priors, and the warning about double correction."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning

from imbtorch._tasks.double_correction import check_double_correction
from imbtorch.exceptions import DoubleCorrectionWarning
from imbtorch.priors import (
    estimate_prior,
    log_prior_ratio,
    logit_adjust,
    normalize,
    resolve_label_prior,
    resolve_target_prior,
    shift_prior,
    undersampling_correction,
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
    "wrong", [{"yes": 1.0}, {"yes": 0.5, "nein": 0.5}, pd.Series({"yes": 0.5, "nein": 0.5})]
)
def test_target_prior_names_every_class_once(wrong):
    with pytest.raises(ValueError, match=r"\['no', 'yes'\]"):
        resolve_target_prior(wrong, CLASSES, PRIOR)


@pytest.mark.parametrize("kind", [dict, pd.Series])
def test_target_prior_may_name_a_class_that_a_fold_lacks(kind):
    found = resolve_target_prior(kind({"yes": 0.2, "no": 0.6, "maybe": 0.2}), CLASSES, PRIOR)
    np.testing.assert_allclose(found, [0.75, 0.25])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"yes": 0.2, "no": 0.8, "maybe": 0.2}, "sum 1.2"),
        ({"yes": 0.0, "no": 0.0, "maybe": 1.0}, "the share 0 to every class"),
        ({"yes": 0.6, "no": 0.6, "maybe": -0.2}, ">= 0"),
    ],
)
def test_further_shares_of_a_target_prior_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        resolve_target_prior(wrong, CLASSES, PRIOR)


def test_series_are_read_by_their_index():
    prior = pd.Series([0.9, 0.1], index=["yes", "no"])
    np.testing.assert_allclose(resolve_target_prior(prior, CLASSES, PRIOR), [0.1, 0.9])
    shares = pd.Series([0.1, 0.2, 0.3], index=[2, 0, 1])
    np.testing.assert_allclose(resolve_label_prior(shares, np.full(3, 0.5)), [0.2, 0.3, 0.1])
    with pytest.raises(ValueError, match="numbered from 0 to 2"):
        resolve_label_prior(pd.Series({"a": 0.1, "b": 0.2, "c": 0.3}), np.full(3, 0.5))
    with pytest.raises(ValueError, match=r"twice.*\['yes'\]"):
        resolve_target_prior(pd.Series([0.5, 0.5], index=["yes", "yes"]), CLASSES, PRIOR)


def test_polars_series_are_read_by_position():
    prior = pl.Series([0.9, 0.1])
    np.testing.assert_allclose(resolve_target_prior(prior, CLASSES, PRIOR), [0.9, 0.1])


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


def judge(prior, effects):
    """Judge settings of these names, without values."""
    check_double_correction(prior, {name: (None, effect) for name, effect in effects.items()})


def quiet(prior, effects):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DoubleCorrectionWarning)
        judge(prior, effects)


def test_value_of_a_setting_is_put_into_its_name():
    effects = {"class_weight={!r}": ("balanced", FULL), "loss={}": (7, FULL)}
    with pytest.warns(DoubleCorrectionWarning, match="class_weight='balanced' and loss=7 correct"):
        check_double_correction(PRIOR, effects)


def test_two_full_corrections_are_named():
    effects = {"sampler=A": NOTHING, "class_weight=B": FULL, "loss=C": FULL}
    with pytest.warns(DoubleCorrectionWarning, match="class_weight=B and loss=C") as caught:
        judge(PRIOR, effects)
    assert "sampler=A" not in str(caught[0].message)
    assert "2.0 times" in str(caught[0].message)


def test_three_corrections_are_named():
    effects = {"sampler=A": FULL, "class_weight=B": FULL, "loss=C": FULL}
    with pytest.warns(DoubleCorrectionWarning, match="sampler=A and class_weight=B and loss=C"):
        judge(PRIOR, effects)


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


# -- shift_prior -----------------------------------------------------------------------------------

P, Q, R = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6]), np.array([0.4, 0.35, 0.25])


def two(positive):
    positive = np.asarray(positive)
    return np.column_stack([1 - positive, positive])


def some_proba(n=50, n_classes=3):
    return np.random.default_rng(0).dirichlet(np.ones(n_classes), size=n)


def test_shift_has_the_values_of_elkan():
    result = shift_prior(two([0.1, 0.5, 0.9]), [0.5, 0.5], [0.98, 0.02])
    np.testing.assert_allclose(result[:, 1], [0.002262443, 0.02, 0.155172414], rtol=1e-6)


def test_shift_to_the_same_prior_changes_nothing():
    np.testing.assert_allclose(shift_prior(some_proba(), P, P), some_proba(), rtol=1e-12)


def test_shifts_compose_and_invert():
    there = shift_prior(some_proba(), P, Q)
    np.testing.assert_allclose(
        shift_prior(there, Q, R), shift_prior(some_proba(), P, R), rtol=1e-10
    )
    np.testing.assert_allclose(shift_prior(there, Q, P), some_proba(), rtol=1e-10)


def test_shift_is_bayes_rule():
    likelihood = np.array([[0.3, 0.5, 0.01]])
    before, after = likelihood * P, likelihood * Q
    np.testing.assert_allclose(
        shift_prior(before / before.sum(), P, Q), after / after.sum(), rtol=1e-12
    )


def test_shift_keeps_the_ranking_of_two_classes():
    proba = two(np.sort(np.random.default_rng(1).random(100)))
    assert (np.diff(shift_prior(proba, [0.5, 0.5], [0.999, 0.001])[:, 1]) > 0).all()


def test_shifted_rows_sum_to_one():
    result = shift_prior(some_proba().astype(np.float32), P, Q)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_shift_with_exact_zeros():
    certain = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    result = shift_prior(certain, P, Q)
    np.testing.assert_array_equal(result[0], [1, 0, 0])
    assert result[1, 2] == 0
    lacking = shift_prior(some_proba(), P, [0.5, 0.5, 0.0])
    np.testing.assert_array_equal(lacking[:, 2], 0)
    np.testing.assert_allclose(lacking.sum(axis=1), 1, rtol=1e-12)


def test_shift_with_extreme_priors_is_finite():
    result = shift_prior([[1e-300, 1.0]], [1 - 1e-12, 1e-12], [1e-12, 1 - 1e-12])
    assert np.isfinite(result).all()


def test_shift_leaves_classes_that_the_source_lacks_alone():
    result = shift_prior([[0.6, 0.3, 0.1]], [0.5, 0.5, 0.0], [0.4, 0.4, 0.2])
    np.testing.assert_allclose(result, np.array([[0.48, 0.24, 0.1]]) / 0.82)


def test_row_that_the_target_makes_impossible():
    with pytest.raises(ValueError, match=r"Row 1 .* impossible .* small frequency"):
        shift_prior([[0.5, 0.5], [0.0, 1.0]], [0.5, 0.5], [1.0, 0.0])


BAD_PROBA = [
    ([0.1, 0.9], r"shape \(2,\), expected \(n, n_classes\)"),
    ([[0.5], [0.5]], r"shape \(2, 1\)"),
    ([[0.5, 0.6]], "sum to 1"),
    ([[-0.5, 1.5]], ">= 0"),
    ([[np.nan, 1.0]], "NaN"),
]


@pytest.mark.parametrize(("proba", "message"), BAD_PROBA)
@pytest.mark.parametrize(
    "function",
    [
        lambda proba: shift_prior(proba, [0.5, 0.5], [0.5, 0.5]),
        lambda proba: undersampling_correction(proba, 0.5),
        lambda proba: estimate_prior(proba, [0.5, 0.5]),
    ],
    ids=["shift_prior", "undersampling_correction", "estimate_prior"],
)
def test_what_is_no_probability_is_an_error(function, proba, message):
    with pytest.raises(ValueError, match=message):
        function(proba)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([1.0], [0.5, 0.5], r"source has shape \(1,\), expected \(2,\)"),
        ([0.5, 0.5], [0.2, 0.3, 0.5], r"target has shape \(3,\), expected \(2,\)"),
        ([90, 10], [0.5, 0.5], "source must sum to 1"),
        ([0.5, 0.5], [1.5, -0.5], "target must be finite and >= 0"),
        ([np.nan, 0.5], [0.5, 0.5], "source must be finite"),
    ],
)
def test_bad_priors(source, target, message):
    with pytest.raises(ValueError, match=message):
        shift_prior([[0.5, 0.5]], source, target)


# -- logit_adjust ----------------------------------------------------------------------------------

LOGITS = np.array([[2, 0.5, -1], [0.1, -0.3, 0.8], [-1.2, 1.5, 0.3], [0, 0, 0]])
FREQUENCIES = np.array([0.8, 0.16, 0.04])


def test_logit_adjustment_has_its_closed_form():
    adjusted = logit_adjust(LOGITS, FREQUENCIES)
    assert LOGITS.argmax(axis=1).tolist() == [0, 2, 1, 0]
    assert adjusted.argmax(axis=1).tolist() == [1, 2, 2, 2]
    np.testing.assert_allclose(
        softmax(adjusted[0]), [0.321399536, 0.35856965, 0.320030814], rtol=1e-6
    )


def test_logit_adjustment_is_a_shift_to_uniform_classes():
    proba = softmax(LOGITS, axis=1)
    np.testing.assert_allclose(
        softmax(logit_adjust(LOGITS, FREQUENCIES), axis=1),
        shift_prior(proba, FREQUENCIES, np.full(3, 1 / 3)),
        rtol=1e-12,
    )


def test_logit_adjustment_takes_counts_and_a_strength():
    np.testing.assert_allclose(
        logit_adjust(LOGITS, [80, 16, 4]), logit_adjust(LOGITS, FREQUENCIES), rtol=1e-12
    )
    np.testing.assert_array_equal(logit_adjust(LOGITS, FREQUENCIES, tau=0), LOGITS)
    np.testing.assert_allclose(
        logit_adjust(LOGITS, FREQUENCIES, 0.5), LOGITS - 0.5 * np.log(FREQUENCIES), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("logits", "prior", "tau", "message"),
    [
        (LOGITS, [80, 20, 0], 1.0, "half the count of the rarest"),
        (LOGITS, [0.5, 0.5], 1.0, r"prior has shape \(2,\), expected \(3,\)"),
        (LOGITS[0], FREQUENCIES, 1.0, r"logits has shape \(3,\)"),
        (LOGITS * np.nan, FREQUENCIES, 1.0, "NaN"),
        (LOGITS, FREQUENCIES, np.inf, "tau must be finite"),
    ],
)
def test_bad_logit_adjustment(logits, prior, tau, message):
    with pytest.raises(ValueError, match=message):
        logit_adjust(logits, prior, tau)


# -- undersampling_correction ----------------------------------------------------------------------


def test_undersampling_correction_has_the_values_of_dal_pozzolo():
    expected = [0.005524862, 0.047619048, 0.310344828]
    for rate in (0.05, [0.05, 1.0]):
        result = undersampling_correction(two([0.1, 0.5, 0.9]), rate)
        np.testing.assert_allclose(result[:, 1], expected, rtol=1e-6)
        np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-12)


def test_undersampling_correction_is_a_prior_shift():
    rates = np.array([0.1, 0.5, 1.0])
    kept = normalize(P * rates)
    np.testing.assert_allclose(
        undersampling_correction(some_proba(), rates),
        shift_prior(some_proba(), kept, P),
        rtol=1e-10,
    )


def test_rates_of_one_change_nothing():
    result = undersampling_correction(some_proba(), np.ones(3))
    np.testing.assert_allclose(result, some_proba(), rtol=1e-12)


@pytest.mark.parametrize(
    ("proba", "rate", "message"),
    [
        (two([0.5]), 0.0, r"\(0, 1\]"),
        (two([0.5]), 5.0, "oversampling"),
        (two([0.5]), np.nan, r"\(0, 1\]"),
        (two([0.5]), [0.5, 0.5, 0.5], r"shape \(3,\), expected \(2,\)"),
        (some_proba(), 0.5, r"shape \(\), expected \(3,\)"),
    ],
)
def test_bad_keep_rate(proba, rate, message):
    with pytest.raises(ValueError, match=message):
        undersampling_correction(proba, rate)


# -- estimate_prior --------------------------------------------------------------------------------


def gaussian_posterior(n, drawn, described, seed=0):
    """Draw rows with class frequencies ``drawn``; their posterior under ``described``."""
    rng = np.random.default_rng(seed)
    y = rng.choice(len(drawn), n, p=drawn)
    x = rng.normal(size=n) + 2.0 * y
    scores = -((x[:, None] - 2.0 * np.arange(len(drawn))) ** 2) / 2 + np.log(described)
    return softmax(scores, axis=1), y


@pytest.mark.parametrize(
    ("source", "target"),
    [([0.9, 0.1], [0.6, 0.4]), ([0.5, 0.5], [0.97, 0.03]), ([0.6, 0.3, 0.1], [0.2, 0.3, 0.5])],
)
def test_estimated_prior_is_that_of_the_new_data(source, target):
    proba, y = gaussian_posterior(20_000, target, source)
    found = estimate_prior(proba, source)
    np.testing.assert_allclose(found, np.bincount(y) / len(y), atol=0.015)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    # the naive average is still half-way at the source
    assert np.abs(proba.mean(axis=0) - target).max() > 2 * np.abs(found - target).max()


def test_estimate_is_a_fixed_point():
    proba, _ = gaussian_posterior(2000, [0.6, 0.4], [0.9, 0.1])
    found = estimate_prior(proba, [0.9, 0.1])
    shifted_mean = shift_prior(proba, [0.9, 0.1], found).mean(axis=0)
    np.testing.assert_allclose(shifted_mean, found, atol=1e-7)


def test_estimate_weighs_rows():
    proba, _ = gaussian_posterior(300, [0.6, 0.4], [0.9, 0.1])
    weight = np.random.default_rng(0).integers(0, 3, 300)
    np.testing.assert_allclose(
        estimate_prior(proba, [0.9, 0.1], sample_weight=weight),
        estimate_prior(np.repeat(proba, weight, axis=0), [0.9, 0.1]),
        atol=1e-6,
    )


def test_estimate_with_certain_rows():
    proba = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    np.testing.assert_allclose(estimate_prior(proba, [0.5, 0.5]), [0.75, 0.25])


def test_estimate_that_has_not_converged_is_warned_of():
    proba, _ = gaussian_posterior(500, [0.6, 0.4], [0.9, 0.1])
    with pytest.warns(ConvergenceWarning, match="max_iter=2") as caught:
        estimate_prior(proba, [0.9, 0.1], max_iter=2)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("proba", "source", "weight", "message"),
    [
        (two([0.5]), [1.0, 0.0], None, "positive for every class"),
        (np.empty((0, 2)), [0.5, 0.5], None, "no rows"),
        (two([0.5]), [0.5, 0.5], [1.0, 2.0], r"shape \(2,\), expected \(1,\)"),
        (two([0.5]), [0.5, 0.5], [0.0], "positive sum"),
        (two([0.5]), [0.5, 0.5], [-1.0], ">= 0"),
    ],
)
def test_bad_input_of_the_estimate(proba, source, weight, message):
    with pytest.raises(ValueError, match=message):
        estimate_prior(proba, source, sample_weight=weight)
