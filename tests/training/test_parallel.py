"""Two processes train one net: the model of one process, and the seven ways to get another.

All fits of two processes are one job of ``parallel_job.py``, started once by torchrun; here one
process does the same fits, and the results are compared.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from imbtorch import load
from imbtorch.losses import all_losses
from imbtorch.losses.regression import all_regression_losses
from imbtorch.training.data.features import as_features
from imbtorch.training.data.rows import ArrayRows, batch_sizes
from imbtorch.training.distributed import Processes, _unlike
from imbtorch.training.single.distributed_engine import own_batches
from tests.limits import END_SECONDS
from tests.toy import small, table
from tests.training.parallel_job import BATCH, CASES, NUMBERED, PATIENCE, TIME_LIMIT, Y3, Y, outcome

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.skipif(
        not torch.distributed.is_available() or os.name == "nt", reason="needs torch.distributed"
    ),
    pytest.mark.timeout(TIME_LIMIT + 3 * END_SECONDS),  # the first test waits for the job
]

COMPARING = {  # the rows of a batch with each other
    "auc_margin",
    "focal_tversky",
    "pairwise_logistic",
    "partial_auc",
    "recall_at_top",
    "smooth_ap",
    "soft_fbeta",
    "tversky",
}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """What each of two processes found, by case; the workers of pytest-xdist share one job."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "parallel_job"
    done = folder / "done"
    try:
        folder.mkdir()
    except FileExistsError:
        deadline = time.monotonic() + TIME_LIMIT + 2 * END_SECONDS
        while not done.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
    else:
        done.with_suffix(".part").write_text(launch(folder))
        done.with_suffix(".part").rename(done)
    results = [dict(pickled(folder / f"{rank}.pickle")) for rank in range(2)]
    assert set(results[0]) == set(CASES), done.read_text()
    return results


def launch(folder):
    """Let torchrun start two processes; return what they print."""
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    if sys.platform == "linux":
        env["GLOO_SOCKET_IFNAME"] = "lo"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    with subprocess.Popen(
        [*torchrun, "--nproc_per_node=2", "-m", "tests.training.parallel_job", str(folder)],
        env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            return process.communicate(timeout=TIME_LIMIT + END_SECONDS)[0]
        except subprocess.TimeoutExpired:
            process.terminate()  # which ends those that it started
            return process.communicate(timeout=END_SECONDS)[0]


def pickled(path):
    with path.open("rb") as file, contextlib.suppress(EOFError):
        while True:
            yield pickle.load(file)


def alone(name):
    """Let one process do a case."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return outcome(name, 1, 0)


def assert_same_model(job, name):
    """Both processes have one model, to the bit, and it is that of one process."""
    first, second = (results[name] for results in job)
    assert "error" not in first, first
    assert_equal_in_both(job, name)
    expected = alone(name)
    assert set(expected) == set(first)
    assert expected["n_iter"] == first["n_iter"] == second["n_iter"]
    for key in set(expected) - {"rows"}:
        scale = np.abs(expected[key]).max()
        np.testing.assert_allclose(first[key], expected[key], rtol=0, atol=1e-9 * scale)


def assert_equal_in_both(job, name):
    first, second = (results[name] for results in job)
    assert set(first) == set(second)
    for key in set(first) - {"rows"}:
        np.testing.assert_array_equal(first[key], second[key])


def test_half_precision(job):
    """Both processes have one model, and the scale of one process."""
    assert_equal_in_both(job, "half_precision")
    expected, found = alone("half_precision"), job[0]["half_precision"]
    for key in set(expected) - {"rows"}:
        scale = np.abs(expected[key]).max()
        np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=0.02 * scale)


def errors_of(job, name):
    found = [results[name].get("error", "") for results in job]
    assert all(found), f"{name} went through in one process: {found}"
    return found


# -- the seven pitfalls ------------------------------------------------------------------------


def test_1_rows_of_an_uneven_batch_weigh_as_in_one_process(job):
    assert len(Y) % BATCH == 11  # five rows in one process, six in the other
    assert_same_model(job, "uneven_batches")


def test_2_a_class_that_one_process_lacks_counts_in_both(job):
    assert np.bincount(Y3).min() == 2
    for results in job:
        np.testing.assert_array_equal(results["rare_class"]["counts"], np.bincount(Y3))
    assert_same_model(job, "rare_class")


@pytest.mark.parametrize("case", ["rows_of_each_batch", "rows_of_a_balanced_sampler"])
def test_3_rows_of_a_sampler_are_divided_not_drawn_twice(job, case):
    first, second = (results[case]["rows"] for results in job)
    both = [own + others for own, others in zip(first, second, strict=True)]
    expected = alone(case)["rows"]
    assert both == expected
    assert expected[: len(expected) // 2] != expected[len(expected) // 2 :]  # epochs differ
    if case == "rows_of_a_balanced_sampler":
        for rows in (first, second):
            drawn = Y[[int(row) for batch in rows for row in batch]]
            assert 0.4 < drawn.mean() < 0.6


def test_4_processes_have_equally_many_batches_and_repeat_no_row(job):
    first, second = (results["rows_of_each_batch"]["rows"] for results in job)
    assert len(first) == len(second) == 2 * len(batch_sizes(len(Y), BATCH))
    epoch = [row for rows in (first, second) for batch in rows[:7] for row in batch]
    assert sorted(epoch) == NUMBERED[:, 0].astype(int).tolist()


def test_5_validation_asks_about_each_row_once(job):
    assert_same_model(job, "validation")
    first, second = (results["validation"]["rows"] for results in job)
    assert first == [round(0.23 * len(Y))] * 3
    assert second == []  # the first process tells the score


@pytest.mark.parametrize(
    "case",
    [
        *(f"loss {name}" for name in sorted(all_losses())),
        *(f"values {name}" for name in sorted(all_regression_losses())),
    ],
)
def test_6_losses_use_the_counts_of_all_rows_or_are_refused(job, case):
    kind, name = case.split()
    if name in COMPARING or case == "values balanced_mse":
        for error in errors_of(job, case):
            assert error.startswith("ValueError")
            assert "compares the rows of a batch" in error
    else:
        assert_same_model(job, case)


@pytest.mark.parametrize(
    ("case", "rank", "message"),
    [
        ("failure_in_a_batch", 1, "MemoryError: no more memory"),
        ("failure_of_a_step", 1, "MemoryError: no more memory"),
        ("failure_of_a_callback", 0, "OSError: disk full"),
        ("failure_of_the_score", 0, "ArithmeticError: no score"),
        ("failure_before_the_training", 1, "ValueError: Input X contains infinity"),
    ],
)
def test_7_what_fails_in_one_process_fails_in_both(job, case, rank, message):
    errors = errors_of(job, case)
    assert errors[rank].startswith(message)
    assert errors[1 - rank].startswith(
        f"RuntimeError: Training failed in process {rank}: {message}"
    )


def test_7_nan_in_one_process_is_a_divergence_in_both(job):
    first, second = errors_of(job, "nan_in_one_process")
    assert first == second
    assert first.startswith("DivergenceError")


def test_7_a_process_that_stops_is_missed_in_time(job):
    result = job[0]["a_process_that_stops"]
    assert f"did not answer within {PATIENCE} s" in result["error"]
    assert "error" in job[1]["a_process_that_stops"]  # it has lost the others when it goes on


def test_7_a_process_that_comes_too_late_is_missed_in_time(job):
    for result in job:  # each of them waits for three seconds
        error = result["a_process_that_comes_late"]["error"]
        assert "has not called fit or did not answer within 3 s" in error
        assert "data_parallel=6" in error


def test_7_a_process_that_dies_is_missed(job):
    assert "a_process_that_dies" not in job[1]
    assert "has lost the connection" in job[0]["a_process_that_dies"]["error"]


# -- whatever follows the gradients is that of one process --------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        "early_stopping",
        "mixture_of_gaussians",
        "several_inputs",
        "sparse_rows",
        "several_fits",
        "resumed_training",
        "batches_in_parts",
        "chunks",
        "unused_layer",
        "own_modules",
        "a_group_that_was_there",
        *(name for name in CASES if name.split()[0] in {"labels", "sampler", "setting"}),
    ],
)
def test_two_processes_train_the_model_of_one(job, case):
    torch.manual_seed(0)  # that of the first process, in own_modules
    assert_same_model(job, case)


def test_early_stopping_stops(job):
    assert job[0]["early_stopping"]["n_iter"] < 40


@pytest.mark.parametrize("case", ["own_seeds", "dropout", "an_end_that_one_asks_for"])
def test_processes_have_one_model_where_one_process_has_another(job, case):
    assert_equal_in_both(job, case)


def test_an_end_that_one_process_asks_for_ends_both(job):
    assert job[0]["an_end_that_one_asks_for"]["n_iter"] == 2


def test_ctrl_c_in_one_process_interrupts_both_at_the_same_step(job):
    assert_equal_in_both(job, "ctrl_c_in_one_process")
    result = job[0]["ctrl_c_in_one_process"]
    assert result["interrupted"]
    assert result["n_iter"] == 1  # the second epoch was never finished


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("other_rows", "they differ in X, y, shape of X"),
        ("other_features", "they differ in X. Process 1 is unlike process 0."),
        ("one_other_number", "they differ in X. Process 1 is unlike process 0."),
        ("other_parameters", "they differ in lr. Process 1 is unlike process 0."),
        ("other_time_limits", "they differ in data_parallel."),
        ("a_time_limit_for_a_group_that_was_there", "init_process_group(timeout=...)"),
        ("batch_normalisation", "BatchNorm1d takes its statistics from the whole batch"),
        ("watched_batches", "callbacks look at whole batches"),
        ("own_loss", "OwnLoss compares the rows"),
        ("an_auxiliary_loss_of_the_batch", "but data_parallel=True computes a batch in parts"),
        ("an_ensemble", "nets of an ensemble"),
        ("several_threads", "n_jobs=1"),
    ],
)
def test_what_cannot_be_divided_is_refused_in_both(job, case, message):
    for error in errors_of(job, case):
        assert error.startswith("ValueError")
        assert message in error


def test_weights_that_drift_apart_are_noticed(job):
    for error in errors_of(job, "weights_that_drift"):
        assert "weights of the processes differ" in error
        assert "Process 1 is unlike process 0." in error


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("aab", "Process 2 is unlike process 0."),
        ("baa", "Process 0 is unlike process 1."),
        ("abac", "Processes 1, 3 are unlike process 0."),
        ("abb", "Process 0 is unlike process 1."),
        ("ab", "Process 1 is unlike process 0."),
    ],
)
def test_message_names_the_processes_that_differ(values, message):
    assert _unlike(values) == message


# -- parts of batches, without processes --------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 2, 7, 8, 9, 16, 17, 31])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 5, 8])
def test_parts_of_the_processes_make_up_each_batch(n_rows, size, batch_size):
    rng = np.random.default_rng(0)
    X, codes, weights = rng.normal(size=(40, 3)), rng.integers(0, 3, 40), rng.uniform(size=40)
    cpu = torch.device("cpu")
    rows = ArrayRows(as_features(X, torch.float64, cpu), codes, weights, torch.float64, cpu)
    order = torch.randperm(40)[:n_rows]
    whole = list(rows.batches(order, batch_size))
    parts = [
        list(own_batches(rows, order, batch_size, Processes(rank, size))) for rank in range(size)
    ]
    for batch, *own in zip(whole, *parts, strict=True):
        present = [part for part in own if part is not None]
        for place in range(3):
            joined = torch.cat([part[place] for part in present])
            torch.testing.assert_close(joined, batch[place], rtol=1e-14, atol=0)


def test_one_process_trains_as_usual():
    X, y = table(100)
    first, *others = (
        small(data_parallel=given).fit(X, y).predict_proba(X) for given in (False, True, 60.0)
    )
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("limit", [0, 0.5, -1.0, np.inf, np.nan])
def test_time_limit_is_at_least_a_second(limit):
    with pytest.raises(ValueError, match="data_parallel"):
        small(data_parallel=limit).fit(*table(40))


def test_estimator_with_a_time_limit_can_be_saved(tmp_path):
    clf = small(data_parallel=90).fit(*table(60))
    clf.save(tmp_path / "net.safetensors")
    assert load(tmp_path / "net.safetensors").data_parallel == 90


def test_sparse_parts_stay_sparse():
    X = sparse.csr_array(sparse.random(20, 200, density=0.02, random_state=0))
    cpu = torch.device("cpu")
    features = as_features(X, torch.float64, cpu)
    rows = ArrayRows(features, np.zeros(20, dtype=int), None, torch.float64, cpu)
    for x, _, _ in own_batches(rows, torch.arange(20), 8, Processes(1, 2), sparse=True):
        assert not isinstance(x, torch.Tensor)
