"""Model cards: what they say is what was fitted, and nothing in them breaks the markdown."""

import re

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from torch import nn

from imbtorch import (
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    finetune_head,
    tau_normalize,
)
from imbtorch._common.versions import versions
from tests.toy import small, table

X, Y = table(200, rate=0.1)


def sections(card):
    """Bodies by title."""
    parts = re.split(r"^## (.*)$", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows_of(text):
    """Cells of a table, without its two head lines."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [re.split(r" (?<!\\)\| ", line.strip("|").strip()) for line in lines[2:]]


def test_card_of_a_classifier():
    clf = small(
        loss="focal", class_weight="balanced", target_prior="train", batch_size=50, max_epochs=3
    )
    card = sections(clf.fit(X, Y).model_card({"average precision": 0.71234567}))
    assert list(card) == [
        "Data", "Probabilities", "Model", "Training", "Metrics", "Versions", "Loading",
    ]  # fmt: skip
    counts, weights = clf.class_counts_, clf.class_weight_
    assert rows_of(card["Data"]) == [
        [str(i), f"{counts[i]:g}", f"{counts[i] / 200:g}", f"{weights[i]:.6g}"] for i in (0, 1)
    ]
    effective, described = np.array(rows_of(card["Probabilities"]))[:, 1:].astype(float).T
    assert effective == pytest.approx(clf.effective_prior_, abs=1e-5)
    assert described == pytest.approx(clf.class_prior_, abs=1e-5)
    assert "`target_prior`: train" in card["Probabilities"]
    assert "FocalLoss(gamma=2.0)" in card["Model"]
    assert "- class_weight: balanced" in card["Model"]
    for fact in ("epochs: 3", "batch size: 50", "optimizer: adamw", "device: cpu", "float32"):
        assert fact in card["Training"]
    assert f"last epoch: {clf.history_[-1]['train_loss']:.6g}" in card["Training"]
    assert rows_of(card["Metrics"]) == [["average precision", "0.712346"]]
    assert all(f"- {name}: " in card["Versions"] for name in versions())
    assert "module" not in card["Loading"]


def test_population_without_target_prior_is_the_effective_one():
    clf = small(class_weight="balanced", loss="cross_entropy").fit(X, Y)
    assert [row[1:] for row in rows_of(sections(clf.model_card())["Probabilities"])] == [
        ["0.5", "0.5"]
    ] * 2


@pytest.mark.parametrize("loss", ["hinge", "cdt"])
def test_scores_are_not_called_probabilities(loss):
    said = sections(small(loss=loss).fit(X, Y).model_card())["Probabilities"]
    assert "not probabilities" in said
    assert not rows_of(said)


def test_best_epoch_under_early_stopping():
    clf = small(early_stopping=True, patience=2, max_epochs=8).fit(X, Y)
    scores = [record["valid_score"] for record in clf.history_]
    best = max(i for i, score in enumerate(scores, 1) if score == max(scores))
    assert f"- its epoch (kept): {best}" in clf.model_card()
    assert f"- rows trained on: {int(clf.class_counts_.sum())}" in clf.model_card()


def test_own_module_is_needed_to_load():
    assert "module=..." in sections(small(nn.Linear(5, 1)).fit(X, Y).model_card())["Loading"]


def test_odd_labels_and_names_do_not_break_the_markdown():
    odd = ["a|b", "x\ny", "`<b>` *c* [d](e)", "# f", "n" * 500]
    labels = np.array(odd, dtype=object)[np.arange(200) % 5]
    clf = small(class_weight={"a|b": 2}).fit(X, labels)
    card = clf.model_card({"# worse | than": 1.0})
    assert card.count("\n## ") == 7
    assert card.count("\n# ") == 0
    cells = rows_of(sections(card)["Data"])
    assert [len(row) for row in cells] == [4] * 5
    assert cells[1][0] == r"\`\<b\>\` \*c\* \[d\](e)"
    assert {row[0] for row in cells} >= {r"a\|b", r"x\\ny", r"\# f", "n" * 77 + "..."}


def test_many_classes_are_abbreviated():
    rng = np.random.default_rng(0)
    y = np.concatenate([np.arange(1000), np.zeros(50, int), rng.integers(1000, size=3000)])
    clf = small(max_epochs=1).fit(rng.normal(size=(len(y), 3)), y)
    cells = rows_of(sections(clf.model_card())["Data"])
    assert len(cells) == 21
    assert cells[0][0] == "0"  # the most frequent first
    assert cells[10][0] == "(980 more)"
    assert float(cells[-1][1]) == clf.class_counts_.min()


def test_labels_a_row():
    Y3 = np.stack([Y, 1 - Y, X[:, 0] > 0], axis=1).astype(int)
    clf = small(loss="bce", class_weight="balanced", target_prior="train").fit(X, Y3)
    card = sections(clf.model_card())
    assert [float(row[1]) for row in rows_of(card["Data"])] == Y3.sum(axis=0).tolist()
    rows = rows_of(card["Probabilities"])
    assert [float(row[1]) for row in rows] == pytest.approx([0.5] * 3)
    assert [float(row[2]) for row in rows] == pytest.approx(Y3.mean(axis=0), abs=1e-5)


def test_card_of_a_regressor():
    weight = np.where(Y == 1, 3.0, 1.0)
    reg = ImbalancedNetRegressor(
        loss="huber", density_weight="lds", validation_fraction=0.2, max_epochs=2, random_state=0
    ).fit(X, 7 + X[:, :2], weight)
    card = sections(reg.model_card())
    assert "Probabilities" not in card
    assert [float(row[1]) for row in rows_of(card["Data"])] == pytest.approx(reg.target_mean_, 1e-5)
    assert f"- rows trained on: {160}" in card["Data"]
    assert "their weight" in card["Data"]
    assert "- density_weight: lds" in card["Model"]
    assert "HuberLoss(delta=" in card["Model"]
    assert "best validation score" in card["Training"]


def test_card_of_an_ensemble():
    clf = NetEnsembleClassifier(small(target_prior="uniform"), 3, random_state=7)
    card = sections(clf.fit(X, Y).model_card())
    assert "- members: 3" in card["Model"]
    assert "BalancedSubsetSampler" in card["Model"]
    assert "- random_state: 7" in card["Training"]
    assert [row[2] for row in rows_of(card["Probabilities"])] == ["0.5", "0.5"]


@pytest.mark.parametrize("stage", [finetune_head, lambda clf, X, Y: tau_normalize(clf, 0.5)])
def test_card_after_a_second_stage(stage):
    first = small(loss="cross_entropy").fit(X, Y)
    assert "## Training" in stage(first, X, Y).model_card()


def test_card_after_partial_fit():
    clf = small().partial_fit(X[:100], Y[:100], classes=[0, 1]).partial_fit(X[100:], Y[100:])
    assert "- rows trained on: 200" in clf.model_card()


def test_unfitted():
    with pytest.raises(NotFittedError):
        small().model_card()
