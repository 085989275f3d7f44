"""A single row: the short way gives what the long way gives, and knows nothing of former calls."""

import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NetEnsembleRegressor,
)
from imbtorch._fit import new_rows
from imbtorch._fit.new_rows import needs_no_check
from imbtorch._tasks import Classes, Labels
from imbtorch._tasks.target_shift import target_shift
from imbtorch.losses import CrossEntropyLoss, LDAMLoss
from imbtorch.training.stack import prediction as stacked

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 3)).astype(np.float32)
Y = (X[:, 0] + RNG.normal(scale=0.5, size=300) > 0.8).astype(int)
ROW = X[:1]


def net(features=None, **parameters):
    parameters = {"module": MLP((4,)), "max_epochs": 1, "random_state": 0, **parameters}
    return ImbalancedNetClassifier(features=features, device="cpu", **parameters)


class Subclass(np.ndarray):
    pass


def with_value(value):
    row = ROW.copy()
    row[0, 1] = value
    return row


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


INPUTS = {
    "float32": ROW,
    "float64": ROW.astype(np.float64),
    "float16": ROW.astype(np.float16),
    "other byte order": ROW.astype(ROW.dtype.newbyteorder()),
    "reversed": ROW[::-1],
    "reversed columns": ROW[:, ::-1],
    "int64": np.array([[1, 2, 3]]),
    "large int64": np.array([[1, 2, 2**25 + 1]]),
    "bool": np.array([[True, False, True]]),
    "complex": ROW.astype(complex),
    "object": ROW.astype(object),
    "text": np.array([["a", "b", "c"]]),
    "dates": np.array([["2020-01-01"] * 3], dtype="datetime64[D]"),
    "NaN": with_value(np.nan),
    "inf": with_value(np.inf),
    "-inf": with_value(-np.inf),
    "largest float32": with_value(np.finfo(np.float32).max),
    "too large for float32": np.full((1, 3), 1e300),
    "too narrow": ROW[:, :2],
    "too wide": np.zeros((1, 4), np.float32),
    "three dimensions": np.zeros((1, 3, 1), np.float32),
    "one dimension": ROW[0],
    "no dimension": np.float32(1.0),
    "no rows": X[:0],
    "no columns": X[:1, :0],
    "Fortran order": np.asfortranarray(X[:5]),
    "every second row": X[:10:2],
    "broadcast": np.broadcast_to(ROW, (4, 3)),
    "read-only": read_only(X[:2]),
    "subclass": ROW.view(Subclass),
    "masked array": np.ma.masked_array(ROW, mask=[[False, True, False]]),
    "matrix": np.matrix(ROW),
    "list": ROW.tolist(),
    "tensor": torch.from_numpy(ROW.copy()),
    "frame": pd.DataFrame(ROW, columns=list("abc")),
    "frame of other names": pd.DataFrame(ROW, columns=list("abz")),
    "frame of numbered columns": pd.DataFrame(ROW),
    "None": None,
}
FRAME = pd.DataFrame(X, columns=list("abc"))
CELLS = X.astype(object)
CELLS[:, 0] = np.where(Y > 0, "x", "y")
MODELS = {
    "net": net().fit(X, Y),
    "float64": net(dtype="float64").fit(X, Y),
    "table": net("table").fit(X, Y),
    "gaps": net("table").fit(np.where(X > 1, np.nan, X), Y),
    "names": net().fit(FRAME, Y),
    "table of names": net("table").fit(FRAME, Y),
    "categories": net("table").fit(FRAME.assign(a=np.where(Y > 0, "x", "y")), Y),
    "categories in an array": net("table").fit(CELLS, Y),
    "ensemble": NetEnsembleClassifier(net(), 2, random_state=0).fit(X, Y),
    "regressor": ImbalancedNetRegressor(
        MLP((4,)), features=None, max_epochs=1, device="cpu", random_state=0
    ).fit(X, X[:, 0]),
}


def outcome(model, given):
    """What a prediction returns or raises, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = model.predict(given), getattr(model, "predict_proba", model.predict)(given)
        except Exception as error:
            result = type(error), str(error)
    return result, [(warning.category, str(warning.message)) for warning in caught]


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("model", MODELS)
def test_short_check_changes_no_result_no_error_and_no_warning(model, name, monkeypatch):
    fitted = MODELS[model]
    before = dict(vars(fitted))
    found, told = outcome(fitted, INPUTS[name])
    monkeypatch.setattr(new_rows, "needs_no_check", lambda estimator, X: False)
    expected, expected_told = outcome(fitted, INPUTS[name])
    assert told == expected_told
    assert vars(fitted) == before
    for part, other in zip(found, expected, strict=True):
        if isinstance(part, np.ndarray):
            np.testing.assert_array_equal(part, other)
            assert part.dtype == other.dtype
        else:
            assert part == other


@pytest.mark.parametrize("model", ["net", "float64", "table", "regressor"])
def test_short_check_is_for_plain_finite_floats_of_the_right_width(model):
    quick = {name for name, given in INPUTS.items() if needs_no_check(MODELS[model], given)}
    plain = {"float32", "float64", "largest float32", "too large for float32", "read-only"}
    plain |= {"reversed", "reversed columns", "Fortran order", "every second row", "broadcast"}
    assert quick == plain | ({"NaN"} if model == "table" else set())


@pytest.mark.parametrize(
    "model", ["names", "table of names", "categories", "categories in an array"]
)
def test_columns_with_names_or_categories_get_all_checks(model):
    assert not any(needs_no_check(MODELS[model], given) for given in INPUTS.values())


@pytest.mark.parametrize("model", ["net", "float64", "table", "ensemble", "regressor"])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_a_single_row_may_have_a_negative_stride(model, kind):
    row = np.array([[1, 0, 2]], dtype=kind)
    assert row[::-1].flags.c_contiguous
    assert min(row[::-1].strides) < 0
    for given in (row[::-1], row[:, ::-1]):
        expected = MODELS[model].predict(given.copy())
        np.testing.assert_array_equal(MODELS[model].predict(given), expected)


def test_many_rows_get_all_checks():
    assert needs_no_check(MODELS["net"], np.zeros((20_000, 3)))
    assert not needs_no_check(MODELS["net"], np.zeros((30_000, 3)))


def test_memory_map_is_predicted_as_the_array(tmp_path):
    np.save(tmp_path / "X.npy", X)
    lying = np.load(tmp_path / "X.npy", mmap_mode="r")
    for rows in (lying[:1], np.asarray(lying)[:1]):
        np.testing.assert_array_equal(
            MODELS["net"].predict_proba(rows), MODELS["net"].predict_proba(ROW)
        )


def test_a_module_that_writes_into_its_rows_leaves_those_of_the_user_alone():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x):
            return self.linear(x.mul_(2))

    row = ROW.copy()
    for model in (net(module=Writes()), NetEnsembleClassifier(net(module=Writes()), 2)):
        first = model.fit(X, Y).predict_proba(row)
        np.testing.assert_array_equal(row, ROW)
        np.testing.assert_array_equal(model.predict_proba(read_only(row)), first)
    members = [member.predict_proba(row) for member in model.estimators_]
    np.testing.assert_allclose(first, np.mean(members, axis=0), rtol=1e-6)


# -- ensembles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, stacked.FEW_ROWS, stacked.FEW_ROWS + 1])
def test_few_rows_stack_no_weights(n_rows, monkeypatch):
    calls, stack = [], torch.stack
    weights = {p.shape for p in MODELS["ensemble"].estimators_[0].net_.module_.parameters()}

    def counting(tensors, *args, **kwargs):
        calls.append(tensors[0].shape in weights and tensors[0].shape[0] != n_rows)
        return stack(tensors, *args, **kwargs)

    monkeypatch.setattr(torch, "stack", counting)
    MODELS["ensemble"].predict_proba(X[:1].repeat(n_rows, axis=0))
    assert any(calls) is (n_rows > stacked.FEW_ROWS)


def test_few_rows_have_the_outputs_of_the_members_to_the_bit():
    ensemble = MODELS["ensemble"]
    members = [member.predict_log_proba(X[:5]) for member in ensemble.estimators_]
    expected = torch.logsumexp(torch.from_numpy(np.stack(members)), dim=0) - np.log(2)
    np.testing.assert_array_equal(ensemble.predict_log_proba(X[:5]), expected.numpy())


def test_few_rows_agree_with_many_rows():
    for name in ("ensemble", "net", "regressor"):
        many = outcome(MODELS[name], X)[0][1]
        for i in (0, 7):
            np.testing.assert_allclose(
                outcome(MODELS[name], X[i : i + 1])[0][1], many[i : i + 1], rtol=1e-5
            )


# -- what changes between two calls ----------------------------------------------------------------


def by_data(parameter):
    parameter.data.mul_(-3)


def by_numpy(parameter):
    parameter.detach().numpy()[:] *= -3


def in_place(parameter):
    with torch.no_grad():
        parameter.mul_(-3)


@pytest.mark.parametrize("change", [by_data, by_numpy, in_place])
@pytest.mark.parametrize("model", ["net", "table", "ensemble"])
def test_changed_weights_are_seen_at_once(model, change):
    fitted = clone(MODELS[model]).fit(X, Y)
    before = fitted.predict_proba(ROW)
    nets = [member.net_ for member in getattr(fitted, "estimators_", [fitted])]
    for parameter in nets[-1].module_.parameters():
        change(parameter)
    assert not np.allclose(fitted.predict_proba(ROW), before)
    np.testing.assert_allclose(
        fitted.predict_proba(ROW), fitted.predict_proba(X)[:1], rtol=1e-4, atol=1e-6
    )


class Mode(nn.Module):
    """Outputs that say whether any part was in training mode."""

    def __init__(self):
        super().__init__()
        self.linear, self.inner = nn.Linear(3, 2), nn.Sequential(nn.Dropout(0.5))

    def forward(self, x):
        return self.linear(x) + 100 * self.inner.training + 10 * self.inner[0].training


def test_layers_that_were_put_into_training_mode_predict_in_evaluation_mode():
    for model in (net(module=Mode()), NetEnsembleClassifier(net(module=Mode()), 2)):
        fitted = model.fit(X, Y)
        expected = fitted.predict_proba(ROW)
        for member in getattr(fitted, "estimators_", [fitted]):
            member.net_.module_.inner[0].train()
        np.testing.assert_array_equal(fitted.predict_proba(ROW), expected)


def test_a_mode_of_the_users_own_is_set_for_each_prediction():
    class Own(Mode):
        def train(self, mode=True):
            self.calls = getattr(self, "calls", 0) + 1
            return super().train(mode)

    fitted = net(module=Own()).fit(X, Y)
    calls = fitted.net_.module_.calls
    fitted.predict_proba(ROW)
    assert fitted.net_.module_.calls == calls + 1


# -- target_prior ----------------------------------------------------------------------------------


def test_a_target_prior_that_is_changed_in_place_is_seen_at_once():
    for prior in ([0.5, 0.5], np.array([0.5, 0.5]), {0: 0.5, 1: 0.5}):
        model = net(target_prior=prior).fit(X, Y)
        first = model.predict_proba(ROW)
        np.testing.assert_array_equal(model.predict_proba(ROW), first)
        prior[0], prior[1] = 0.01, 0.99
        changed = model.predict_proba(ROW)
        assert changed[0, 1] > first[0, 1] + 0.1
        expected = model.set_params(target_prior=(0.01, 0.99)).predict_proba(ROW)
        np.testing.assert_array_equal(changed, expected)


def test_priors_of_the_fit_that_are_changed_in_place_are_seen_at_once():
    model = net(target_prior="train").fit(X, Y)
    first = model.predict_proba(ROW)
    model.class_prior_[:] = [0.01, 0.99]
    second = model.predict_proba(ROW)
    assert second[0, 1] > first[0, 1]
    model.effective_prior_[:] = [0.01, 0.99]
    np.testing.assert_allclose(model.predict_proba(ROW), net().fit(X, Y).predict_proba(ROW), 1e-5)


@pytest.mark.parametrize(
    "prior", [[0.7, 0.7], [0.5], [1, 0.5], [np.nan, 1.0], (-1.0, 2.0)], ids=str
)
def test_a_wrong_target_prior_is_refused_in_each_call(prior):
    model = net().fit(X, Y).set_params(target_prior=prior)
    messages = [pytest.raises(ValueError, model.predict_proba, ROW) for _ in range(2)]
    assert str(messages[0].value) == str(messages[1].value)


def test_shifts_differ_between_tasks_and_losses_of_the_same_numbers():
    prior = np.array([0.4, 0.6])
    cross_entropy, hinge = CrossEntropyLoss(), LDAMLoss()
    given = ([0.25, 0.75], prior, prior, "cpu", torch.float64)
    for _ in range(2):
        of_classes = target_shift(Classes(np.array([0, 1])), cross_entropy, *given)
        torch.testing.assert_close(
            of_classes.exp(), torch.tensor([0.25 / 0.4, 0.75 / 0.6]).double()
        )
        of_labels = target_shift(Labels(2), cross_entropy, *given)
        assert of_labels[0] == pytest.approx(np.log(0.25 / 0.75) - np.log(0.4 / 0.6))
        with pytest.raises(ValueError, match="target_prior"):
            target_shift(Classes(np.array([0, 1])), hinge, *given)


def test_more_priors_than_are_remembered_are_computed_alike():
    model = net(target_prior="train").fit(X, Y)
    shares = np.linspace(0.01, 0.99, 150).tolist()
    rounds = [
        [model.set_params(target_prior=[1 - p, p]).predict_proba(ROW)[0, 1] for p in shares]
        for _ in range(2)
    ]
    assert rounds[0] == rounds[1]
    assert (np.diff(rounds[0]) > 0).all()


# -- threads, and models that are not fitted -------------------------------------------------------


def test_threads_predict_single_rows_alike():
    models = [MODELS["net"], MODELS["ensemble"], net(target_prior=[0.5, 0.5]).fit(X, Y)]
    expected = [[model.predict_proba(X[i : i + 1]) for i in range(20)] for model in models]
    wrong = []

    def work():
        for model, rows in zip(models, expected, strict=True):
            for i, row in enumerate(rows):
                if not np.array_equal(model.predict_proba(X[i : i + 1]), row):
                    wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "model",
    [net(), ImbalancedNetRegressor(), NetEnsembleClassifier(), NetEnsembleRegressor()],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_std", "estimate_prior"])
def test_a_model_that_is_not_fitted_says_so(model, method):
    if hasattr(model, method):
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            getattr(model, method)(ROW)
