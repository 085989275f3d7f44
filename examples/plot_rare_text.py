"""
Rare reports in text: a small transformer
=========================================

Customers write about a device, and few of the reports tell of a danger: "the battery of my son
smoked". The same words are harmless in "the charger never smoked" and in "the cable burned , the
battery fell". A sentence is a row of word numbers, and sentences have from 3 to 30 words; the
transformer asks for the mask of the words. This page compares remedies for the imbalance, and shows
which words the net looks at. A small grammar makes the sentences, so that nothing is downloaded.
A model of Hugging Face takes the place of this transformer unchanged: see :doc:`/sequences`.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.special import logit
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from torch import nn

from imbtorch import ImbalancedNetClassifier

quick = "--quick" in sys.argv  # little data and few epochs

# %%
# A grammar of reports
# --------------------
# A report has one to three clauses. It tells of a danger if a battery or a charger gets hot in one
# of them, and this is not denied. Every word occurs in reports of both classes.

CRITICAL, OTHER = ("battery", "charger"), ("screen", "cable", "speaker", "box")
HOT, MILD = ("smoked", "burned", "melted"), ("broke", "fell", "flickered", "cracked")
OWNERS = ("", "", "you sent", "of my son", "from the shop")
TIMES = ("", "", "suddenly", "again")
OPENINGS = ("", "", "yesterday", "hello ,", "to my surprise")
ENDINGS = ("", "", "please help", "what now ?", "thank you")


def clause(rng):
    """Write a statement about a part; return it, and whether it tells of a danger."""
    critical, hot, denied = rng.random(3) < (0.3, 0.3, 0.4)
    if critical and hot:
        denied = rng.random() < 0.75
    part, verb = rng.choice(CRITICAL if critical else OTHER), rng.choice(HOT if hot else MILD)
    words = ("the", part, rng.choice(OWNERS), "never" if denied else "", rng.choice(TIMES), verb)
    return " ".join(filter(None, words)), critical and hot and not denied


def report(rng):
    """Write one to three statements; return them, and whether one tells of a danger."""
    clauses, dangers = zip(*(clause(rng) for _ in range(rng.integers(1, 4))), strict=True)
    words = rng.choice(OPENINGS), rng.choice((" , ", " and ")).join(clauses), rng.choice(ENDINGS)
    return " ".join(filter(None, words)), any(dangers)


rng = np.random.default_rng(0)
n = 600 if quick else 2500
reports, dangers = map(np.array, zip(*(report(rng) for _ in range(2 * n)), strict=True))
y = np.where(dangers, "danger", "other")
train, test = slice(0, n), slice(n, None)

# %%
# Words become numbers from 1 on: 0 is what shorter sentences of a batch are padded with.

vocabulary = {word: i for i, word in enumerate(sorted(set(" ".join(reports).split())), start=1)}


def as_numbers(sentences):
    """Return an array of word numbers for each sentence."""
    return [np.array([vocabulary[word] for word in text.split()]) for text in sentences]


X = as_numbers(reports)
lengths = [len(row) for row in X]
print(f"{n} reports to train on, {np.mean(y[train] == 'danger'):.1%} tell of a danger")
print(f"{len(vocabulary)} different words, {min(lengths)} to {max(lengths)} in a report")
print(
    *(
        f"{y[i]:>8}: {reports[i]}"
        for i in (*np.flatnonzero(dangers)[:2], *np.flatnonzero(~dangers)[:2])
    ),
    sep="\n",
)

# %%
# A transformer
# -------------
# An argument named ``mask`` gets True where there is a word. torch's layers want the opposite. The
# arguments of the constructor are parameters: ``module__n_words`` must be set, ``module__width``
# may be.


class Transformer(nn.Module):
    """One layer of attention over words and their places."""

    def __init__(self, input_shape, n_outputs, n_words, width=32):
        super().__init__()
        self.words = nn.Embedding(n_words, width, padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.3)
        angle = torch.arange(64).unsqueeze(1) / 50 ** (torch.arange(0, width, 2) / width)
        self.register_buffer("places", torch.cat([angle.sin(), angle.cos()], dim=1))
        self.layer = nn.TransformerEncoderLayer(
            width, nhead=2, dim_feedforward=2 * width, batch_first=True, norm_first=True
        )
        self.head = nn.Linear(width, n_outputs)

    def forward(self, x, mask):  # int64 (b, t), bool (b, t)
        h = self.words(x) + self.places[: x.shape[1]]
        h = self.layer(h, src_key_padding_mask=~mask)
        return self.head(h.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(dim=1))


# %%
# Remedies, and counts of words
# -----------------------------
# Counts of words, and of pairs and triples of neighbours, are what a linear model can use.

REMEDIES = {
    "cross-entropy": {"loss": "cross_entropy"},
    "balanced weights": {"loss": "cross_entropy", "class_weight": "balanced"},
    "focal, balanced weights": {"loss": "focal", "class_weight": "balanced"},
    "logit adjustment": {"loss": "logit_adjusted"},
}
models = {
    name: ImbalancedNetClassifier(
        Transformer, lr=0.01, batch_size=64, max_epochs=2 if quick else 12, random_state=0
    ).set_params(module__n_words=len(vocabulary) + 1, **parameters)
    for name, parameters in REMEDIES.items()
}
for name, longest in {"counts of words": 1, "counts of up to 3": 3}.items():
    models[name] = make_pipeline(
        CountVectorizer(ngram_range=(1, longest)),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )

results = {}
print(f"{'':<26}{'average precision':>18}{'balanced accuracy':>19}")
for name, model in models.items():
    rows = reports if name.startswith("counts") else X
    model.fit(rows[train], y[train])
    score = model.predict_proba(rows[test])[:, 0]  # of "danger", the first of classes_
    results[name] = (
        average_precision_score(y[test] == "danger", score),
        balanced_accuracy_score(y[test], model.predict(rows[test])),
    )
    print(f"{name:<26}{results[name][0]:>18.3f}{results[name][1]:>19.3f}")

# %%
# Counts do not say which part burned: the order of the words decides, and the transformer learns
# it. Few reports are dangerous, and the epochs are few, so that much depends on the seed: with two
# other seeds the average precision was 0.91 and 0.59 with cross-entropy, 0.78 and 0.76 with
# balanced weights, 0.59 and 0.67 with the focal loss, and 0.90 and 0.88 with logit adjustment,
# which alone was good each time. The balanced accuracy was higher with every remedy than with plain
# cross-entropy, for each of the seeds.
#
# What the net looks at
# ---------------------
# Each word is left out in turn, which only shortens the row. Words without which the log-odds of a
# danger fall speak for it, and are red; words without which they rise are blue. The last sentence
# tells of a danger, and the net misses it.

SENTENCES = (
    "the battery of my son suddenly smoked",
    "the battery of my son never smoked",
    "the cable burned and the battery fell",
    "the screen fell and the charger you sent melted",
)
net = models["logit adjustment"]

fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.6), width_ratios=[1, 1.5])
lines = np.arange(len(results))
for k, (label, marker) in enumerate((("average precision", "o"), ("balanced accuracy", "s"))):
    values = [scores[k] for scores in results.values()]
    left.plot(values, lines, marker, color=("#D55E00", "#0072B2")[k], markersize=8, label=label)
left.set_yticks(lines, results)
left.set(xlim=(0.2, 1.03), ylim=(len(results) - 0.5, -0.5))
left.legend(loc="upper left", fontsize=9)

for line, sentence in enumerate(SENTENCES):
    words = sentence.split()
    shorter = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    probability = net.predict_proba(as_numbers([sentence, *shorter]))[:, 0]
    falls = logit(probability[0]) - logit(probability[1:])
    place = 0.0
    for word, fall in zip(words, falls, strict=True):
        colour = plt.get_cmap("RdBu_r")(0.5 + np.clip(fall / 20, -0.3, 0.3))
        box = {"facecolor": colour, "edgecolor": "none", "pad": 2.5}
        right.text(place, line, word, family="monospace", fontsize=9, va="center", bbox=box)
        place += 0.85 * len(word) + 1
    right.text(50, line, f"{probability[0]:.3f}", va="center", ha="right", fontsize=10)
right.set(xlim=(0, 50), ylim=(len(SENTENCES) - 0.5, -0.8))
right.set_title("probability of a danger", loc="right", fontsize=10)
right.set_axis_off()

plt.show()
