"""A classifier that answers with probabilities computed from ``X``, so that tests know them."""

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin


class Given(ClassifierMixin, BaseEstimator):
    """``predict_proba`` is the softmax of ``X``; fit remembers what it was given."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        self.n_features_in_ = np.shape(X)[1]
        self.fitted_weight_ = sample_weight
        return self

    def predict_proba(self, X):
        return softmax(np.asarray(X, dtype=float), axis=1)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class GivenLabels(Given):
    """``predict_proba`` of each label is the sigmoid of its column of ``X``."""

    def fit(self, X, y):
        self.classes_ = np.arange(np.shape(y)[1])
        return self

    def predict_proba(self, X):
        return 1 / (1 + np.exp(-np.asarray(X, dtype=float)))


def noisy_logits(n, prior, *, separation=1.0, seed=0):
    """Return softmax scores that are calibrated for ``prior``, and true classes."""
    rng = np.random.default_rng(seed)
    prior = np.asarray(prior)
    y = rng.choice(len(prior), n, p=prior)
    x = rng.normal(size=(n, len(prior))) + separation * np.eye(len(prior))[y]
    # log of prior times density of a Gaussian of unit variance around each corner
    return separation * x + np.log(prior), y
