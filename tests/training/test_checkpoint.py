"""A training that was cut short ends in the same bits as one that was not."""

import copy
import functools
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
import pandas as pd
import pytest
import torch
from scipy import sparse
from skorch.callbacks import LRScheduler
from torch import nn
from torch.utils.data import TensorDataset

import imbtorch._common.versions
from imbtorch import FileFormatError, ImbalancedNetRegressor, NetEnsembleClassifier
from imbtorch._data.datasets_as_rows import DatasetReader
from imbtorch._fit.sources.arrays import TrainingSplit
from imbtorch._safe_file import read_file, write_file
from imbtorch.feature_smoothing import FeatureSmoothing
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.training import checkpoint as checkpoint_module
from imbtorch.training.checkpoint import describe
from imbtorch.training.packing import pack, unpack
from tests.limits import END_SECONDS
from tests.toy import parameters_of, plain_columns, small, table
from tests.training.resume import X as MATRIX_X
from tests.training.resume import cases, cut_short, estimator, outcome

ROOT = Path(__file__).resolve().parents[2]
X, Y = table(200)
FILE = "checkpoint.safetensors"


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
def test_every_loss_and_sampler_in_new_processes(tmp_path, forks):
    full = os.environ.get("IMBTORCH_FULL_MATRIX") == "1"
    torch.set_num_threads(1)
    names = list(cases(full=full))
    for action in ("begin", "continue"):
        forks.run(
            "from pathlib import Path\nfrom tests.training.resume import main\n"
            f"main(Path({str(tmp_path)!r}), {action!r}, {names!r})"
        )
    found = np.load(tmp_path / "found.npz")
    wrong = []
    for name in names:
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
        {"module": Normed, "averaging": "ema", "batch_size": 8},  # a recorded chain
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
        {"accumulate": 3},
        {"precision": "bfloat16"},
        {"precision": "float16"},
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
        deadline = time.monotonic() + END_SECONDS
        while not (tmp_path / FILE).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        for _ in range(40):  # the process goes on writing all the time
            time.sleep(0.011)
            assert "epoch" in unpack(read_file(tmp_path / FILE).tensors(finite=False))
        killed.send_signal(signal.SIGKILL)
    finally:
        killed.kill()
        killed.wait(END_SECONDS)
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


def test_a_training_of_an_accelerator_goes_on_elsewhere(tmp_path, monkeypatch):
    clf = small(max_epochs=4, checkpoint=tmp_path)

    def states(device):  # an accelerator has a generator of its own
        return [torch.get_rng_state(), torch.arange(16, dtype=torch.uint8)]

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_module, "rng_states", states)
        cut_short(lambda: clf.fit(X, Y))
    clf.fit(X, Y, resume=True)
    assert np.array_equal(parameters_of(clf), parameters_of(small(max_epochs=4).fit(X, Y)))


@pytest.mark.gpu
def test_a_training_on_a_gpu_goes_on_on_the_cpu(tmp_path):
    clf = small(max_epochs=4, checkpoint=tmp_path, device="cuda")
    cut_short(lambda: clf.fit(X, Y))
    clf.set_params(device="cpu").fit(X, Y, resume=True)
    expected = small(max_epochs=4, device="cpu").fit(X, Y)
    np.testing.assert_allclose(parameters_of(clf), parameters_of(expected), atol=1e-4)


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


def forged(folder, change):
    """Change the saved state of a training, and make the checksum right again."""
    with read_file(folder / FILE) as file:
        document, state = file.document, unpack(file.tensors())
    state = change(state) or state
    write_file(folder / FILE, document, pack(state))


def put(*path, value):
    """Return a change of one value of a state; a callable gets the former value."""

    def change(state):
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value(state[path[-1]]) if callable(value) else value

    return change


def moment(value):
    return put("optimizer", "state", 0, "exp_avg", value=value)


@pytest.mark.parametrize(
    "change",
    [
        moment(torch.zeros(1)),
        moment(torch.zeros(0)),
        moment(lambda t: t.double()),
        moment(lambda t: t * np.nan),
        moment(0.5),
        put("optimizer", "state", 0, "step", value=torch.zeros(3)),
        put("optimizer", "state", 0, value={}),
        put("optimizer", "state", value=[]),
        put("optimizer", value={}),
        put("optimizer", "param_groups", value=[]),
        put("optimizer", "param_groups", 0, "params", value=[0, 0, 1, 2]),
        put("optimizer", "param_groups", 0, "betas", value=(0.5, 0.5)),
        put("optimizer", "param_groups", 0, "maximize", value=True),
        put("optimizer", "param_groups", 0, "weight_decay", value="0"),
        put("module", value={}),
        put("module", "0.weight", value=lambda t: t.t()),
        put("module", "0.weight", value=lambda t: t * np.inf),
        put("loss", "log_prior", value=torch.zeros(3)),
        put("loss", "code", value=torch.zeros(3)),
        put("loss", value=None),
        put("engine", value=None),
        put("engine", "n_parts", value=0),
        put("engine", "average", "count", value=-10),
        put("engine", "average", "decay", value=0.1),
        put("engine", "average", "mean", 0, value=lambda t: t.reshape(-1)),
        put("engine", "average", "mean", value=[]),
        put("engine", "average", "update", value=1),
        put("rng", value=[]),
        put("rng", 0, value=torch.zeros(3, dtype=torch.uint8)),
        put("rng", 0, value=lambda t: t * 0),
        put("monitors", value=[]),
        put("monitors", 0, value=None),
        put("monitors", 0, "score", value=1),
        put("monitors", 0, "best", value="0"),
        put("monitors", 0, "improved_in", value=99),
        put("monitors", 0, "weights", value={}),
        put("monitors", 0, "weights", "0.bias", value=torch.zeros(1)),
        put("history", value=[]),
        put("history", 0, value=1),
        put("history", 0, "train_loss", value="0"),
        put("epoch", value=99),
        put("epoch", value=-1),
        put("epoch", value="1"),
        put("done", value=1),
        put("seeds", value=[]),
        put("seeds", 0, value=-1),
        put("seeds", 0, value=2**40),
        put("identity", value=[]),
    ],
)
def test_forged_with_a_valid_checksum(tmp_path, change):
    def make():
        return small(
            max_epochs=4, checkpoint=tmp_path, averaging="ema", early_stopping=True, batch_size=32,
            features=plain_columns(),
        )  # fmt: skip

    cut_short(lambda: make().fit(X, Y))
    forged(tmp_path, lambda state: None)
    clf = make()
    cut_short(lambda: clf.fit(X, Y, resume=True), epoch=3)  # unchanged it is continued
    forged(tmp_path, change)
    with pytest.raises(FileFormatError, match="holds no valid training"):
        make().fit(X, Y, resume=True)


class Slow(torch.optim.Optimizer):
    """An optimizer of the user's own, which remembers more after some steps."""

    def __init__(self, params, lr, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "calls": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["calls"] += 1
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad)
                if group["calls"] > 3:
                    slow = self.state[p].setdefault("slow", p.clone())
                    p.copy_(slow.lerp_(p, 0.5))


def test_optimizers_of_the_user(tmp_path):
    make = lambda folder: small(max_epochs=4, checkpoint=folder, optimizer=Slow, lr=0.01)  # noqa: E731
    resumed, whole = resumed_and_whole(tmp_path, make, lambda clf, **kw: clf.fit(X, Y, **kw))
    assert np.array_equal(parameters_of(resumed), parameters_of(whole))
    cut_short(lambda: make(tmp_path).fit(X, Y))
    forged(tmp_path, put("optimizer", "state", 0, "slow", value=torch.zeros(2)))
    with pytest.raises(FileFormatError, match="another shape than its parameter"):
        make(tmp_path).fit(X, Y, resume=True)


def test_a_state_of_too_many_values(tmp_path):
    text = b"[" + b"{}," * 1_000_000 + b"0]"
    with pytest.raises(ValueError, match="too many values"):
        unpack({"structure": torch.frombuffer(bytearray(text), dtype=torch.uint8)})


def test_long_histories_take_little_space():
    records = [
        {"epoch": i, "lr": 0.1, "train_loss": float("nan"), "best": i % 2 == 0}
        for i in range(50_000)
    ]
    tensors = pack({"history": records})
    assert sum(t.numel() * t.element_size() for t in tensors.values()) < 30 * len(records)
    back = unpack(tensors)["history"]
    assert len(back) == len(records)
    assert repr(back[7]) == repr(records[7])


def test_a_diverged_training_diverges_again(tmp_path):
    def make():
        return small(max_epochs=4, checkpoint=tmp_path, lr=1e30, on_divergence="warn")

    for _ in range(2):
        with pytest.warns(UserWarning, match="diverged in epoch 1"):
            make().fit(X, Y, resume=True)


def test_escape_codes_of_a_checkpoint(tmp_path):
    clf = small(max_epochs=4, checkpoint=tmp_path)
    cut_short(lambda: clf.fit(X, Y))
    forged(tmp_path, put("identity", "lr", value="\x1b[31m"))
    with pytest.raises(ValueError, match=r"lr was \\x1b\[31m, is 0.003") as raised:
        clf.fit(X, Y, resume=True)
    assert "\x1b" not in str(raised.value)


# -- what is compared -------------------------------------------------------------------------


def scaled(factor):
    return lambda progress: factor * (1 - progress)


class Callable:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, progress):
        return self.factor * (1 - progress)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(2000), np.eye(1, 2000, 1000)[0]),
        (torch.zeros(2000), torch.eye(2000)[1000]),
        ({0: np.zeros(2000)}, {0: np.eye(1, 2000, 1000)[0]}),
        (pd.Series(np.zeros(2000)), pd.Series(np.eye(1, 2000, 1000)[0])),
        (lambda t: 1 - t, lambda t: 1 - 2 * t),
        (scaled(1.0), scaled(2.0)),
        (functools.partial(scaled, 1.0), functools.partial(scaled, 2.0)),
        (Callable(1.0), Callable(2.0)),
        (Callable(1.0).__call__, Callable(2.0).__call__),
        (nn.Linear(2, 2), nn.Linear(2, 2)),
        ([scaled(1.0)], [scaled(2.0)]),
        ("a" * 1000, "a" * 999 + "b"),
    ],
)
def test_values_that_differ(one, other):
    assert describe(one) != describe(other)
    assert describe(one) == describe(copy.deepcopy(one))
    assert max(len(describe(one)), len(describe(other))) < 300


def test_classes_are_told_apart_by_their_code():
    def made(factor):
        class Module(nn.Linear):
            def forward(self, x):
                return factor * super().forward(x)

        return Module

    assert describe(made(1)) != describe(made(2))
    assert describe(made(1)) == describe(made(1))
    assert "digest" in describe(nn.Linear)


@pytest.mark.parametrize("row", [0, 4999, 9999])
def test_one_changed_value_in_10_000_rows(row):
    rows, target = np.zeros((10_000, 3), np.float32), np.zeros(10_000)
    changed = rows.copy()
    changed[row, 1] = 1e-3
    pairs = [(rows, changed), (sparse.csr_array(rows), sparse.csr_array(changed))]
    pairs.append(tuple(DatasetReader(TensorDataset(torch.tensor(x), torch.tensor(target))) for x in
                       (rows, changed)))  # fmt: skip
    for one, other in pairs:
        before, after = (TrainingSplit(x, target, None).identity() for x in (one, other))
        assert before == TrainingSplit(one, target, None).identity()
        assert [name for name in before if before[name] != after[name]] == ["X"]


def test_a_memory_map_is_the_array_that_it_holds(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert TrainingSplit(mapped, Y, None).identity() == TrainingSplit(X, Y, None).identity()


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
        NetEnsembleClassifier(small(checkpoint=tmp_path), 2).fit(X, Y)


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
    assert describe(test_no_folder).startswith("<function test_no_folder> (digest ")
    assert describe([1, "a"]) == "[1, 'a']"
