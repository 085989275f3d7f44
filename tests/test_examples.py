"""The scripts of examples/ and benchmarks/ run, on little data."""

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
