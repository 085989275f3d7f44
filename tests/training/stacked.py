"""Training as a stack beside training alone, for the tests of stacks."""

import warnings
from unittest.mock import patch

import numpy as np
import torch
from sklearn.base import clone, is_classifier

from imbtorch import ImbalancedNetClassifier, NotStackedWarning
from imbtorch._common.memo import Memo
from imbtorch.training.stack import groups, train_stacked
from tests.toy import small, table

N = 140
X, Y = table(N, rate=0.25)
ROWS = np.random.default_rng(0).permutation(N)
# uneven: of batches of 32 one ends with 33 rows, one with 12, one has a single one, one fits
FOLDS = [np.sort(rows) for rows in (ROWS[:97], ROWS[-76:], ROWS[20:48], ROWS[50:114])]


def net(**params):
    """Return a small classifier that computes in float64, for the chain of a stack."""
    params = {"batch_size": 32, "max_epochs": 3, "dtype": "float64", **params}
    nested = {name: params.pop(name) for name in [*params] if "__" in name}
    return small(params.pop("module", None), **params).set_params(**nested)


def tanh_net(input_shape, n_outputs):
    """Build a module that is no chain, so that torch maps it over its parameters."""
    layers = torch.nn.Linear(input_shape[0], 6), torch.nn.Tanh(), torch.nn.Linear(6, n_outputs)
    return torch.nn.Sequential(torch.nn.Sequential(*layers))


def members(estimator, grid=({},), folds=FOLDS):
    """Return pairs of an estimator and its rows, for every candidate and fold."""
    return [
        (clone(estimator).set_params(**clone(p, safe=False)), rows) for p in grid for rows in folds
    ]


def together(pairs, X=X, y=Y, weight=None, max_memory=None):
    """Fit estimators on their rows as stacks; return sizes of the stacks, and what went wrong."""
    memo, sizes, errors = Memo(), [], []
    fits = [e._prepare_fit(X, y, weight, rows=rows, memo=memo) for e, rows in pairs]
    runs = [run for fit in fits for run in fit.runs]
    with patch.object(groups, "StackedEngine", wraps=groups.StackedEngine) as built:
        train_stacked(runs, max_memory)
    sizes = [len(call.args[0]) for call in built.call_args_list]
    for fit in fits:
        try:
            with fit:
                fit.publish()
            errors.append(None)
        except Exception as error:
            errors.append(error)
    return sizes, errors


def outputs(estimator, X):
    """Return what the net of an estimator says, scores if it is a classifier."""
    kind = is_classifier(estimator)
    return estimator.decision_function(X) if kind else estimator.predict(X)


def assert_same(stacked, alone, X=X, tol=1e-8):
    """Fail unless two fitted estimators have the same history, tensors and outputs."""
    close = {"rtol": tol, "atol": tol, "equal_nan": True}
    assert stacked.n_iter_ == alone.n_iter_
    for key in ("train_loss", "lr", "valid_score"):
        if key in alone.history_[0]:
            found, expected = stacked.history_[:, key], alone.history_[:, key]
            np.testing.assert_allclose(found, expected, **close, err_msg=key)
    state = stacked.module_.state_dict()
    for name, tensor in alone.module_.state_dict().items():
        if name.startswith("unused"):  # the decay of what nothing depends on
            continue
        found, expected = state[name].cpu().numpy(), tensor.cpu().numpy()
        np.testing.assert_allclose(found, expected, **close, err_msg=name)
    np.testing.assert_allclose(outputs(stacked, X), outputs(alone, X), **close)
    if isinstance(alone, ImbalancedNetClassifier):
        np.testing.assert_allclose(stacked.effective_prior_, alone.effective_prior_, rtol=1e-12)


def refitted(estimator, rows, X=X, y=Y, weight=None):
    """Fit a clone to the rows, alone."""
    return clone(estimator).fit(X[rows], y[rows], None if weight is None else weight[rows])


def check(estimator=None, grid=({},), folds=FOLDS, X=X, y=Y, weight=None, *, n_stacks=1, **options):
    """Fail unless candidates on folds, stacked, come out as each of them does alone."""
    tol, max_memory = options.pop("tol", 1e-8), options.pop("max_memory", None)
    pairs = members(net(**options) if estimator is None else estimator, grid, folds)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotStackedWarning)
        sizes, errors = together(pairs, X, y, weight, max_memory)
    assert errors == [None] * len(pairs)
    assert n_stacks is None or len(sizes) == n_stacks
    assert sum(sizes) == len(pairs)
    for est, rows in pairs:
        assert_same(est, refitted(est, rows, X, y, weight), X, tol)
    return [est for est, _ in pairs]
