"""Metrics against hand-computed values, slow definitions and their own symmetries."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean
from sklearn.datasets import make_classification, make_regression
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import average_precision_score, make_scorer, recall_score
from sklearn.model_selection import cross_val_score, cross_validate

from imbtorch.metrics import (
    adaptive_ece,
    card_precision_at_k,
    classwise_ece,
    error_by_density,
    mean_average_precision,
    min_class_recall,
    precision_at_k,
    recall_by_frequency,
    sera,
)

NAN = float("nan")
BOTH_ECE = pytest.mark.parametrize("ece", [classwise_ece, adaptive_ece])


def labelled(n=500, n_classes=4, seed=0):
    """Return imbalanced labels, predictions and probabilities."""
    rng = np.random.default_rng(seed)
    masses = 3.0 ** -np.arange(n_classes)
    y = np.concatenate([np.arange(n_classes), rng.choice(n_classes, n, p=masses / masses.sum())])
    proba = rng.dirichlet(masses, len(y))
    return y, rng.permutation(y), proba


def transactions(seed=0, n=800, decimals=6):
    """Return labels, scores, days and customers."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.15).astype(int)
    score = np.round(rng.random(n) + 0.4 * y, decimals)
    return y, score, rng.integers(3, 9, n), rng.integers(0, 120, n)


# Recall


def test_recall_by_frequency_by_hand():
    y_true = ["a"] * 4 + ["b"] * 2 + ["c"] * 2 + ["d"]
    y_pred = ["a", "a", "a", "b", "b", "b", "c", "a", "a"]
    train = {"a": 101, "b": 100, "c": 20, "d": 19}
    expected = {"many": 0.75, "medium": 0.75, "few": 0.0}
    assert recall_by_frequency(y_true, y_pred, train) == expected
    labels = np.repeat(list(train), list(train.values()))
    assert recall_by_frequency(y_true, y_pred, labels) == expected


def test_group_without_classes_is_nan():
    result = recall_by_frequency([0, 1], [0, 1], {0: 500, 1: 500})
    assert result == pytest.approx({"many": 1.0, "medium": NAN, "few": NAN}, nan_ok=True)


def test_class_without_training_rows_has_few():
    assert recall_by_frequency([0, 7], [0, 0], np.zeros(500, int))["few"] == 0


def test_thresholds_move_the_groups():
    y, predicted, _ = labelled()
    recalls = recall_score(y, predicted, average=None)
    train = {0: 5, 1: 50, 2: 500, 3: 5000}
    result = recall_by_frequency(y, predicted, train, thresholds=(50, 500))
    assert result == pytest.approx(
        {"many": recalls[3], "medium": recalls[1:3].mean(), "few": recalls[0]}
    )


def test_min_class_recall_is_the_least_recall():
    y, predicted, proba = labelled()
    recalls = recall_score(y, predicted, average=None)
    assert min_class_recall(y, predicted) == pytest.approx(recalls.min(), abs=1e-12)
    weighted = recall_score(y, predicted, average=None, sample_weight=proba[:, 0])
    assert min_class_recall(y, predicted, proba[:, 0]) == pytest.approx(weighted.min(), abs=1e-12)


def test_perfect_predictions_have_recall_one():
    y, *_ = labelled()
    assert min_class_recall(y, y) == 1.0
    assert recall_by_frequency(y, y, y, thresholds=(30, 200)) == {"many": 1, "medium": 1, "few": 1}


def test_class_without_weight_is_left_out():
    assert min_class_recall([0, 0, 1], [0, 0, 0], sample_weight=[1, 1, 0]) == 1.0


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: np.array(["ant", "bee", "cat", "dog"])[y],
        lambda y: np.array(["ant", "bee", "cat", "dog"], dtype=object)[y],
        lambda y: pd.Series(["ant", "bee", "cat", "dog"]).iloc[y],
        lambda y: pd.Categorical.from_codes(y, ["ant", "bee", "cat", "dog"]),
        lambda y: (y + 5.0).tolist(),
        lambda y: y[:, None],
    ],
    ids=["str", "object", "pandas", "categorical", "float", "column"],
)
def test_labels_may_have_any_type(convert):
    y, predicted, proba = labelled()
    as_given = convert(y), convert(predicted)
    assert min_class_recall(*as_given) == min_class_recall(y, predicted)
    train = np.repeat(y, 2)
    expected = recall_by_frequency(y, predicted, train)
    assert recall_by_frequency(*as_given, convert(train)) == pytest.approx(expected, nan_ok=True)
    assert classwise_ece(as_given[0], proba) == classwise_ece(y, proba)


# Calibration


def slow_classwise_ece(y, proba, n_bins):
    gaps = []
    for code in range(proba.shape[1]):
        gap = 0.0
        for number in range(n_bins):
            low, high = number / n_bins, (number + 1) / n_bins
            inside = (proba[:, code] > low) & (proba[:, code] <= high)
            if number == 0:
                inside |= proba[:, code] == 0
            if inside.any():
                share, mean = (y[inside] == code).mean(), proba[inside, code].mean()
                gap += inside.mean() * abs(share - mean)
        gaps.append(gap)
    return np.mean(gaps)


def slow_adaptive_ece(y, proba, n_bins):
    gaps = []
    for code in range(proba.shape[1]):
        order = np.argsort(proba[:, code])
        for rows in np.array_split(order, n_bins):
            gaps.append(abs((y[rows] == code).mean() - proba[rows, code].mean()))
    return np.mean(gaps)


def test_classwise_ece_by_hand():
    # class 1: bin (0, .5] holds .2 and .4 with share 1/2, bin (.5, 1] holds .9 with share 1;
    # class 0 mirrors it
    proba = [[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]]
    expected = 2 / 3 * abs(0.5 - 0.3) + 1 / 3 * 0.1
    assert classwise_ece([0, 1, 1], proba, n_bins=2) == pytest.approx(expected)


def test_adaptive_ece_by_hand():
    # class 1: halves (.1, .2) with share 0 and (.3, .8) with share 1
    expected = (0.15 + 0.45) / 2
    assert adaptive_ece([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8], n_bins=2) == pytest.approx(expected)


def test_equal_probabilities_share_a_bin():
    # all rows in one bin, whatever n_bins: share .25 against .25
    assert adaptive_ece([0, 1, 0, 0], [0.25] * 4, n_bins=4) == pytest.approx(0)


@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_ece_equals_the_slow_definition(n_bins):
    y, _, proba = labelled(596)  # 600 rows, the same number in each bin
    expected = slow_classwise_ece(y, proba, n_bins)
    assert classwise_ece(y, proba, n_bins) == pytest.approx(expected, abs=1e-12)
    expected = slow_adaptive_ece(y, proba, n_bins)
    assert adaptive_ece(y, proba, n_bins) == pytest.approx(expected, abs=1e-12)


def test_bin_edges_survive_rounding():
    # 0.07 * 100 is 7.000000000000001: the bin (.06, .07] still holds it, together with .065;
    # in the column of class 0, .935 and .93 lie in two bins
    p = np.array([0.065, 0.07])
    expected = (abs(0.5 - p.mean()) + (0.065 + 0.93) / 2) / 2
    assert classwise_ece([0, 1], p, 100) == pytest.approx(expected, abs=1e-12)


@BOTH_ECE
def test_certain_and_right_has_no_error(ece):
    y, *_ = labelled()
    assert ece(y, np.eye(4)[y]) == 0
    assert ece([0, 1], [0.0, 1.0]) == 0
    assert ece([0, 1], [1.0, 0.0]) == 1


@BOTH_ECE
def test_calibrated_probabilities_have_little_error(ece):
    rng = np.random.default_rng(0)
    p = rng.beta(0.3, 3, 100_000)
    y = (rng.random(len(p)) < p).astype(int)
    assert ece(y, p) < 0.005
    assert ece(y, np.sqrt(p)) > 0.05


@BOTH_ECE
def test_one_column_means_the_second_of_two(ece):
    y, _, proba = labelled(n_classes=2)
    assert ece(y, proba[:, 1]) == pytest.approx(ece(y, proba))
    assert ece(np.array(["no", "yes"])[y], proba[:, 1]) == pytest.approx(ece(y, proba))


@BOTH_ECE
def test_labels_name_the_columns(ece):
    y, _, proba = labelled()
    order = [2, 0, 3, 1]
    assert ece(y, proba[:, order], labels=order) == pytest.approx(ece(y, proba))
    rows = y != 3
    assert np.isfinite(ece(y[rows], proba[rows], labels=[0, 1, 2, 3]))
    with pytest.raises(ValueError, match="give all of them as labels"):
        ece(y[rows], proba[rows])


# Ranking


def slow_card_precision(y, score, day, customer, k):
    found, daily = set(), []
    for date in sorted(set(day)):
        best, frauds = {}, set()
        for row in np.flatnonzero(day == date):
            card = customer[row]
            if card not in found:
                best[card] = max(best.get(card, -np.inf), score[row])
                if y[row]:
                    frauds.add(card)
        checked = sorted(sorted(best), key=best.get, reverse=True)[:k]
        daily.append(len(frauds & set(checked)) / k)
        found |= frauds & set(checked)
    return np.mean(daily)


@pytest.mark.parametrize("decimals", [1, 6])
@pytest.mark.parametrize("k", [1, 7, 100, 1000])
def test_card_precision_equals_the_slow_definition(k, decimals):
    data = transactions(decimals=decimals)
    assert card_precision_at_k(*data, k) == pytest.approx(slow_card_precision(*data, k), abs=1e-12)


def test_card_precision_by_hand():
    # day 1: cards b (.9, fraud) and a (.8) are checked; day 2: b is out, c (.5, fraud), a (.1)
    y, score = [0, 1, 0, 1, 1, 0], [0.8, 0.9, 0.2, 0.99, 0.5, 0.1]
    days, cards = [1, 1, 1, 2, 2, 2], ["a", "b", "c", "b", "c", "a"]
    assert card_precision_at_k(y, score, days, cards, k=2) == 0.5
    assert card_precision_at_k(y, score, days, cards, k=1) == 1.0
    assert card_precision_at_k(y, score, days, cards, k=4) == 0.25


def test_card_precision_of_names_dates_and_other_labels():
    y, score, day, customer = transactions()
    expected = card_precision_at_k(y, score, day, customer, 10)
    dates = np.datetime64("2018-04-01") + day
    names = np.array([f"card {number:03}" for number in customer], dtype=object)
    kind = np.array(["good", "fraud"])[y]
    assert card_precision_at_k(kind, score, dates, names, 10, pos_label="fraud") == expected


def test_precision_at_k_by_hand():
    y, score = [0, 1, 0, 1, 1], [0.5, 0.9, 0.8, 0.7, 0.1]
    assert [precision_at_k(y, score, k) for k in range(1, 6)] == pytest.approx(
        [1, 1 / 2, 2 / 3, 1 / 2, 3 / 5]
    )


def test_precision_at_k_of_ties_is_the_mean_over_their_orders():
    # one clear hit, then one of three ties of which one is positive
    assert precision_at_k([1, 0, 1, 0, 1], [2, 1, 1, 1, 0], 2) == pytest.approx((1 + 1 / 3) / 2)
    rng = np.random.default_rng(0)
    y, score = rng.integers(0, 2, 30), rng.integers(0, 4, 30)
    drawn = [y[np.argsort(-(score + 0.5 * rng.random(30)))[:11]].mean() for _ in range(4000)]
    assert precision_at_k(y, score, 11) == pytest.approx(np.mean(drawn), abs=0.01)


def test_perfect_ranking_has_precision_one():
    y, _, day, customer = transactions()
    assert precision_at_k(y, y, int(y.sum())) == 1.0
    assert card_precision_at_k(y, y, day, customer, k=1) == 1.0
    assert precision_at_k(y, -y, 50) == 0.0
    assert precision_at_k(y, np.where(y, np.inf, -np.inf), int(y.sum())) == 1.0


def test_fold_without_positives_has_precision_zero():
    assert precision_at_k([0, 0, 0], [1, 2, 3], 2) == 0
    assert precision_at_k(["no", "no"], [1, 2], 2, pos_label="yes") == 0


@pytest.mark.parametrize("rarer", [0, 1])
def test_mean_average_precision_is_of_the_rarer_class(rarer):
    y, score, *_ = transactions()
    codes = y if rarer else 1 - y
    expected = average_precision_score(y, score)
    assert mean_average_precision(codes, score if rarer else -score) == pytest.approx(expected)


@pytest.mark.parametrize("decimals", [1, 9])
@pytest.mark.parametrize("weighted", [False, True])
def test_mean_average_precision_over_classes_is_that_of_scikit_learn(decimals, weighted):
    rng = np.random.default_rng(0)
    codes, weights = rng.integers(0, 6, 90), rng.uniform(0.1, 3, 90)
    scores = rng.normal(size=(90, 8)).round(decimals)  # two classes have no rows
    weights = weights if weighted else None
    expected = [
        average_precision_score(codes == j, scores[:, j], sample_weight=weights) for j in range(6)
    ]
    assert mean_average_precision(codes, scores, weights) == pytest.approx(np.mean(expected))
    assert np.isnan(mean_average_precision(np.full(90, 2), scores))
    scores[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        mean_average_precision(codes, scores)


def test_weights_of_half_precision_are_added_up_exactly():
    rng = np.random.default_rng(0)
    codes, scores = rng.integers(0, 3, 60_000), rng.random((60_000, 3))
    weights = rng.uniform(0.5, 1.5, 60_000).astype(np.float16)
    exact = mean_average_precision(codes, scores, weights.astype(np.float64))
    assert mean_average_precision(codes, scores, weights) == exact


def test_many_classes_are_ranked_together(monkeypatch):
    sorted_sizes, argsort = [], np.argsort
    monkeypatch.setattr(
        np, "argsort", lambda a, **options: sorted_sizes.append(a.size) or argsort(a, **options)
    )
    codes = np.arange(1_000) % 500
    mean_average_precision(codes, np.random.default_rng(0).random((1_000, 500)))
    assert sorted_sizes == [500_000]


# Regression


def slow_error_by_density(y, predicted, train, low, high, width):
    groups = {"many": [], "medium": [], "few": []}
    for value, guess in zip(y, predicted, strict=True):
        number = sum(round(other / width) == round(value / width) for other in train)
        name = "few" if number < low else "many" if number > high else "medium"
        groups[name].append(abs(value - guess))
    return groups


@pytest.mark.matrix
@pytest.mark.parametrize("width", [1, 0.1])
@pytest.mark.parametrize(
    ("metric", "mean"),
    [("mae", np.mean), ("mse", lambda errors: np.mean(np.square(errors))), ("gmean", gmean)],
)
def test_error_by_density_equals_the_slow_definition(metric, mean, width):
    rng = np.random.default_rng(0)
    train, y = (np.round(rng.normal(20, 3, n)) * width for n in (400, 200))
    predicted = y + rng.normal(size=200)
    result = error_by_density(
        y, predicted, train, thresholds=(10, 40), bin_width=width, metric=metric
    )
    groups = slow_error_by_density(y, predicted, train, 10, 40, width)
    assert result == pytest.approx({name: mean(errors) for name, errors in groups.items()})


def test_bins_over_the_range_are_those_of_a_histogram():
    rng = np.random.default_rng(0)
    train, y = rng.gamma(2, 3, 1000), rng.gamma(2, 3, 300)
    y[:3] = train.min(), train.max(), train.max() + 1
    counts, edges = np.histogram(train, bins=20)
    place = np.clip(np.searchsorted(edges, y, side="right") - 1, 0, 19)
    rows = np.where((y < train.min()) | (y > train.max()), 0, counts[place])
    expected = {"many": rows > 100, "medium": (rows >= 20) & (rows <= 100), "few": rows < 20}
    result = error_by_density(y, np.zeros(300), train, n_bins=20)
    assert result == pytest.approx({name: y[group].mean() for name, group in expected.items()})


def test_error_by_density_of_constant_targets():
    result = error_by_density([3, 4], [4, 4], [3.0] * 200)
    assert result == pytest.approx({"many": 1, "medium": NAN, "few": 0}, nan_ok=True)


def test_perfect_regression_has_no_error():
    y = np.repeat([1.0, 2.0, 3.0], [200, 50, 5])
    for metric in ("mae", "mse", "gmean"):
        assert set(error_by_density(y, y, y, metric=metric).values()) == {0.0}
    assert sera(y, y, np.ones(len(y))) == 0


def test_sera_by_hand():
    # reference/loss-catalogue.md, section 4; R IRon's trapezoids give 1.075145
    assert sera([0, 1.5, 2], [0.2, 1, 3], [0, 0.3, 1]) == pytest.approx(1.075)


def test_sera_is_the_integral_over_relevance():
    rng = np.random.default_rng(0)
    y, predicted, phi = rng.normal(size=50), rng.normal(size=50), rng.random(50)
    steps = (np.arange(20_000) + 0.5) / 20_000
    curve = [(((predicted - y) ** 2)[phi >= step]).sum() for step in steps]
    assert sera(y, predicted, phi) == pytest.approx(np.mean(curve), rel=1e-3)
    assert sera(y, predicted, lambda target: np.abs(target) > 1) == pytest.approx(
        (((predicted - y) ** 2)[np.abs(y) > 1]).sum()
    )


# Symmetries


def cases():
    y, predicted, proba = labelled()
    data = transactions(decimals=1)  # with ties
    rng = np.random.default_rng(0)
    target = np.round(rng.normal(size=300), 1)
    guess, phi = target + rng.normal(size=300), rng.random(300)

    def shots(y, predicted, sample_weight=None):
        return recall_by_frequency(
            y, predicted, labelled()[0], thresholds=(30, 200), sample_weight=sample_weight
        )

    def density(y, predicted, sample_weight=None):
        return error_by_density(
            y, predicted, target, thresholds=(3, 9), metric="gmean", sample_weight=sample_weight
        )

    return {
        "recall_by_frequency": (shots, (y, predicted)),
        "min_class_recall": (min_class_recall, (y, predicted)),
        "classwise_ece": (classwise_ece, (y, proba)),
        "adaptive_ece": (adaptive_ece, (y, proba)),
        "adaptive_ece of ties": (adaptive_ece, (y == 0, np.round(proba[:, 0], 1))),
        "error_by_density": (density, (target, guess)),
        "sera": (sera, (target, guess, phi)),
        "precision_at_k": (lambda y, s: precision_at_k(y, s, 33), data[:2]),
        "card_precision_at_k": (lambda *d: card_precision_at_k(*d, k=9), data),
    }


CASES = cases()
UNWEIGHTED = {"precision_at_k", "card_precision_at_k"}


@pytest.mark.parametrize("name", CASES)
def test_order_of_rows_does_not_matter(name):
    metric, data = CASES[name]
    rows = np.random.default_rng(1).permutation(len(data[0]))
    assert metric(*(column[rows] for column in data)) == pytest.approx(metric(*data), rel=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if name not in UNWEIGHTED])
def test_weights_are_repetitions(name):
    metric, data = CASES[name]
    times = np.random.default_rng(2).integers(0, 4, len(data[0]))
    repeated = metric(*(np.repeat(column, times, axis=0) for column in data))
    assert metric(*data, sample_weight=times) == pytest.approx(repeated, rel=1e-9)


# Scorers


def test_metrics_are_scorers_of_classifiers():
    X, y = make_classification(400, weights=[0.8], random_state=0)
    y = np.array(["common", "rare"])[y]
    clf = LogisticRegression()
    ece = {"response_method": "predict_proba", "greater_is_better": False}
    ranked = {"response_method": ("decision_function", "predict_proba"), "pos_label": "rare"}
    scoring = {
        "recall": make_scorer(min_class_recall),
        "classwise": make_scorer(classwise_ece, **ece),
        "adaptive": make_scorer(adaptive_ece, labels=["common", "rare"], **ece),
        "top": make_scorer(precision_at_k, k=10, **ranked),
    }
    scores = cross_validate(clf, X, y, scoring=scoring, error_score="raise")
    assert scores["test_top"].mean() > 0.6
    assert (scores["test_adaptive"] < 0).all()
    prior = cross_validate(DummyClassifier(), X, y, scoring=scoring, error_score="raise")
    assert (prior["test_recall"] == 0).all()
    assert np.abs(prior["test_classwise"]).max() < 0.02  # calibrated, though useless


def test_sera_is_a_scorer_of_regressors():
    X, y = make_regression(200, 3, random_state=0)
    scorer = make_scorer(sera, greater_is_better=False, relevance=lambda target: target > 0)
    scores = cross_val_score(LinearRegression(), X, y, scoring=scorer, error_score="raise")
    np.testing.assert_allclose(scores, 0, atol=1e-6)


# Bad input

Y, S = [0, 1, 0], [0.1, 0.9, 0.2]
BAD = [
    (min_class_recall, ([0, 1], [0]), {}, "y_pred has 1 rows, expected 2"),
    (min_class_recall, ([], []), {}, "no rows"),
    (min_class_recall, ([0, 1], ["0", "1"]), {}, "strings or both hold numbers"),
    (min_class_recall, ([0, np.nan], [0, 1]), {}, "missing"),
    (min_class_recall, ([0, 1], [0, np.nan]), {}, "missing"),
    (min_class_recall, (["a", None], ["a", "b"]), {}, "missing"),
    (min_class_recall, (["a", "b"], pd.array(["a", pd.NA], dtype="string")), {}, "missing"),
    (min_class_recall, ([0.5, 1.2], [0, 1]), {}, "continuous"),
    (min_class_recall, (np.eye(2), np.eye(2)), {}, "1d"),
    (min_class_recall, ([0, 1], [0, 1], [1, -1]), {}, "sample_weight"),
    (min_class_recall, ([0, 1], [0, 1], [1, 1, 1]), {}, "sample_weight"),
    (recall_by_frequency, (Y, Y, {"0": 3, "1": 4}), {}, "y_train"),
    (recall_by_frequency, (Y, Y, {0: 3, 1: -4}), {}, "y_train"),
    (recall_by_frequency, (Y, Y, []), {}, "y_train has no rows"),
    (recall_by_frequency, (Y, Y, Y), {"thresholds": (100, 20)}, "thresholds"),
    (recall_by_frequency, (Y, Y, Y), {"thresholds": (1, 2, 3)}, "thresholds"),
    (error_by_density, (S, S, S), {"thresholds": (-1, 2)}, "thresholds"),
    (error_by_density, (S, S, S), {"metric": "rmse"}, "metric must be one of"),
    (error_by_density, (S, S, S), {"n_bins": 0}, "n_bins"),
    (error_by_density, (S, S, S), {"bin_width": 0}, "bin_width"),
    (error_by_density, (S, S[:2], S), {}, "y_pred has 2 rows"),
    (error_by_density, (S, S, [1, np.inf]), {}, "y_train holds NaN or infinity"),
    (sera, (S, S, [0, 1, 1.5]), {}, "relevance must lie"),
    (sera, (S, S, [0, 1]), {}, "relevance has 2 rows"),
    (sera, (S, [0, 1, np.nan], S), {}, "y_pred holds NaN"),
    (sera, (S, S, S, [1, 1, -1]), {}, "sample_weight"),
    (classwise_ece, (Y, [0.1, 0.9, 1.2]), {}, "proba"),
    (classwise_ece, (Y, [0.1, 0.9, np.nan]), {}, "proba"),
    (classwise_ece, (Y, [0.1, 0.9]), {}, "y_true has 3 rows, expected 2"),
    (classwise_ece, (Y, []), {}, "proba"),
    (classwise_ece, (Y, S), {"n_bins": 0}, "n_bins"),
    (adaptive_ece, (Y, np.full((3, 3), 1 / 3)), {}, "3 columns"),
    (adaptive_ece, (Y, S), {"labels": [1, 2]}, "labels must name"),
    (adaptive_ece, (Y, S), {"labels": ["0", "1"]}, "labels must name"),
    (adaptive_ece, ([0, 0, 0], S), {"labels": [0, 0]}, "labels must name"),
    (precision_at_k, (Y, S, 4), {}, "k =="),
    (precision_at_k, (Y, S, 0), {}, "k =="),
    (precision_at_k, (Y, [1, 2, np.nan], 1), {}, "NaN"),
    (precision_at_k, (["no", "yes"], [1, 2], 1), {}, "pos_label"),
    (precision_at_k, (["no", "yes"], [1, 2], 1), {"pos_label": "maybe"}, "pos_label"),
    (precision_at_k, ([1, 2], [1, 2], 1), {"pos_label": 3}, "pos_label"),
    (card_precision_at_k, (Y, S, [1, 2], Y), {}, "days has 2 rows"),
    (card_precision_at_k, (Y, S, Y, [1, 2]), {}, "customers has 2 rows"),
    (card_precision_at_k, (Y, S, [1, np.nan, 2], Y), {}, "days holds missing"),
    (card_precision_at_k, (Y, S, Y, Y, 0), {}, "k =="),
]


@pytest.mark.parametrize(("metric", "data", "options", "message"), BAD)
def test_bad_input_is_named(metric, data, options, message):
    with pytest.raises(ValueError, match=message):
        metric(*data, **options)


@pytest.mark.parametrize("k", [1.5, "3", None])
def test_k_is_a_whole_number(k):
    with pytest.raises(TypeError, match="k must be"):
        precision_at_k(Y, S, k)


@pytest.mark.parametrize("decimals", [1, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_average_precision_is_the_number_of_scikit_learn(decimals, dtype):
    rng = np.random.default_rng(0)
    for n in (2, 3, 50, 1_000):
        scores = rng.normal(size=n).round(decimals).astype(dtype)
        codes = (np.arange(n) == 0) | (rng.random(n) < 0.2)
        codes[1] = False
        rarer = codes if 2 * codes.sum() <= n else ~codes
        expected = average_precision_score(rarer, scores if rarer is codes else -scores)
        assert mean_average_precision(codes.astype(int), scores) == expected


@pytest.mark.parametrize("n_columns", [None, 2, 3, "labels"])
@pytest.mark.parametrize("weights", [[1, np.nan, 1, 1], [1, -1, 1, 1], [1, 1]])
def test_average_precision_checks_weights(n_columns, weights):
    codes, scores = np.array([0, 1, 0, 1]), np.linspace(0, 1, 4)
    if n_columns == "labels":
        codes, scores = np.column_stack([codes, 1 - codes]), np.column_stack([scores, -scores])
    elif n_columns is not None:
        scores = np.column_stack([scores] * n_columns)
    with pytest.raises(ValueError):  # noqa: PT011 - of scikit-learn, in several words
        mean_average_precision(codes, scores, np.array(weights, dtype=float))


def test_average_precision_of_scores_that_are_not_finite_is_an_error():
    with pytest.raises(ValueError, match="NaN"):
        mean_average_precision(np.array([0, 1, 0]), np.array([0.1, np.nan, 0.3]))
