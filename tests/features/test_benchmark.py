"""The benchmark of tables runs, on a small one."""

import csv
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    threads = torch.get_num_threads()
    yield importlib.import_module("bench_tables")
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_quick_run_prints_a_table_and_writes_its_lines(benchmark, tmp_path, capsys):
    benchmark.main(["--quick", "--out", str(tmp_path / "tables.csv")])
    assert "| adult-like | 0." in capsys.readouterr().out
    with (tmp_path / "tables.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["contestant"] for line in lines] == list(benchmark.CONTESTANTS)
    assert all(0 < float(line["average_precision"]) < 1 for line in lines)


def test_made_tables_have_words_gaps_and_a_rare_class(benchmark):
    for name in ("adult-like", "shops", "synthetic"):
        frame, y = benchmark.TABLES[name](2000)
        texts = [column for column in frame if frame[column].dtype != np.float64]
        assert len(texts) >= 8
        assert frame[texts].isna().any().any()
        assert 0.02 < y.mean() < 0.15


def test_tables_of_absent_files_are_left_out(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IMBTORCH_DATA", str(tmp_path))
    assert not benchmark.load(["phoneme"], 100)
    assert "left out" in capsys.readouterr().out
