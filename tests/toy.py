"""Small data and a small, quick classifier for the tests of the estimator."""

import numpy as np
from hypothesis import settings
from sklearn.datasets import make_classification

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.features import TableFeatures

# for tests with hypothesis: the same examples every time, however busy the machine is
steady = settings(deadline=None, derandomize=True, database=None)


def table(n=300, *, rate=0.15, n_classes=2, n_features=5, seed=0, class_sep=1.5):
    """Return an imbalanced table; class 0 is frequent, the others share the rest."""
    weights = [1 - rate] if n_classes == 2 else [1 - rate, *[rate / (n_classes - 1)] * n_classes]
    return make_classification(
        n,
        n_features,
        n_informative=n_features - 2,
        n_redundant=0,
        n_classes=n_classes,
        n_clusters_per_class=1,
        weights=weights[:n_classes],
        flip_y=0,
        class_sep=class_sep,
        random_state=seed,
    )


def overlapping(n, rate, *, n_features=4, shift=1.0, seed=0):
    """Return two shifted Gaussians, of which class 1 has ``round(n * rate)`` rows."""
    rng = np.random.default_rng(seed)
    y = np.zeros(n, dtype=int)
    y[: round(n * rate)] = 1
    rng.shuffle(y)
    X = rng.normal(size=(n, n_features))
    X[:, :2] += shift * y[:, None]
    return X, y


def small(module=None, **params):
    """Return a classifier that trains a tiny net for two epochs."""
    defaults = {"max_epochs": 2, "random_state": 0}
    return ImbalancedNetClassifier(
        MLP((8,)) if module is None else module, **{**defaults, **params}
    )


def plain_columns():
    """Return features that scale numbers and embed none, so that the net is the module alone."""
    return TableFeatures(numeric_embedding=None)


def parameters_of(clf):
    """Return all trained numbers of a classifier as one vector."""
    return np.concatenate([p.detach().cpu().numpy().ravel() for p in clf.module_.parameters()])
