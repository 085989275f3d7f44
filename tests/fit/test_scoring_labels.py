"""Scorers that have to know which label is positive are refused before the training."""

import re

import numpy as np
import pytest
import sklearn.metrics
from sklearn.metrics import fbeta_score, make_scorer

from imbtorch.training.run import Run
from tests.toy import small, table

X, Y = table(120)
WORDS = np.where(Y == 1, "yes", "no")
X3, Y3 = table(160, rate=0.4, n_classes=3)
NAMES = ["f1", "precision", "recall", "jaccard", "average_precision", "neg_brier_score"]


@pytest.fixture(autouse=True)
def epochs(monkeypatch):
    """Which epochs have begun."""
    begun = []
    open_epoch = Run.open_epoch
    monkeypatch.setattr(Run, "open_epoch", lambda run, e: begun.append(e) or open_epoch(run, e))
    return begun


def classifier(scoring):
    return small(scoring=scoring, validation_fraction=0.3)


def advice(scoring, X, y):
    """Return the scorer that the message of the error advises."""
    with pytest.raises(ValueError, match="cannot score the labels") as caught:
        classifier(scoring).fit(X, y)
    code = re.search(r"metrics: scoring=(make_scorer\(.*\))\.$", str(caught.value)).group(1)
    return str(caught.value), eval(code, vars(sklearn.metrics).copy())


@pytest.mark.parametrize(
    "scoring",
    [*NAMES, make_scorer(fbeta_score, beta=2), make_scorer(fbeta_score, beta=2, pos_label="Yes")],
    ids=str,
)
@pytest.mark.parametrize(
    "labels", [WORDS, WORDS.astype(object), 3 * Y + 2], ids=["words", "objects", "numbers"]
)
def test_metric_without_a_positive_label_is_refused(scoring, labels, epochs):
    if scoring == "neg_brier_score" and labels.dtype.kind == "i":
        pytest.skip("the larger number is the positive label")
    message, advised = advice(scoring, X, labels)
    assert epochs == []
    assert "pos_label" in message
    positive = np.unique(labels)[1]
    assert advised._kwargs["pos_label"] == positive
    classifier(advised).fit(X, labels)
    assert epochs == [0, 1]


@pytest.mark.parametrize("scoring", ["f1", "recall"])
def test_metric_of_two_classes_is_refused_for_three(scoring, epochs):
    message, advised = advice(scoring, X3, Y3)
    assert epochs == []
    assert "how to average" in message
    classifier(advised).fit(X3, Y3)
    assert epochs == [0, 1]


@pytest.mark.parametrize("labels", [Y, Y == 1, 2 * Y - 1], ids=["0 and 1", "truth", "signs"])
@pytest.mark.parametrize("scoring", NAMES)
def test_metric_knows_usual_labels(scoring, labels, global_rng_untouched):
    classifier(scoring).fit(X, labels)


@pytest.mark.parametrize(
    "scoring",
    ["f1_macro", "roc_auc", "balanced_accuracy", make_scorer(fbeta_score, beta=2, pos_label="yes")],
    ids=str,
)
def test_metric_that_knows_what_to_do_with_words(scoring):
    classifier(scoring).fit(X, WORDS)


def test_metric_of_the_user_is_called_for_nets_only():
    calls = []

    def agreement(y, predicted):
        calls.append(len(y))
        return float(np.mean(y == predicted))

    classifier(make_scorer(agreement)).fit(X, WORDS)
    assert len(calls) == 2


def test_error_of_the_trial_about_something_else_is_ignored():
    calls = []

    def odd(y, predicted, pos_label=None):
        calls.append(len(y))
        if len(calls) == 1:
            raise ZeroDivisionError
        return 0.0

    classifier(make_scorer(odd)).fit(X, WORDS)
    assert calls == [2, 36, 36]


def test_metric_of_one_label_is_refused_for_several(epochs):
    labels = np.column_stack([Y, 1 - Y])
    with pytest.raises(ValueError, match="average='macro'"):
        classifier("f1").set_params(loss="bce").fit(X, labels)
    assert epochs == []
    for scoring in ("f1_macro", "average_precision"):
        classifier(scoring).set_params(loss="bce").fit(X, labels)
