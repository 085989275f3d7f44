"""Many rare labels: the tags of bibtex, and what pos_weight and other losses do to them.

7 395 bibliography entries as 1 836 sparse words, with 159 tags of which most are in one entry of a
hundred; a synthetic stand-in where the data are not at hand::

    python examples/many_labels.py

X and Y stay sparse. mAP is the average precision averaged over tags, F1 micro counts all
decisions alike, F1 macro all tags.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from shared_files import shared_file
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import average_precision_score, f1_score
from sklearn.model_selection import train_test_split

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.losses import BCELoss


def tagged_entries() -> tuple[str, Any, Any]:
    """Load features and labels as CSR matrices."""
    path = shared_file("bibtex.npz")
    if path is None:
        X, Y = make_multilabel_classification(
            3000, 400, n_classes=60, n_labels=2, sparse=True, random_state=0
        )
        return "synthetic tags", sparse.csr_array(X, dtype=np.float32), sparse.csr_array(Y)
    with np.load(path) as data:
        X, Y = (
            sparse.csr_array(
                (
                    np.ones(len(data[f"{name}_indices"]), dtype=np.float32),
                    data[f"{name}_indices"],
                    data[f"{name}_indptr"],
                ),
                shape=tuple(data[f"{name}_shape"]),
            )
            for name in "XY"
        )
    return "bibtex", X, Y


STRATEGIES: dict[str, dict[str, Any]] = {
    "binary cross-entropy": {"loss": "bce"},
    "pos_weight, balanced": {"loss": BCELoss("balanced")},
    "pos_weight, square root": {"loss": BCELoss("sqrt")},
    "focal": {"loss": "focal"},
    "asymmetric": {"loss": "asymmetric"},
    "distribution-balanced": {"loss": "distribution_balanced"},
    "logit adjustment": {"loss": "logit_adjusted"},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="of each net (%(default)s)")
    args = parser.parse_args(argv)
    name, X, Y = tagged_entries()
    train, test = train_test_split(np.arange(X.shape[0]), test_size=0.3, random_state=0)
    truth = Y[test].toarray()
    usable = truth.any(axis=0)  # average precision needs a positive
    share = np.asarray(Y.mean(axis=0)).ravel()
    print(f"{name}: {X.shape[0]:,} rows, {X.shape[1]:,} features, {Y.shape[1]} labels;", end=" ")
    print(f"half of the labels are in less than {np.median(share):.1%} of the rows")
    print(f"{'':<26}{'mAP':>8}{'F1 micro':>10}{'F1 macro':>10}{'tags a row':>12}{'seconds':>9}")
    for strategy, parameters in STRATEGIES.items():
        start = time.perf_counter()
        net = ImbalancedNetClassifier(
            MLP((256,)), **parameters, max_epochs=args.epochs, random_state=0
        ).fit(X[train], Y[train])
        seconds = time.perf_counter() - start
        scores, labels = net.decision_function(X[test]), net.predict(X[test])
        precision = average_precision_score(truth[:, usable], scores[:, usable], average="macro")
        micro, macro = (
            f1_score(truth, labels, average=average, zero_division=0)
            for average in ("micro", "macro")
        )
        per_row = labels.sum(axis=1).mean()
        print(
            f"{strategy:<26}{precision:>8.3f}{micro:>10.3f}{macro:>10.3f}{per_row:>12.2f}"
            f"{seconds:>9.1f}"
        )
    print(f"In truth a row has {truth.sum(axis=1).mean():.2f} tags.")


if __name__ == "__main__":
    main()
