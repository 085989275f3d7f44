"""The training loop: what it minimises, and what it does for skorch's callbacks."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from imbtorch import MLP
from imbtorch.modules import check_width, logits_of
from tests.limits import PROCESS_SECONDS
from tests.toy import parameters_of, plain_columns, small, table
from tests.training.helpers import Plain, WatchBatches

X, Y = table()


# -- outputs ---------------------------------------------------------------------------------------


def test_one_column_is_read_as_the_logits_0_and_z():
    z = torch.tensor([[1.5], [-2.0]])
    torch.testing.assert_close(logits_of(z), torch.tensor([[0.0, 1.5], [0.0, -2.0]]))


def test_two_columns_are_the_logits():
    z = torch.randn(3, 2)
    assert logits_of(z) is z


@pytest.mark.parametrize(("shape", "n_classes"), [((4, 2), 2), ((4, 1), 2), ((4, 3), 3)])
def test_width_that_fits(shape, n_classes):
    check_width(torch.zeros(shape), 4, n_classes, nn.Identity())


@pytest.mark.parametrize(
    ("shape", "n_classes"),
    [((4, 3), 2), ((4, 2), 3), ((4, 1), 3), ((3, 2), 2), ((4,), 2), ((4, 2, 1), 2), ((), 2)],
)
def test_width_that_does_not_fit_says_both_shapes(shape, n_classes):
    with pytest.raises(ValueError, match="Identity") as caught:
        check_width(torch.zeros(shape), 4, n_classes, nn.Identity())
    assert str(tuple(shape)) in str(caught.value)
    assert f"(4, {n_classes})" in str(caught.value)


def test_output_that_is_no_tensor_is_named():
    with pytest.raises(ValueError, match="Identity returned tuple"):
        check_width((torch.zeros(4, 2), None), 4, 2, nn.Identity())


# -- what is minimised -----------------------------------------------------------------------------


@pytest.mark.parametrize("callbacks", [None, [WatchBatches()]], ids=["lean", "hooked"])
@pytest.mark.parametrize("batch_size", [40, 1000])
def test_train_loss_is_the_mean_over_rows_of_weight_times_loss(batch_size, callbacks):
    weights = np.linspace(0.5, 3, len(Y))
    clf = small(
        loss="cross_entropy", class_weight={1: 7}, lr_schedule=lambda progress: 0.0,
        weight_decay=0.0, max_epochs=1, batch_size=batch_size, dtype="float64",
        callbacks=callbacks,
    ).fit(X, Y, sample_weight=weights)  # fmt: skip
    row = weights * np.where(Y == 1, 7, 1)
    losses = -np.log(clf.predict_proba(X)[np.arange(len(Y)), Y])  # the net stands still
    assert clf.history_[0, "train_loss"] == pytest.approx((row / row.mean() * losses).mean())


def test_history_has_one_record_per_epoch():
    clf = small(max_epochs=3).fit(X, Y)
    assert clf.n_iter_ == len(clf.history_) == 3
    assert clf.history_[:, "epoch"] == [1, 2, 3]
    assert all(dur > 0 for dur in clf.history_[:, "dur"])
    assert set(clf.history_[0]) == {
        "batches", "epoch", "train_loss", "train_loss_best", "lr", "dur"
    }  # fmt: skip


def test_history_of_a_validated_fit_tells_the_score_and_whether_it_is_the_best():
    history = small(max_epochs=4, validation_fraction=0.2).fit(X, Y).history_
    scores = history[:, "valid_score"]
    assert all(0 <= score <= 1 for score in scores)
    assert history[:, "valid_score_best"] == [
        score > max(scores[:epoch], default=0) for epoch, score in enumerate(scores)
    ]


def test_training_uses_train_mode_and_prediction_eval_mode():
    module = MLP((8,), dropout=0.5, normalization="batch")
    clf = small(module, features=plain_columns()).fit(X, Y)
    assert not clf.module_.training
    assert clf.net_.module_[1].num_batches_tracked > 0
    np.testing.assert_array_equal(clf.predict_proba(X), clf.predict_proba(X))


def test_prediction_uses_eval_mode_whatever_mode_the_module_is_in():
    clf = small(MLP((8,), dropout=0.5, normalization="batch")).fit(X, Y)
    proba = clf.predict_proba(X)
    clf.module_.train()
    np.testing.assert_array_equal(clf.predict_proba(X), proba)


def test_loss_falls():
    losses = small(max_epochs=15, lr=0.02, loss="cross_entropy").fit(X, Y).history_[:, "train_loss"]
    assert losses[-1] < 0.7 * losses[0]


class Learned(nn.Module):
    """A loss with a parameter of its own."""

    reduction = "none"

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, logits, target):
        return nn.functional.cross_entropy(self.scale * logits, target, reduction=self.reduction)


def test_parameters_of_the_loss_are_trained_too():
    clf = small(loss=Learned(), lr=0.1).fit(X, Y)
    assert abs(clf.loss_.loss.scale.item() - 1) > 1e-3


class InDouble(nn.Module):
    reduction = "none"

    def forward(self, logits, target):
        return nn.functional.cross_entropy(logits.double(), target, reduction=self.reduction)


@pytest.mark.parametrize("callbacks", [None, [WatchBatches()]], ids=["lean", "hooked"])
@pytest.mark.parametrize("module", [None, Plain], ids=["chain", "autograd"])
def test_loss_that_computes_in_another_precision_works(module, callbacks):
    clf = small(module, loss=InDouble(), callbacks=callbacks).fit(X, Y)
    assert np.isfinite(clf.history_[-1, "train_loss"])


# -- for experts ---------------------------------------------------------------------------------


def test_net_predicts_codes_and_raw_probabilities():
    clf = small(target_prior=None).fit(X, np.array(["no", "yes"])[Y])
    proba = clf.net_.predict_proba(X)
    np.testing.assert_allclose(proba, clf.predict_proba(X), rtol=1e-5)
    np.testing.assert_array_equal(clf.classes_[clf.net_.predict(X)], clf.predict(X))


def test_net_can_be_printed():
    assert "Linear" in repr(small().fit(X, Y).net_)


# -- copies ----------------------------------------------------------------------------------------


def test_pickle_holds_no_tensor_outside_of_what_skorch_maps_to_another_device(monkeypatch):
    clf = small().fit(X, Y)
    state = clf.net_.__getstate__()
    assert state.pop("__cuda_dependent_attributes__")
    encoder = state.pop("encoder_")
    assert all(tensor.device.type == "cpu" for tensor in encoder.buffers())  # on any machine
    stored = []
    plainly = torch.storage.TypedStorage.__reduce__

    def reduce(storage):
        stored.append(storage)
        return plainly(storage)

    monkeypatch.setattr(torch.storage.TypedStorage, "__reduce__", reduce)
    pickle.dumps({**vars(clf), "net_": state})
    assert not stored


def test_pickle_holds_the_module_once():
    clf = small(MLP((2000,)), optimizer="sgd").fit(X, Y)
    one = parameters_of(clf).nbytes
    assert len(pickle.dumps(clf)) < 2.5 * one + 30_000  # the weights and their momentum


@pytest.mark.parametrize("how", [copy.deepcopy, lambda clf: pickle.loads(pickle.dumps(clf))])
def test_copy_trains_on_without_the_original(how):
    clf = small(warm_start=True).fit(X, Y)
    before = parameters_of(clf).copy()
    twin = how(clf)
    np.testing.assert_array_equal(parameters_of(twin), before)
    twin.fit(X, Y)
    np.testing.assert_array_equal(parameters_of(clf), before)
    assert clf.n_iter_ == 2
    clf.fit(X, Y)
    np.testing.assert_allclose(parameters_of(twin), parameters_of(clf), rtol=1e-5, atol=1e-7)


# -- on a GPU --------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("callbacks", [None, [WatchBatches()]], ids=["lean", "hooked"])
def test_fit_on_cuda_is_that_on_the_cpu(kind, callbacks):
    params = {"dtype": "float64", "callbacks": callbacks, "validation_fraction": 0.2}
    here = small(device="cpu", **params).fit(kind(X), Y)
    there = small(device="cuda", **params).fit(kind(X), Y)
    assert there.device_.startswith("cuda")
    # initial weights are drawn on the CPU in both cases
    np.testing.assert_allclose(there.predict_proba(X), here.predict_proba(X), rtol=1e-6)
    assert there.history_[:, "valid_score"] == pytest.approx(here.history_[:, "valid_score"])


@pytest.mark.gpu
def test_pickle_from_cuda_loads_where_there_is_none(tmp_path):
    clf = small(device="cuda", warm_start=True).fit(X, Y)
    (tmp_path / "clf.pkl").write_bytes(pickle.dumps(clf))
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", Y)
    code = (
        "import pickle, sys, warnings, numpy as np\n"
        "folder = sys.argv[1]\n"
        "X, y = np.load(folder + '/X.npy'), np.load(folder + '/y.npy')\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    clf = pickle.load(open(folder + '/clf.pkl', 'rb'))\n"
        "assert any('cuda' in str(w.message).lower() for w in caught), caught\n"
        "assert clf.device_ == 'cpu', clf.device_\n"
        "np.save(folder + '/proba.npy', clf.predict_proba(X))\n"
        "clf.set_params(device='cpu').fit(X, y)\n"
    )
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True,
        timeout=PROCESS_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    proba = np.load(tmp_path / "proba.npy")
    np.testing.assert_allclose(proba, clf.predict_proba(X), rtol=1e-4)
