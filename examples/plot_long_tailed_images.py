"""
Long-tailed digits: remedies for a convolutional net
====================================================

The most frequent digit has 100 times the training images of the rarest one; the test images are
balanced. This page compares plain cross-entropy, balanced softmax, LDAM with deferred re-weighting,
and classifier re-training (cRT). The images are the test part of MNIST where it is found, else
scikit-learn's small digits.
"""

import gzip
import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import recall_score
from sklearn.model_selection import train_test_split
from torch import nn

from imbtorch import CosineLinear, ImbalancedNetClassifier, finetune_head
from imbtorch.datasets import make_long_tailed
from imbtorch.metrics import recall_by_frequency
from imbtorch.plotting import ClassRecallDisplay

quick = "--quick" in sys.argv  # little data and few epochs
RATIO = 100

# %%
# A net with a choice of heads
# ----------------------------
# LDAM needs logits that are cosines; the other losses take plain logits.


class ConvNet(nn.Module):
    """Two convolutions and a hidden layer; the head may give cosines."""

    def __init__(self, input_shape, n_outputs, *, head=nn.Linear):
        super().__init__()
        side = input_shape[1] // 4
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * side * side, 64), nn.ReLU()),
        )
        self.head = head(64, n_outputs)

    def forward(self, x):
        return self.head(self.features(x))


def cosine_net(input_shape, n_outputs):
    """Build the same net with a head for margins."""
    return ConvNet(input_shape, n_outputs, head=CosineLinear)


# %%
# Four remedies
# -------------
# Each one takes a few parameters of the classifier. cRT takes the net that was trained with
# cross-entropy, and trains its head again on balanced rows.


def net(seed, module=ConvNet, **parameters):
    """Configure a classifier."""
    return ImbalancedNetClassifier(
        module, max_epochs=2 if quick else 20, batch_size=64, random_state=seed, **parameters
    )


def fit_all(X, y, seed):
    """Fit a classifier per remedy."""
    plain = net(seed, loss="cross_entropy").fit(X, y)
    ldam = net(seed, cosine_net, loss="ldam", class_weight="balanced", class_weight_schedule=0.6)
    return {
        "cross-entropy": plain,
        "balanced softmax": net(seed, loss="balanced_softmax").fit(X, y),
        "LDAM-DRW": ldam.fit(X, y),
        "cRT": finetune_head(plain, X, y, method="crt", random_state=seed),
    }


# %%
# Recall where images are few
# ---------------------------
# The numbers are means over seeds; the data are split and thinned, and the nets trained, once for
# each seed. The environment variable ``IMBTORCH_DATA`` names the folder of the images.

folder = Path(os.environ.get("IMBTORCH_DATA", "."))
image_file = folder / "mnist-t10k-images-idx3-ubyte.gz"
label_file = folder / "mnist-t10k-labels-idx1-ubyte.gz"
if image_file.is_file() and label_file.is_file():
    name = "MNIST, 14 x 14 pixels"
    with gzip.open(image_file) as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16)
    with gzip.open(label_file) as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    # halved: a net trains four times as fast
    X = pixels.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5)) / 255
else:
    name = "scikit-learn's digits"
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 1, 8, 8) / 16
X = X.astype(np.float32)
n_seeds = 1 if quick else 3
recalls, few, truths, predictions = {}, {}, [], {}
for seed in range(n_seeds):
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.4, stratify=y, random_state=seed
    )
    X_tail, y_tail = make_long_tailed(X_train, y_train, RATIO, random_state=seed)
    truths.append(y_test)
    for strategy, clf in fit_all(X_tail, y_tail, seed).items():
        predicted = clf.predict(X_test)
        predictions.setdefault(strategy, []).append(predicted)
        recalls.setdefault(strategy, []).append(recall_score(y_test, predicted, average=None))
        groups = recall_by_frequency(y_test, predicted, y_tail)
        few.setdefault(strategy, []).append(groups["few"])

print(f"{name}: {len(y_tail):,} training images, {RATIO} to 1; seeds: {n_seeds}")
print(f"{'':<18}{'balanced accuracy':>20}{'classes of < 20 images':>26}{'worst class':>14}")
for strategy, values in recalls.items():
    accuracy = np.mean(values, axis=1)  # balanced accuracy is the mean recall
    cell = f"{accuracy.mean():.3f} ± {accuracy.std():.3f}"
    worst = np.mean(np.min(values, axis=1))
    print(f"{strategy:<18}{cell:>20}{np.mean(few[strategy]):>26.3f}{worst:>14.3f}")

# %%
# All three remedies raise the recall of the digits with few images, and lower that of the frequent
# ones by a few hundredths at most. On MNIST the simplest of them, balanced softmax, helps most; it
# takes one parameter. cRT changes the head of the net only, and helps less.

ClassRecallDisplay.from_predictions(
    np.concatenate(truths),
    {strategy: np.concatenate(parts) for strategy, parts in predictions.items()},
    y_tail,
)

plt.show()
