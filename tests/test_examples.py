"""The scripts of examples/ and benchmarks/ run, on little data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(script, *arguments, cwd):
    env = dict(os.environ, OMP_NUM_THREADS="1", MPLBACKEND="Agg")
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        env=env, cwd=cwd, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_comparison_prints_a_table_and_writes_figures(tmp_path):
    code, output, errors = run(
        "examples/compare_with_smote.py", "--quick", "--out", "o", cwd=tmp_path
    )
    assert code == 0, errors
    for strategy in ("cross-entropy", "balanced weights", "focal", "logit adjustment", "SMOTE"):
        assert strategy in output
    assert {path.suffix for path in (tmp_path / "o").iterdir()} == {".png", ".csv"}


@pytest.mark.slow
def test_comparison_takes_a_csv_file(tmp_path):
    rows = [f"{i % 7},{(i * i) % 11},{'rare' if i % 10 == 0 else 'common'}" for i in range(300)]
    (tmp_path / "table.csv").write_text("a,b,kind\n" + "\n".join(rows) + "\n")
    code, output, errors = run(
        "examples/compare_with_smote.py", "--data", "table.csv", "--target", "kind", "--quick",
        "--out", "o", cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, errors
    assert "rare" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "absent.csv", "--target", "y"), "absent.csv"),
        (("--data", "one.csv", "--target", "z"), "'z'"),
        (("--data", "one.csv", "--target", "y"), "class"),
    ],
)
def test_comparison_explains_bad_input(tmp_path, arguments, message):
    (tmp_path / "one.csv").write_text("x,y\n1,a\n2,a\n3,a\n")
    code, output, errors = run("examples/compare_with_smote.py", *arguments, cwd=tmp_path)
    assert code != 0
    assert message in output + errors
    assert "Traceback" not in errors


def test_shape_of_the_focal_loss_is_drawn(tmp_path):
    code, _, errors = run("examples/focal_loss_shape.py", "--out", "o", cwd=tmp_path)
    assert code == 0, errors
    assert (tmp_path / "o" / "focal_loss_shape.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("benchmarks/bench_fit.py", ("--rows", 4000, "--epochs", 1, "--batch-sizes", 256)),
        ("benchmarks/bench_predict.py", ("--rows", 40_000)),
    ],
)
def test_benchmark_prints_ratios(tmp_path, script, arguments):
    code, output, errors = run(script, "--rounds", 1, *arguments, cwd=tmp_path)
    assert code == 0, errors
    assert "skorch, defaults" in output
    assert "1.00" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("long_tailed_images.py", ("--seeds", 1, "--epochs", 2, "--out", "o"), ["LDAM-DRW", "cRT"]),
        ("many_labels.py", ("--epochs", 2), ["pos_weight", "asymmetric"]),
        ("eye_state_sequences.py", ("--epochs", 1), ["L1 loss", "logit adjustment"]),
        ("rare_prices.py", ("--epochs", 4, "--seeds", 1), ["LDS weights", "balanced MSE"]),
        ("data_parallel.py", ("--epochs", 1, "--rows", 2000), ["1 epochs by 1 process(es)"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("data", ["shared", "none"])
def test_example_prints_its_table(tmp_path, monkeypatch, script, arguments, words, data):
    if data == "none":  # stand-ins take the place of data that are not there
        monkeypatch.setenv("IMBTORCH_DATA", str(tmp_path))
    code, output, errors = run(f"examples/{script}", *arguments, cwd=tmp_path)
    assert code == 0, errors
    assert all(word in output for word in words)


@pytest.mark.slow
def test_parquet_file_is_trained_on_both_ways(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    arguments = ("--epochs", 1, "--workers", 2)
    code, output, errors = run("examples/parquet_stream.py", *arguments, cwd=tmp_path)
    assert code == 0, errors
    assert "fraud 589, genuine 19411" in output
    assert output.count("average precision") == 2
    assert not list(tmp_path.iterdir())
    columns = {"a": range(40), "b": [i % 7 for i in range(40)], "label": ["x", "y", "x", "x"] * 10}
    pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), tmp_path / "own.parquet")
    arguments = ("--data", "own.parquet", "--target", "label", "--epochs", 1)
    code, output, errors = run("examples/parquet_stream.py", *arguments, cwd=tmp_path)
    assert code == 0, errors
    assert "x 30, y 10" in output


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_benchmark_of_a_disk_measures_memory(tmp_path):
    arguments = ("--rows", 20_000, "--dtype", "float64", "--folder", tmp_path, "--json", "o.json")
    code, output, errors = run("benchmarks/bench_disk.py", *arguments, cwd=tmp_path)
    assert code == 0, errors
    assert "anonymous memory" in output
    found = json.loads((tmp_path / "o.json").read_text())
    assert 0 < found["anonymous"] < found["resident"] < 2e9
    assert [path.name for path in tmp_path.iterdir()] == ["o.json"]


@pytest.mark.slow
def test_benchmarks_of_losses_and_labels_run(tmp_path):
    code, output, errors = run(
        "benchmarks/bench_losses.py", "--rounds", 1, "--rows", 2000, "--batch-sizes", 256,
        "--losses", "focal", "tversky", cwd=tmp_path,
    )  # fmt: skip
    assert code == 0, errors
    assert "tversky (whole batch)" in output
    code, output, errors = run(
        "benchmarks/bench_multilabel.py", "--rounds", 1, "--epochs", 1, "--batch-sizes", 256,
        cwd=tmp_path,
    )  # fmt: skip
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
def test_benchmark_of_stacks_prints_its_table(tmp_path, script, arguments, words):
    code, output, errors = run(
        f"benchmarks/{script}", "--rounds", 1, "--rows", 4000, "--epochs", 1, *arguments,
        "--json", "o.json", cwd=tmp_path,
    )  # fmt: skip
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
    tmp_path, data_dir, script, arguments, words
):
    code, output, errors = run(f"benchmarks/{script}", *arguments, cwd=tmp_path)
    assert code == 0, errors
    assert all(word in output for word in words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "argument"),
    [("bench_search.py", "--handbook"), ("bench_ensemble.py", "--quality"), ("handbook.py", None)],
)
def test_protocol_of_the_handbook_asks_for_its_data(tmp_path, monkeypatch, script, argument):
    monkeypatch.setenv("IMBTORCH_DATA", str(tmp_path))
    arguments = [] if argument is None else [argument]
    code, _, errors = run(f"benchmarks/{script}", *arguments, cwd=tmp_path)
    assert code == 2
    assert "IMBTORCH_DATA" in errors
    assert "Traceback" not in errors
