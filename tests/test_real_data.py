"""The estimator on real data; skipped where the data are not at hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import ImbalancedNetClassifier

TEST_FOLDS = (136, 129, 122, 115)


@pytest.fixture(scope="module")
def fraud(data_dir):
    with np.load(data_dir / "fraud_transactions.npz") as data:
        return {key: data[key] for key in ("X", "y", "day", "customer")}


def handbook_fold(fraud, start):
    """Rows to train and to test on, as the Fraud Detection Handbook splits them."""
    day, customer, is_fraud = fraud["day"], fraud["customer"], fraud["y"] == 1
    train = np.flatnonzero((day >= start) & (day < start + 7))
    compromised = set(customer[train][is_fraud[train]])
    test = []
    for delay in range(7):
        known = (day >= start + 6) & (day <= start + 6 + delay) & is_fraud
        rows = np.flatnonzero(day == start + 14 + delay)
        test.append(rows[~np.isin(customer[rows], list(compromised | set(customer[known])))])
    return train, np.concatenate(test)


def card_precision(score, fraud, rows, k=100):
    """Mean over days of the share of compromised customers among the top k, each found once."""
    found, daily = set(), []
    for day in np.unique(fraud["day"][rows]):
        today = rows[fraud["day"][rows] == day]
        today = today[~np.isin(fraud["customer"][today], list(found))]
        best = {}
        for row in today:
            card = fraud["customer"][row]
            best[card] = max(best.get(card, -np.inf), score[row])
        top = sorted(best, key=best.get, reverse=True)[:k]
        hits = set(fraud["customer"][today][fraud["y"][today] == 1]) & set(top)
        daily.append(len(hits) / k)
        found |= hits
    return np.mean(daily)


@pytest.mark.slow
def test_handbook_split_has_the_published_sizes(fraud):
    train, test = handbook_fold(fraud, 115)
    sizes = len(train), fraud["y"][train].sum(), len(test), fraud["y"][test].sum()
    assert sizes == (67_240, 598, 58_264, 385)


@pytest.mark.slow
def test_default_estimator_matches_the_best_published_net(fraud):
    results = []
    for start in TEST_FOLDS:
        train, test = handbook_fold(fraud, start)
        model = make_pipeline(StandardScaler(), ImbalancedNetClassifier(random_state=0))
        model.fit(fraud["X"][train], fraud["y"][train])
        score = np.full(len(fraud["y"]), np.nan)
        score[test] = model.decision_function(fraud["X"][test])
        y = fraud["y"][test]
        results.append(
            (
                roc_auc_score(y, score[test]),
                average_precision_score(y, score[test]),
                card_precision(score, fraud, test),
            )
        )
    auc, ap, cp100 = np.mean(results, axis=0)
    # published for the best of 162 skorch candidates: .876, .675, .303
    assert auc >= 0.875
    assert ap >= 0.67
    assert cp100 >= 0.300


@pytest.mark.slow
def test_posterior_of_fraud_is_calibrated_after_class_weights(fraud):
    train, test = handbook_fold(fraud, 115)
    scaler = StandardScaler().fit(fraud["X"][train])
    clf = ImbalancedNetClassifier(
        loss="cross_entropy", class_weight="balanced", max_epochs=4, random_state=0
    ).fit(scaler.transform(fraud["X"][train]), fraud["y"][train])
    X_test, rate = scaler.transform(fraud["X"][test]), fraud["y"][train].mean()
    raw = clf.predict_proba(X_test)[:, 1].mean()
    corrected = clf.set_params(target_prior="train").predict_proba(X_test)[:, 1].mean()
    assert raw > 5 * rate
    assert 0.5 * rate < corrected < 2 * rate


@pytest.mark.slow
def test_mammography_ranks_better_than_logistic_regression(data_dir):
    table = np.genfromtxt(data_dir / "mammography.csv", delimiter=",", dtype=str)
    X, y = table[:, :-1].astype(float), np.char.strip(table[:, -1], "'")
    model = make_pipeline(StandardScaler(), ImbalancedNetClassifier(random_state=0))
    scores = cross_validate(
        model, X, y, cv=StratifiedKFold(3, shuffle=True, random_state=0), scoring="roc_auc"
    )["test_score"]
    assert scores.mean() > 0.93  # logistic regression: .919


class Recurrent(torch.nn.Module):
    """An LSTM over (n, time, features), as a user would write it."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.lstm = torch.nn.LSTM(input_shape[-1], 16, batch_first=True)
        self.output = torch.nn.Linear(16, n_outputs)

    def forward(self, x):
        return self.output(self.lstm(x)[0][:, -1])


@pytest.mark.slow
def test_lstm_finds_closed_eyes_in_eeg_windows(data_dir):
    table = np.genfromtxt(data_dir / "eeg_eye_state.csv", delimiter=",", skip_header=1)
    signal, closed = table[:, :-1], table[:, -1].astype(int)
    signal = signal - np.median(signal, axis=0)
    spread = np.median(np.abs(signal), axis=0)  # a few sensor spikes would dominate a deviation
    signal = np.clip(signal / spread, -10, 10)
    starts = np.arange(0, len(signal) - 32, 8)
    windows = np.stack([signal[s : s + 32] for s in starts])
    state = np.where(closed[starts + 31] == 1, "closed", "open")
    train, test = np.arange(len(starts)) % 4 != 0, np.arange(len(starts)) % 4 == 0
    clf = ImbalancedNetClassifier(
        Recurrent, loss="cross_entropy", class_weight="balanced", lr=0.01, max_epochs=15,
        random_state=0,
    )  # fmt: skip
    clf.fit(windows[train], state[train])
    assert clf.n_features_in_ == 32
    assert balanced_accuracy_score(state[test], clf.predict(windows[test])) > 0.75
