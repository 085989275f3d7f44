"""The scripts of examples/ and benchmarks/ run, on little data."""

import ast
import csv
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import types
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

from examples.shared_files import data_folder
from tests.limits import PROCESS_SECONDS

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("--rounds", 1, "--rows")
GALLERY = {  # what each script prints, among other things
    "plot_chainer_class_weight.py": ["2.6265234", "[[ 1.4621172 -1.4621172]]", "0.214"],
    "plot_compare_with_smote.py": ["SMOTE inside the net", "gamma found", "Average precision"],
    "plot_costs_of_each_row.py": ["costs of each row", "one cost matrix", "gradient boosting"],
    "plot_decisions_that_keep_a_promise.py": ["50 alarms in 1,000", "undecided", "confidence 0.9"],
    "plot_drifting_frequencies.py": ["p-value", "Brier, as trained", "budget"],
    "plot_eye_state_sequences.py": ["torch's L1Loss", "balanced", "recall, closed"],
    "plot_focal_loss_shape.py": ["gradient", "p = 0.9"],
    "plot_folder_of_images.py": ["balanced batches  yes", "num_workers=0", "probabilities: True"],
    "plot_fraud_focal.py": ["focal, balanced", "1/21, restated", "Brier, restated"],
    "plot_image_and_table.py": ["order and image", "twice the epochs", "focal, balanced weights"],
    "plot_long_tailed_images.py": ["LDAM-DRW", "cRT"],
    "plot_many_labels.py": ["pos_weight, balanced", "asymmetric", "largest relative difference"],
    "plot_messy_frame_to_onnx.py": ["Not yet: columns of dates", "promised: recall", "100.00%"],
    "plot_rare_prices.py": ["LDS weights", "balanced MSE"],
    "plot_rare_text.py": ["different words", "logit adjustment", "counts of up to 3"],
    "plot_sensor_records.py": ["20 to 70 minutes", "statistics, boosted trees", "together: "],
    "plot_three_tasks.py": ["huber", "balanced_softmax", "to the bit: True"],
}
FIGURES = {  # how many each of them draws, if it is not one
    "plot_compare_with_smote.py": 2,
    "plot_costs_of_each_row.py": 2,
    "plot_decisions_that_keep_a_promise.py": 3,
    "plot_drifting_frequencies.py": 2,
    "plot_fraud_focal.py": 4,
    "plot_rare_prices.py": 2,
}

WITH_DATA = [  # those that look for files, and use stand-ins where there are none
    script
    for script in GALLERY
    if "IMBTORCH_DATA" in (ROOT / "examples" / script).read_text("utf-8")
]

RUN_SCRIPT = """
import os, runpy, sys
sys.argv = {command}
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_alone(script, *arguments, cwd):
    """Run a script in a process of its own, which takes seconds to import torch."""
    env = dict(os.environ, OMP_NUM_THREADS="1", MPLBACKEND="Agg")
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        env=env, cwd=cwd, capture_output=True, text=True, timeout=PROCESS_SECONDS,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a script in this process, as Python would: its folder is on the path, it is __main__."""

    def run_here(script, *arguments):
        path = ROOT / script
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        monkeypatch.syspath_prepend(path.parent)
        code = 0
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            code = end.code
        output, errors = capsys.readouterr()
        return (1, output, errors + code) if isinstance(code, str) else (code or 0, output, errors)

    threads = torch.get_num_threads()
    plt.switch_backend("agg")
    with mpl.rc_context():
        yield run_here
    plt.close("all")
    torch.set_num_threads(threads)


@pytest.fixture
def forked_processes(monkeypatch, forks):
    """Fork what benchmarks measure in a fresh process, which need not import torch again."""

    def fork(script, *arguments):
        printed = forks.run(RUN_SCRIPT.format(command=[script, *arguments]))
        return json.loads(printed.splitlines()[-1])

    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr("common.in_fresh_process", fork)


@pytest.mark.slow
def test_comparison_prints_a_table_and_writes_figures(tmp_path, run):
    code, output, errors = run("examples/compare_with_smote.py", "--quick", "--out", "o")
    assert code == 0, errors
    for strategy in ("cross-entropy", "balanced weights", "focal", "logit adjustment", "SMOTE"):
        assert strategy in output
    assert {path.suffix for path in (tmp_path / "o").iterdir()} == {".png", ".csv", ".html"}
    assert max(map(len, output.splitlines())) <= 100  # so that it fits a terminal
    with (tmp_path / "o" / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    before, inside = (
        [row for row in rows if row["strategy"] == f"SMOTE {place} the net"]
        for place in ("before", "inside")
    )
    for one, other in zip(before, inside, strict=True):  # the same nets
        assert one["average_precision"] == other["average_precision"]
        # this one does not know the frequencies of the classes
        assert float(one["brier_train_prior"]) == pytest.approx(float(one["brier"]), rel=1e-6)
        assert float(other["brier_train_prior"]) < float(other["brier"])


def test_comparison_explains_a_folder_that_cannot_be_made(tmp_path, run):
    (tmp_path / "file").touch()
    code, _, errors = run("examples/compare_with_smote.py", "--out", tmp_path / "file" / "o")
    assert code == 2
    assert "--out" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_example_runs_alone_in_a_folder_of_its_own(tmp_path):
    script = shutil.copy(ROOT / "examples" / "plot_focal_loss_shape.py", tmp_path)
    code, output, errors = run_alone(script, cwd=tmp_path)
    assert code == 0, errors
    assert "p = 0.9" in output


def test_runner_of_the_gallery_writes_figures(tmp_path, run):
    example = ROOT / "examples" / "plot_focal_loss_shape.py"
    code, _, errors = run("examples/gallery.py", example, "--quick", "--out", "o")
    assert code == 0, errors
    assert (tmp_path / "o" / "focal_loss_shape.png").stat().st_size > 10_000
    code, _, errors = run("examples/gallery.py", "no_such.py")
    assert code == 2
    assert "there is no script no_such.py" in errors


def test_gallery_is_complete():
    assert sorted(path.name for path in (ROOT / "examples").glob("plot_*.py")) == sorted(GALLERY)


@pytest.mark.parametrize("script", GALLERY)
def test_example_has_the_form_of_the_gallery(script):
    source = (ROOT / "examples" / script).read_text(encoding="utf-8")
    title, underline, blank = ast.get_docstring(ast.parse(source)).splitlines()[:3]
    assert underline == "=" * len(title)
    assert not blank
    assert source.count("\n# %%\n") >= 3
    assert source.endswith("\nplt.show()\n")
    assert "__file__" not in source  # sphinx-gallery has none


@pytest.mark.parametrize("script", GALLERY)
def test_example_imports_no_other_script(script):
    """A notebook is downloaded alone."""
    others = {path.stem for path in (ROOT / "examples").glob("*.py")}
    tree = ast.parse((ROOT / "examples" / script).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    assert not imported & others


@pytest.fixture
def as_main(monkeypatch, capsys):
    """Run a script of the gallery as sphinx-gallery does: in this process, without a __file__."""

    def run_script(script, *arguments):
        path = ROOT / "examples" / script
        main = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), main.__dict__)
        return capsys.readouterr().out

    plt.switch_backend("agg")
    with mpl.rc_context():
        yield run_script
    plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "data"),
    [(script, "shared") for script in GALLERY] + [(script, "none") for script in WITH_DATA],
)
def test_example_prints_its_table_and_draws(tmp_path, monkeypatch, as_main, script, data):
    # stand-ins take the place of data that are not there
    monkeypatch.setenv("IMBTORCH_DATA", str(tmp_path if data == "none" else data_folder()))
    monkeypatch.chdir(tmp_path)
    output = as_main(script, "--quick")
    assert all(word in output for word in GALLERY[script])
    if data == "none":
        assert STAND_INS[script][1] in output
    figures = [tmp_path / f"{number}.png" for number in plt.get_fignums()]
    assert len(figures) == FIGURES.get(script, 1)
    for figure in figures:
        plt.figure(int(figure.stem)).savefig(figure)
    assert min(figure.stat().st_size for figure in figures) > 10_000


STAND_INS = {  # what a script says instead of the names of its data
    "plot_eye_state_sequences.py": ("EEG:", "synthetic signals:"),
    "plot_fraud_focal.py": ("card fraud:", "synthetic transactions:"),
    "plot_long_tailed_images.py": ("MNIST, 14 x 14 pixels:", "scikit-learn's digits:"),
    "plot_many_labels.py": ("bibtex:", "synthetic tags:"),
    "plot_rare_prices.py": ("Boston housing:", "synthetic prices:"),
    "plot_three_tasks.py": ("MNIST, 14 x 14 pixels, 8", "scikit-learn's digits, 8"),
}


def data_files(script):
    """Return the names of the files that a script looks for in the folder of the data."""
    source = (ROOT / "examples" / script).read_text("utf-8")
    return set(re.findall(r'\bfolder / "([\w.-]+)"', source))


def test_scripts_with_data_and_their_files_are_known():
    assert sorted(STAND_INS) == sorted(WITH_DATA)
    assert all(map(data_files, WITH_DATA))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "present"),
    [
        (script, name)
        for script in WITH_DATA
        for name in sorted(data_files(script))
        if len(data_files(script)) > 1
    ],
)
def test_example_uses_data_only_if_all_of_its_files_are_present(
    tmp_path, monkeypatch, as_main, data_dir, script, present
):
    data, stand_in = STAND_INS[script]
    (tmp_path / present).symlink_to(data_dir / present)
    monkeypatch.setenv("IMBTORCH_DATA", str(tmp_path))
    output = as_main(script, "--quick")
    assert stand_in in output
    assert data not in output


@pytest.mark.slow
def test_search_with_optuna_prints_the_best_parameters(tmp_path, run):
    pytest.importorskip("optuna")
    code, output, errors = run("examples/optuna_search.py", "--trials", 4, "--epochs", 2)
    assert code == 0, errors
    assert "4 trials" in output
    assert "loss__gamma = " in output


@pytest.mark.slow
@pytest.mark.usefixtures("forked_processes")
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("benchmarks/bench_fit.py", ("--rows", 4000, "--epochs", 1, "--batch-sizes", 256)),
        ("benchmarks/bench_predict.py", ("--rows", 20_000)),
    ],
)
def test_benchmark_prints_ratios(tmp_path, script, arguments, run):
    code, output, errors = run(script, "--rounds", 1, *arguments)
    assert code == 0, errors
    assert "skorch, defaults" in output
    assert "1.00" in output


@pytest.mark.slow
def test_data_parallel_example_runs_alone(run):
    code, output, errors = run("examples/data_parallel.py", "--epochs", 1, "--rows", 2000)
    assert code == 0, errors
    assert "1 epochs by 1 process(es)" in output


@pytest.mark.slow
def test_parquet_file_is_trained_on_both_ways(tmp_path, run):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    code, output, errors = run("examples/parquet_stream.py", "--epochs", 1, "--workers", 2)
    assert code == 0, errors
    assert "fraud 589, genuine 19411" in output
    assert output.count("average precision") == 2
    assert not list(tmp_path.iterdir())
    columns = {"a": range(40), "b": [i % 7 for i in range(40)], "label": ["x", "y", "x", "x"] * 10}
    pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), tmp_path / "own.parquet")
    arguments = ("--data", "own.parquet", "--target", "label", "--epochs", 1)
    code, output, errors = run("examples/parquet_stream.py", *arguments)
    assert code == 0, errors
    assert "x 30, y 10" in output


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_benchmark_of_a_disk_measures_memory(tmp_path, run):
    arguments = ("--rows", 20_000, "--dtype", "float64", "--folder", tmp_path, "--json", "o.json")
    code, output, errors = run("benchmarks/bench_disk.py", *arguments)
    assert code == 0, errors
    assert "anonymous memory" in output
    found = json.loads((tmp_path / "o.json").read_text())
    assert 0 < found["anonymous"] < found["resident"] < 2e9
    assert [path.name for path in tmp_path.iterdir()] == ["o.json"]


@pytest.mark.slow
@pytest.mark.usefixtures("forked_processes")
def test_benchmark_of_precision_runs(run):
    small = "--widths", 16, "--kinds", "bfloat16", "--rounds", 1
    code, output, errors = run("benchmarks/bench_precision.py", *small)
    assert code == 0, errors
    assert "'bfloat16': " in output


@pytest.mark.slow
@pytest.mark.usefixtures("forked_processes")
def test_benchmarks_of_losses_and_labels_run(tmp_path, run):
    code, output, errors = run(
        "benchmarks/bench_losses.py",
        *QUICK,
        2000,
        "--batch-sizes",
        256,
        "--losses",
        "focal",
        "tversky",
    )
    assert code == 0, errors
    assert "tversky (whole batch)" in output
    code, output, errors = run(
        "benchmarks/bench_multilabel.py", "--rounds", 1, "--epochs", 1, "--batch-sizes", 256
    )
    assert code == 0, errors
    assert "skorch, dense" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        (
            "bench_search.py",
            ("--gammas", 0, 2, "--folds", 2, "--jobs", 2),
            ["skorch, n_jobs=2", "1.00", "best"],
        ),
        ("bench_search.py", ("--cost", "--up-to", 4), ["ms per net and epoch", "1.000"]),
        ("bench_ensemble.py", ("--batch-sizes", 256, "--sizes", 1, 4), ["ensemble of 4", "1.00"]),
    ],
    ids=["search", "cost", "ensemble"],
)
def test_benchmark_of_stacks_prints_its_table(tmp_path, script, arguments, words, run):
    code, output, errors = run(
        f"benchmarks/{script}", *QUICK, 4000, "--epochs", 1, *arguments, "--json", "o.json"
    )
    assert code == 0, errors
    assert all(word in output for word in words)
    assert "seconds" in json.loads((tmp_path / "o.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("bench_search.py", ("--handbook", "--limit", 1), ["1 candidates x 4 folds", "best score"]),
        (
            "bench_ensemble.py",
            ("--quality", "--members", 2, "--set", "max_epochs=1", "--set", "batch_size=1024"),
            ["ensemble of 2", "from day 101", "mean"],
        ),
        ("handbook.py", ("--set", "max_epochs=1"), ["from day 101", "mean"]),
    ],
    ids=["search", "ensemble", "net"],
)
def test_benchmark_follows_the_protocol_of_the_handbook(
    tmp_path, data_dir, script, arguments, words, run
):
    code, output, errors = run(f"benchmarks/{script}", *arguments)
    assert code == 0, errors
    assert all(word in output for word in words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "argument"),
    [("bench_search.py", "--handbook"), ("bench_ensemble.py", "--quality"), ("handbook.py", None)],
)
def test_protocol_of_the_handbook_asks_for_its_data(tmp_path, monkeypatch, script, argument, run):
    monkeypatch.setenv("IMBTORCH_DATA", str(tmp_path))
    arguments = [] if argument is None else [argument]
    code, _, errors = run(f"benchmarks/{script}", *arguments)
    assert code == 2
    assert "IMBTORCH_DATA" in errors
    assert "Traceback" not in errors
