"""A training that was cut short ends in the same bits as one that was not."""

import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from skorch.callbacks import LRScheduler
from torch import nn

import imbtorch._common.versions
from imbtorch import BalancedNetEnsembleClassifier, FileFormatError, ImbalancedNetRegressor
from imbtorch._safe_file import read_file, write_file
from imbtorch.feature_smoothing import FeatureSmoothing
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.training import checkpoint as checkpoint_module
from imbtorch.training.checkpoint import describe
from imbtorch.training.state import pack, unpack
from tests.toy import parameters_of, small, table
from tests.training.resume import X as MATRIX_X
from tests.training.resume import cases, cut_short, estimator, outcome

ROOT = Path(__file__).resolve().parents[2]
X, Y = table(200)
FILE = "checkpoint.safetensors"


def python(*arguments, timeout=250):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT, env=env, timeout=timeout, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def resumed_and_whole(tmp_path, make, fit, epoch=2):
    """Fit in two parts and in one; return both estimators."""
    first, second, whole = (make(folder) for folder in (tmp_path, tmp_path, None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cut_short(lambda: fit(first), epoch)
        fit(second, resume=True)
    return second, fit(whole)


# -- the matrix -------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_loss_and_sampler_in_new_processes(tmp_path):
    full = os.environ.get("IMBTORCH_FULL_MATRIX") == "1"
    torch.set_num_threads(1)
    for action in ("begin", "continue"):
        python("-m", "tests.training.resume", tmp_path, action, timeout=2000 if full else 250)
    found = np.load(tmp_path / "found.npz")
    wrong = []
    for name in cases(full=full):
        whole, y = estimator(name, tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole.set_params(checkpoint=None).fit(MATRIX_X, y)
        if not np.array_equal(found[name.replace("/", "|")], outcome(whole), equal_nan=True):
            wrong.append(name)
    assert not wrong
    assert len(found.files) > 200


# -- what else there is to a training -----------------------------------------------------------


class Normed(nn.Sequential):
    def __init__(self, input_shape, n_outputs):
        super().__init__(
            nn.Linear(input_shape[0], 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, n_outputs)
        )


@pytest.mark.matrix
@pytest.mark.parametrize(
    "params",
    [
        {"averaging": "swa"},
        {"module": Normed, "averaging": "ema"},
        {"module": Normed, "averaging": "swa", "max_epochs": 8},
        {"early_stopping": True, "patience": 2, "max_epochs": 12},
        {"early_stopping": True, "averaging": "ema"},
        {"validation_fraction": 0.2},
        {"loss": "focal", "loss_schedule": {"gamma": lambda t: 3 * (1 - t)}},
        {"class_weight": "balanced", "class_weight_schedule": 0.5},
        {"class_weight": "balanced", "class_weight_schedule": "cumulative"},
        {"sampler": "class_balanced", "sampler_schedule": 0.5},
        {"loss": "seesaw", "lr_schedule": "step"},
        {"loss": "auc_margin", "loss__warmup_epochs": 3},
        {"sharpness": 0.05, "gradient_clipping": 0.5},
        {"on_divergence": "restore"},
        {"optimizer": torch.optim.RMSprop},
        {"random_state": None},
        {"dtype": "float64"},
    ],
    ids=lambda params: "-".join(params),
)
@pytest.mark.parametrize("epoch", [1, 3])
def test_same_bits(tmp_path, params, epoch):
    nested = {key: value for key, value in params.items() if "__" in key}
    plain = {"max_epochs": 5, **{k: v for k, v in params.items() if "__" not in k}}

    module = plain.pop("module", None)
    seeds = np.random.default_rng(0)
    draws = [int(s) for s in seeds.integers(1000, size=6)]

    def make(folder):
        return small(module, checkpoint=folder, **plain).set_params(**nested)

    with mock.patch("imbtorch._common.seed.np.random.default_rng", lambda s=None: _fixed(s, draws)):
        resumed, whole = resumed_and_whole(
            tmp_path, make, lambda clf, **kwargs: clf.fit(X, Y, **kwargs), epoch
        )
    assert np.array_equal(parameters_of(resumed), parameters_of(whole))
    assert resumed.history_[:, "train_loss"] == whole.history_[:, "train_loss"]
    assert np.array_equal(resumed.predict_proba(X), whole.predict_proba(X))
    if "random_state" not in params:
        assert resumed.n_iter_ == whole.n_iter_


class _Fixed:
    """Stands for entropy of the operating system."""

    def __init__(self, draws):
        self.draws = draws

    def integers(self, top, size):
        return np.array(self.draws[:size])


def _fixed(seed, draws, original=np.random.default_rng):
    return _Fixed(draws) if seed is None else original(seed)


def test_smoothed_features(tmp_path):
    def make(folder):
        return ImbalancedNetRegressor(
            lambda shape, n: nn.Sequential(
                nn.Linear(shape[0], 6), FeatureSmoothing(6, 4), nn.Linear(6, n)
            ),
            max_epochs=5,
            random_state=0,
            checkpoint=folder,
            density_weight="lds",
        )

    resumed, whole = resumed_and_whole(
        tmp_path, make, lambda reg, **kwargs: reg.fit(X, X[:, 0], **kwargs)
    )
    assert np.array_equal(resumed.predict(X), whole.predict(X))


def test_weights_and_sparse_rows(tmp_path):
    from scipy import sparse

    rows = sparse.csr_array(np.where(np.abs(X) > 2, X, 0))
    weights = np.linspace(0, 2, len(Y))
    resumed, whole = resumed_and_whole(
        tmp_path,
        lambda folder: small(max_epochs=4, checkpoint=folder),
        lambda clf, **kwargs: clf.fit(rows, Y, weights, **kwargs),
    )
    assert np.array_equal(parameters_of(resumed), parameters_of(whole))


def test_interval(tmp_path):
    clf = small(max_epochs=7, checkpoint=tmp_path, checkpoint_interval=3)
    written = []
    write = checkpoint_module.write_file

    def counted(path, document, tensors):
        written.append(unpack(tensors)["epoch"])
        write(path, document, tensors)

    with mock.patch.object(checkpoint_module, "write_file", counted):
        clf.fit(X, Y)
    assert written == [2, 5, 6]


def test_interval_resumes_from_the_last_writing(tmp_path):
    def make(folder):
        return small(max_epochs=7, checkpoint=folder, checkpoint_interval=2)

    resumed, whole = resumed_and_whole(
        tmp_path, make, lambda clf, **kwargs: clf.fit(X, Y, **kwargs), epoch=5
    )
    assert np.array_equal(parameters_of(resumed), parameters_of(whole))


def test_a_finished_training_is_taken_up_without_training(tmp_path):
    whole = small(max_epochs=3, checkpoint=tmp_path, averaging="ema").fit(X, Y)
    with mock.patch(
        "imbtorch.training.single.engine.SingleEngine.epoch", side_effect=AssertionError
    ):
        again = small(max_epochs=3, checkpoint=tmp_path, averaging="ema").fit(X, Y, resume=True)
    assert np.array_equal(parameters_of(again), parameters_of(whole))
    assert again.n_iter_ == 3


def test_nothing_to_resume_begins(tmp_path):
    begun = small(checkpoint=tmp_path / "new" / "folder").fit(X, Y, resume=True)
    assert np.array_equal(parameters_of(begun), parameters_of(small().fit(X, Y)))


def test_fit_begins_anew(tmp_path):
    make = lambda: small(max_epochs=4, checkpoint=tmp_path)  # noqa: E731
    cut_short(lambda: make().fit(X, Y))
    anew = make().fit(X, Y)
    assert np.array_equal(parameters_of(anew), parameters_of(small(max_epochs=4).fit(X, Y)))
    cut_short(lambda: make().fit(X, Y), epoch=0)
    assert not (tmp_path / FILE).exists()  # nothing of an older training to take up by mistake


def test_interruption_is_resumed(tmp_path):
    clf = small(max_epochs=4, checkpoint=tmp_path, on_interrupt="keep")
    calls = []

    def stop(run, epoch, original=checkpoint_module.Checkpoint.write):
        calls.append(epoch)
        if len(calls) == 2:
            raise KeyboardInterrupt

    from imbtorch.training.run import Run

    original = Run.close_epoch

    def close(run, *args):
        stop(run, 0)
        original(run, *args)

    with mock.patch.object(Run, "close_epoch", close), pytest.warns(UserWarning, match="interrup"):
        clf.fit(X, Y)
    assert clf.interrupted_
    assert clf.n_iter_ == 1
    clf.fit(X, Y, resume=True)
    assert not clf.interrupted_
    assert np.array_equal(parameters_of(clf), parameters_of(small(max_epochs=4).fit(X, Y)))


# -- kill -9, full disk -----------------------------------------------------------------------

KILLED = """
import sys
from tests.toy import small, table
X, Y = table(200)
small(max_epochs=10**6, lr_schedule="constant", checkpoint=sys.argv[1]).fit(X, Y)
"""


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / FILE).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        for _ in range(40):  # the process goes on writing all the time
            time.sleep(0.011)
            assert "epoch" in unpack(read_file(tmp_path / FILE).tensors(finite=False))
        killed.send_signal(signal.SIGKILL)
    finally:
        killed.kill()
        killed.wait(10)
    state = unpack(read_file(tmp_path / FILE).tensors(finite=False))
    assert state["epoch"] >= 1
    assert len(state["history"]) == state["epoch"] + 1
    clf = small(max_epochs=10**6, lr_schedule="constant", checkpoint=tmp_path)
    cut_short(lambda: clf.fit(X, Y, resume=True), state["epoch"] + 1)  # goes on from there


def test_full_disk(tmp_path):
    clf = small(max_epochs=3, checkpoint=tmp_path)
    full = OSError(28, "No space left on device")
    with (
        mock.patch.object(checkpoint_module, "write_file", side_effect=full),
        pytest.warns(UserWarning, match="No checkpoint was written after epoch .*No space"),
    ):
        clf.fit(X, Y)
    assert clf.n_iter_ == 3


# -- refused ----------------------------------------------------------------------------------


def test_no_folder():
    with pytest.raises(ValueError, match=r"resume=True.*checkpoint='folder'"):
        small().fit(X, Y, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda clf: clf.set_params(lr=0.5), "lr was 0.003, is 0.5"),
        (lambda clf: clf.set_params(max_epochs=9), "max_epochs was 4, is 9"),
        (lambda clf: clf.set_params(loss="focal"), "loss was 'logit_adjusted', is 'focal'"),
        (lambda clf: clf.set_params(module__hidden_sizes=(9,)), "module was"),
    ],
)
def test_another_training(tmp_path, change, message):
    clf = small(max_epochs=4, checkpoint=tmp_path)
    cut_short(lambda: clf.fit(X, Y))
    before = (tmp_path / FILE).read_bytes()
    change(clf)
    with pytest.raises(ValueError, match=f"of another training.*{message}"):
        clf.fit(X, Y, resume=True)
    assert (tmp_path / FILE).read_bytes() == before
    assert not hasattr(clf, "net_")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, 1 - Y), "y was"),
        ((X[:-1], Y[:-1]), "shape of X was"),
        ((X + 1, Y), "X was"),
        ((X, Y, np.ones(len(Y))), "sample_weight was"),
    ],
)
def test_other_data(tmp_path, data, message):
    clf = small(max_epochs=4, checkpoint=tmp_path)
    cut_short(lambda: clf.fit(X, Y))
    with pytest.raises(ValueError, match=f"of another training.*{message}"):
        clf.fit(*data, resume=True)


@pytest.mark.parametrize(
    "harmless",
    [{"device": "cpu"}, {"target_prior": "train"}, {"on_oom": "split"}, {"random_state": 7}],
    ids=str,
)
def test_what_may_differ(tmp_path, harmless):
    clf = small(max_epochs=4, checkpoint=tmp_path)
    cut_short(lambda: clf.fit(X, Y))
    clf.set_params(**harmless).fit(X, Y, resume=True)
    assert np.array_equal(parameters_of(clf), parameters_of(small(max_epochs=4).fit(X, Y)))


def test_a_damaged_file(tmp_path):
    clf = small(max_epochs=4, checkpoint=tmp_path)
    cut_short(lambda: clf.fit(X, Y))
    file = tmp_path / FILE
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(FileFormatError):
        clf.fit(X, Y, resume=True)
    write_file(file, {"kind": "model"}, {})
    with pytest.raises(FileFormatError, match="not a checkpoint"):
        clf.fit(X, Y, resume=True)
    write_file(file, {"kind": "checkpoint", "checkpoint_format": 1, "versions": {}}, {})
    with pytest.raises(FileFormatError, match="holds no valid training"):
        clf.fit(X, Y, resume=True)
    versions = {"kind": "checkpoint", "checkpoint_format": 1, "versions": {}}
    write_file(file, versions, pack({"epoch": 1}))
    with pytest.raises(FileFormatError, match="parts are missing"):
        clf.fit(X, Y, resume=True)
    assert not hasattr(clf, "net_")


def test_callbacks_start_anew(tmp_path):
    clf = small(max_epochs=4, checkpoint=tmp_path, callbacks=[LRScheduler("StepLR", step_size=1)])
    cut_short(lambda: clf.fit(X, Y))
    with pytest.warns(UserWarning, match="start again from zero"):
        clf.fit(X, Y, resume=True)
    assert clf.n_iter_ == 4


def test_other_versions_warn(tmp_path, monkeypatch):
    clf = small(max_epochs=4, checkpoint=tmp_path)
    cut_short(lambda: clf.fit(X, Y))
    monkeypatch.setattr(imbtorch._common.versions, "__version__", "0.99.7")
    with pytest.warns(UserWarning, match="may differ in the last digits"):
        clf.fit(X, Y, resume=True)


# -- beside searches and ensembles ------------------------------------------------------------


def test_searches_train_such_nets_alone(tmp_path):
    search = StackedGridSearchCV(small(checkpoint=tmp_path), {"lr": [0.001, 0.01]}, cv=2)
    with pytest.warns(UserWarning, match="a checkpoint belongs to a single net"):
        search.fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_ensembles_refuse(tmp_path):
    with pytest.raises(ValueError, match="checkpoint"):
        BalancedNetEnsembleClassifier(small(checkpoint=tmp_path), 2).fit(X, Y)


def test_pickles_hold_no_checkpoint(tmp_path):
    with_one = small(checkpoint=tmp_path).fit(X, Y)
    assert len(pickle.dumps(with_one)) < len(pickle.dumps(small().fit(X, Y))) + 500


# -- the parts --------------------------------------------------------------------------------


def test_state_survives():
    state = {
        "numbers": [1, 0.1, float("inf"), float("-inf"), True, None, "text", 10**30],
        7: (torch.arange(3), [np.eye(2)], {}),
        "scalar": np.float32(0.5),
        "nested": {"tensor": torch.tensor(2.0), "float": "no marker"},
    }
    back = unpack(pack(state))
    assert back["numbers"] == state["numbers"]
    assert isinstance(back[7], tuple)
    assert torch.equal(back[7][0], torch.arange(3))
    assert np.array_equal(back[7][1][0], np.eye(2))
    assert back["scalar"] == 0.5
    assert back["nested"]["float"] == "no marker"
    assert back["nested"]["tensor"] == 2
    assert np.isnan(unpack(pack([float("nan")]))[0])


def test_state_of_something_else():
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\] is a set"):
        pack({"a": [1, {2}]})
    with pytest.raises(ValueError, match="not the state"):
        unpack({})


def test_descriptions_have_no_addresses():
    assert describe(test_no_folder) == "<function test_no_folder>"
    assert describe([1, "a"]) == "[1, 'a']"
