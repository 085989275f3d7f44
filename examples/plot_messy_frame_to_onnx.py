"""
From a messy frame to ONNX
==========================

Payments as a shop exports them: amounts in text, ages with gaps in five spellings, three hundred
shops, dates. They become a table, nets, a decision that finds seven frauds in ten, and one file
that any runtime for ONNX reads. The example needs one extra more than the others:
``pip install "imbtorch[demo,onnx]"``.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import pandas as pd
from sklearn.metrics import precision_recall_curve, precision_score, recall_score

import imbtorch
from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch.model_selection import TunedDecisionClassifierCV
from imbtorch.tables import TableError, read_table

quick = "--quick" in sys.argv  # little data and few epochs

# %%
# The frame
# ---------
# One payment in twenty is a fraud. Frauds are more frequent in some shops, at the end of the week,
# and among large amounts at night. The rest is chance.

rng = np.random.default_rng(0)
n = 3000 if quick else 9000
amount, shop = rng.lognormal(4, 1.2, n), rng.integers(0, 300, n)
time = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.sort(rng.uniform(0, 180, n)), "D")
risk = 2 * np.sin(7 * np.arange(300))[shop] + 1.5 * (time.day_of_week >= 5)
risk = risk + 2 * (time.hour < 6) * (np.log(amount) - 3) + rng.logistic(0, 0.5, n)
age = pd.Series(rng.integers(18, 80, n).astype(str))
frame = pd.DataFrame(
    {
        "payment": [f"P{number:06}" for number in range(n)],
        "time": time.strftime("%Y-%m-%d %H:%M"),
        "amount": [f"€{euros:,.2f}" for euros in amount],
        "shop": [f"shop {number}{' ' * (number % 2)}" for number in shop],
        "age": age.mask(rng.random(n) < 0.15, rng.choice(["", "?", "n/a", "unknown", "-"], n)),
        "label": np.where(risk > np.quantile(risk, 0.95), "fraud", "genuine"),
    }
)
print(frame.head(6).to_string(index=False))

# %%
# What can be decided, and what cannot
# ------------------------------------
# ``read_table`` reads the export. It does not guess: dates would be read as nanoseconds, so it asks
# what they mean. Hour and weekday are the answer here. All else it decides, with a note for each
# decision.

folder = tempfile.TemporaryDirectory()
export = Path(folder.name) / "payments.csv"
frame.to_csv(export, index=False)
try:
    read_table(export, "label")
except TableError as reason:
    print("Not yet:", reason)

frame["hour"] = pd.to_datetime(frame["time"]).dt.hour
frame["weekday"] = pd.to_datetime(frame["time"]).dt.day_name()
frame.drop(columns="time").to_csv(export, index=False)
table = read_table(export, "label")
print("\nRead, with these decisions:")
for note in table.notes:
    print("-", note)
print(table.X.dtypes.to_string())

# %%
# A net, and a promise
# --------------------
# The rows are in the order of time: the net learns from the first ones, and is measured on later
# ones. Scales, the values in place of gaps and an embedding of the shops are learned in ``fit``.
# The decision promises to find 70% of the frauds, with a confidence of 90%, and uses predictions
# for rows that a net has not seen: ``cv="oof"`` trains nothing more.

n_train = 2 * n // 3
X, y, X_new, y_new = table.X[:n_train], table.y[:n_train], table.X[n_train:], table.y[n_train:]
net = ImbalancedNetClassifier(target_prior="train", max_epochs=6 if quick else 12)
folds = NetEnsembleClassifier(net, 3 if quick else 5, subset="folds", random_state=0).fit(X, y)
decision = TunedDecisionClassifierCV(
    folds, constraint={"fraud": "recall>=0.7"}, confidence=0.9, cv="oof"
).fit(X, y)
alarms = decision.predict(X_new) == "fraud"
is_fraud = y_new == "fraud"
found, right = recall_score(is_fraud, alarms), precision_score(is_fraud, alarms, zero_division=0)
print(f"{is_fraud.sum()} frauds among {len(y_new):,} later payments, {alarms.sum()} alarms")
print(f"promised: recall 0.7; found: recall {found:.3f}, precision {right:.3f}")

# %%
# One file
# --------
# The file holds everything from the columns to the decision: the service needs neither torch nor
# imbtorch. Its inputs are the columns, each of shape ``(n, 1)``; ``""`` is a text that is missing,
# NaN a number that is missing.

file = Path(folder.name) / "payments.onnx"
imbtorch.to_onnx(decision, file)
session = onnxruntime.InferenceSession(file)


def inputs_of(rows):
    """Return the columns of a frame as the inputs of the file."""
    given = {}
    for column in session.get_inputs():
        values = rows[[column.name]]
        is_text = column.type == "tensor(string)"
        given[column.name] = (
            values.fillna("").to_numpy(object) if is_text else values.to_numpy(np.float32)
        )
    return given


probability, label = session.run(["probabilities", "label"], inputs_of(X_new))
expected = decision.predict_proba(X_new)
difference = np.abs(probability - expected)[:, 0]
print(f"{file.stat().st_size / 1e6:.1f} MB, inputs {[one.name for one in session.get_inputs()]}")
print(f"largest difference of the probabilities: {difference.max():.1e}")
print(f"equal to the last bit: {np.mean(difference == 0):.0%}")
print(f"share of equal decisions: {np.mean(label == decision.predict(X_new)):.2%}")
assert difference.max() < 1e-5

# %%
# A shop that was never seen, and a payment of which little is known, are no errors:

little_known = X_new.head(2).assign(shop=["shop 999", None], age=np.nan)
served = session.run(["probabilities"], inputs_of(little_known))[0]
assert np.allclose(served, decision.predict_proba(little_known), atol=1e-5)
print("probability of a fraud:", served[:, 0].round(4))

# %%
# On the left, what the promise costs: about the precision of the curve at this place, where the
# curve is that of the mean probability, and the decision is a majority of the nets. It keeps some
# distance from the promised recall, which is what the confidence demands. On the right, what the
# file costs: nothing. Its probabilities differ from those of torch by a few roundings to 32 bits,
# if at all; those that are equal to the last bit are not shown.

fig, (left, bits) = plt.subplots(1, 2, figsize=(9.5, 4))
precision, recall, _ = precision_recall_curve(is_fraud, expected[:, 0])
left.plot(recall[:-1], precision[:-1], color="0.6", label="all thresholds")
left.axvline(0.7, color="black", linestyle="--", label="promised recall")
left.plot(found, right, "o", color="#D55E00", markersize=9, label="the decision")
left.axhline(is_fraud.mean(), color="#0072B2", linestyle=":", label="alarms at random")
left.set(xlabel="recall on later payments", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
left.legend(loc="center left")
for name, marker, colour, rows in (
    ("genuine", ".", "#0072B2", ~is_fraud),
    ("fraud", "^", "#D55E00", is_fraud),
):
    rows = rows & (difference > 0)
    bits.loglog(expected[rows, 0], difference[rows], marker, color=colour, alpha=0.5, label=name)
ends = np.array([expected[:, 0].min(), 1])
bits.loglog(ends, np.finfo(np.float32).eps * ends, color="black", label="precision of 32 bits")
bits.set(xlabel="probability of a fraud", ylabel="difference between torch and ONNX")
bits.legend()
folder.cleanup()

plt.show()
