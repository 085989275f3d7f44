"""Modules that compute in 16 bits: losses, weights and probabilities stay in float32."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from skorch.callbacks import Callback
from torch import nn

import imbtorch
from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NotStackedWarning,
)
from imbtorch.datasets import make_payments
from imbtorch.exceptions import FileFormatError
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.training.half_precision import LossScaling
from tests.toy import parameters_of, small, table

pytestmark = pytest.mark.filterwarnings('ignore:precision="float16" gives correct')

X, Y = table(301, rate=0.2)
LABELS = np.stack([Y, X[:, 0] > 0.5, X[:, 1] > 0], axis=1).astype(int)
HALVES = pytest.mark.parametrize("precision", ["bfloat16", "float16"])


class Seen(nn.Module):
    """A net that notes the dtypes of its outputs."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.first, self.last = nn.Linear(input_shape[0], 8), nn.Linear(8, n_outputs)
        self.dtypes = set()

    def forward(self, x):
        output = self.last(torch.relu(self.first(x)))
        self.dtypes.add((self.training, output.dtype))
        return output


@HALVES
def test_the_module_computes_in_half_and_the_rest_in_single_precision(precision):
    clf = small(Seen, precision=precision).fit(X, Y)
    probabilities = clf.predict_proba(X)
    half = getattr(torch, precision)
    assert clf.module_.dtypes == {(True, half), (False, half)}
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert all(p.dtype == torch.float32 for p in clf.module_.parameters())
    assert clf.decision_function(X).dtype == np.float32
    assert {p.grad for p in clf.module_.parameters()} == {None}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_trains_the_example_of_the_readme(seed):
    rows, y = make_payments(3000, random_state=0)
    new_rows, new_y = make_payments(3000, random_state=1)

    def score(precision):
        clf = ImbalancedNetClassifier(target_prior="train", random_state=seed, precision=precision)
        return average_precision_score(new_y, clf.fit(rows, y).predict_proba(new_rows)[:, 1])

    assert abs(score("bfloat16") - score(None)) < 0.01


@HALVES
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"gradient_clipping": 0.1, "optimizer": "sgd"},
        {"sharpness": 0.05},
        {"averaging": "ema"},
        {"accumulate": 3},
        {"accumulate": 2, "on_oom": "split"},
        {"sampler": "mixup"},
        {"early_stopping": True},
        {"loss": "focal", "class_weight": "balanced"},
        {"loss": "auc_margin"},
        {"optimizer": torch.optim.RMSprop},
    ],
    ids=str,
)
def test_is_near_to_single_precision(precision, params):
    params = {"batch_size": 32, "lr": 0.01, "max_epochs": 4, **params}
    single, half = (small(**params, precision=p).fit(X, Y) for p in (None, precision))
    np.testing.assert_allclose(half.predict_proba(X), single.predict_proba(X), atol=0.04)


@HALVES
def test_labels_and_values(precision):
    params = {"random_state": 0, "precision": precision, "max_epochs": 2}
    assert small(**params).fit(X, LABELS).predict_proba(X).dtype == np.float32
    single = ImbalancedNetRegressor(**{**params, "precision": None}).fit(X, X[:, 0])
    half = ImbalancedNetRegressor(**params).fit(X, X[:, 0])
    np.testing.assert_allclose(half.predict(X), single.predict(X), atol=0.1)


@HALVES
def test_batch_normalisation_of_an_average(precision):
    def build(shape, n_outputs):
        return nn.Sequential(
            nn.Linear(shape[0], 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, n_outputs)
        )

    clf = small(build, averaging="swa", precision=precision, max_epochs=4).fit(X, Y)
    assert clf.module_[1].running_var.dtype == torch.float32
    assert np.isfinite(clf.predict_proba(X)).all()


# -- copies and files -------------------------------------------------------------------------


@HALVES
def test_copies_and_files_predict_alike(precision, tmp_path):
    clf = small(precision=precision).fit(X, Y)
    expected = clf.predict_proba(X)
    imbtorch.save(clf, tmp_path / "model")
    loaded = imbtorch.load(tmp_path / "model")
    for same in (copy.deepcopy(clf), pickle.loads(pickle.dumps(clf)), loaded):
        np.testing.assert_array_equal(same.predict_proba(X), expected)


def test_a_file_holds_the_precision_of_the_fit(tmp_path):
    clf = small().fit(X, Y).set_params(precision="bfloat16")
    imbtorch.save(clf, tmp_path / "model")
    loaded = imbtorch.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    assert loaded.net_.half is None
    assert loaded.precision == "bfloat16"


def test_a_file_with_an_unknown_precision_is_refused(tmp_path):
    clf = small(precision="bfloat16").fit(X, Y)
    clf.net_.half.precision = "int4"
    imbtorch.save(clf, tmp_path / "model")
    with pytest.raises(FileFormatError, match="precision"):
        imbtorch.load(tmp_path / "model")


def test_ensembles_and_searches_train_one_net_after_the_other():
    clf = small(precision="bfloat16")
    alone = small(precision="bfloat16", lr=0.02).fit(X, Y)
    with pytest.warns(NotStackedWarning, match='precision="bfloat16" is computed for one net'):
        ensemble = NetEnsembleClassifier(clf, n_estimators=2, random_state=0).fit(X, Y)
    probabilities = ensemble.predict_proba(X)
    assert probabilities.dtype == np.float32
    members = [member.predict_proba(X) for member in ensemble.estimators_]
    np.testing.assert_allclose(probabilities, np.mean(members, axis=0), atol=1e-6)
    search = StackedGridSearchCV(clf, {"lr": [0.02], "precision": [None, "bfloat16"]}, cv=2)
    with pytest.warns(NotStackedWarning):
        search.fit(X, Y)
    with pytest.warns(NotStackedWarning):
        search.set_params(param_grid={"lr": [0.02]}).fit(X, Y)
    np.testing.assert_array_equal(search.predict_proba(X), alone.predict_proba(X))


@pytest.mark.slow
def test_the_number_of_epochs_is_found():
    clf = small(precision="bfloat16", accumulate=2, max_epochs="auto")
    with pytest.warns(NotStackedWarning):
        clf.fit(X, Y)
    assert clf.n_epochs_ >= 1


# -- training that is continued ---------------------------------------------------------------


def test_a_further_fit_may_have_another_precision():
    clf = small(warm_start=True, precision="float16").fit(X, Y)
    first = clf.net_.half
    assert clf.fit(X, Y).net_.half.scaler is not first.scaler  # a copy of the former net
    assert clf.set_params(precision=None).fit(X, Y).net_.half is None
    assert clf.set_params(precision="bfloat16").fit(X, Y).net_.half.scaler is None
    with pytest.raises(ValueError, match="precision"):
        small(warm_start=True, dtype="float64").fit(X, Y).set_params(precision="float16").fit(X, Y)


def test_chunks_go_on_with_the_scale():
    clf = small(precision="float16", max_epochs=20).partial_fit(X, Y, classes=[0, 1])
    clf.net_.half.scaler.load_state_dict({**clf.net_.half.scaler.state_dict(), "scale": 8.0})
    assert clf.partial_fit(X, Y).net_.half.scaler.get_scale() == 8.0
    assert pickle.loads(pickle.dumps(clf)).partial_fit(X, Y).net_.half.scaler.get_scale() == 8.0


# -- the scale of the loss --------------------------------------------------------------------


def scaled(loss_of, *, sharp=False):
    """Take a step with a scaled loss; return the scale and the change of the weight."""
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaling = LossScaling(torch.amp.GradScaler("cpu", init_scale=64.0), optimizer)

    def gradients():
        weight.grad = None
        scaling.backward(loss_of(weight))
        return torch.zeros(())

    again = scaling.unscaled(gradients)
    again()
    if sharp:
        again()
    expected = torch.autograd.grad(loss_of(weight), weight)[0]
    np.testing.assert_array_equal(weight.grad, expected)
    scaling.step()
    return scaling.scaler.get_scale(), (weight.detach() - 1).tolist()


@pytest.mark.parametrize("sharp", [False, True])
def test_a_step_with_a_scale(sharp):
    scale, change = scaled(lambda w: (w * torch.tensor([1.0, 2.0, 4.0])).sum(), sharp=sharp)
    np.testing.assert_allclose(change, [-0.1, -0.2, -0.4], rtol=1e-6)
    assert scale == 64.0


def test_a_step_that_is_not_finite_is_left_out():
    scale, change = scaled(lambda w: (w * torch.inf).sum())
    assert change == [0, 0, 0]
    assert scale == 32.0


@pytest.mark.parametrize("scale", [0.0, -2.0])
def test_a_scale_that_is_not_positive_is_refused(scale):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(3))], lr=0.1)
    scaling = LossScaling(torch.amp.GradScaler("cpu", init_scale=64.0), optimizer)
    with pytest.raises(ValueError, match="not a positive number"):
        scaling.restore({"scale": scale, "good_steps": 0})
    scaling.restore({"scale": 4.0, "good_steps": 3})
    assert scaling.state() == {"scale": 4.0, "good_steps": 3}


class Gradients(Callback):
    """Notes the norms of the gradients that skorch's callbacks see."""

    def __init__(self):
        self.norms = []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.norms.append([float(p.grad.norm()) for _, p in named_parameters])


def test_callbacks_see_gradients_without_the_scale():
    norms = {}
    for precision in (None, "float16"):
        watch = Gradients()
        small(Seen, precision=precision, callbacks=[watch], max_epochs=1).fit(X, Y)
        norms[precision] = watch.norms
    np.testing.assert_allclose(norms["float16"], norms[None], rtol=0.05, atol=1e-3)


# -- what cannot be computed ------------------------------------------------------------------


@HALVES
def test_weights_in_double_precision_are_refused(precision):
    clf = small(precision=precision, dtype="float64")
    with pytest.raises(ValueError, match=f'precision="{precision}" keeps the weights in float32'):
        clf.fit(X, Y)
    assert not hasattr(clf, "net_")


@pytest.mark.filterwarnings("default")
def test_float16_on_the_cpu_is_slow_and_says_so():
    with pytest.warns(UserWarning, match="many times slower"):
        small(precision="float16", device="cpu").fit(X, Y)


def test_a_module_that_cannot_compute_in_half_precision():
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, x):
            return torch.zeros(len(x), 2).index_add(0, torch.arange(len(x)), self.layer(x))

    assert small(Sums()).fit(X, Y).n_iter_ == 2
    with pytest.raises(ValueError, match=r"Sums failed on a batch .* same scalar type"):
        small(Sums(), precision="bfloat16").fit(X, Y)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@HALVES
def test_on_a_gpu(precision):
    single, half = (small(Seen, precision=p, device="cuda").fit(X, Y) for p in (None, precision))
    np.testing.assert_allclose(half.predict_proba(X), single.predict_proba(X), atol=0.03)
    assert np.isfinite(parameters_of(pickle.loads(pickle.dumps(half)))).all()


class Interrupting(torch.optim.AdamW):
    steps = 0

    def step(self, *args, **kwargs):
        Interrupting.steps += 1
        if Interrupting.steps == 3:
            raise KeyboardInterrupt
        return super().step(*args, **kwargs)


@pytest.mark.filterwarnings("ignore:precision=.*many times slower")
def test_a_net_whose_step_was_interrupted_can_be_copied_and_trained_on():
    X = np.random.default_rng(0).normal(size=(200, 5))
    y = X[:, 0] > 1
    clf = ImbalancedNetClassifier(
        "mlp",
        precision="float16",
        optimizer=Interrupting,
        on_interrupt="keep",
        warm_start=True,
        max_epochs=2,
        random_state=0,
    ).fit(X, y)
    assert clf.interrupted_
    again = pickle.loads(pickle.dumps(copy.deepcopy(clf)))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert not clf.fit(X, y).interrupted_


class Own(nn.Linear):
    """Computes in half precision by itself."""

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


WITHIN_AUTOCAST = {
    "chain": lambda: small(),
    "any module": lambda: small(Seen),
    "own autocast": lambda: small(lambda shape, n: Own(shape[0], n)),
    "bfloat16": lambda: small(Seen, precision="bfloat16"),
    "stopped early": lambda: small(early_stopping=True, callbacks=[Callback()]),
    "ensemble": lambda: NetEnsembleClassifier(
        small(random_state=None), n_estimators=2, random_state=0
    ),
    "search": lambda: StackedGridSearchCV(small(), {"lr": [0.003, 0.03]}, cv=2),
    "regressor": lambda: ImbalancedNetRegressor("mlp", max_epochs=1, random_state=0),
}


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("name", WITHIN_AUTOCAST)
def test_autocast_of_the_caller_has_no_effect(name, enabled):
    alone = WITHIN_AUTOCAST[name]().fit(X, Y)
    predict = "predict_proba" if hasattr(alone, "predict_proba") else "predict"
    expected, one_row = getattr(alone, predict)(X), getattr(alone, predict)(X[:1])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        np.testing.assert_array_equal(getattr(alone, predict)(X), expected)
        np.testing.assert_array_equal(getattr(alone, predict)(X[:1]), one_row)
        clf = WITHIN_AUTOCAST[name]().fit(X, Y)
        assert torch.is_autocast_enabled("cpu") == enabled
    np.testing.assert_array_equal(getattr(clf, predict)(X), expected)
