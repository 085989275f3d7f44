"""`make bench` prints one table, keeps it, and compares with the last one that was kept."""

import csv
import importlib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bench(monkeypatch):
    """Import the script as Python does that runs it: its folder is on the path."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    threads = torch.get_num_threads()
    yield importlib.import_module("bench")
    torch.set_num_threads(threads)


def record(contestant, seconds, day="2026-01-01", threads=1):
    known = {"version": "1.0", "date": day, "torch": "2", "cpus": "2", "threads": threads}
    times = dict.fromkeys(("median_s", "quartile1_s", "quartile3_s"), seconds)
    return {**known, "case": "fit", "contestant": contestant, **times}


@pytest.mark.slow
def test_table_has_each_contestant_and_a_second_run_compares_with_the_first(
    bench, tmp_path, capsys
):
    arguments = ["--rows", "256", "--rounds", "1", "--only", "fit", "--keep"]
    bench.main(arguments, tmp_path)
    first = capsys.readouterr().out
    assert "Last: none" in first
    (path,) = tmp_path.iterdir()
    with path.open(encoding="utf-8", newline="") as lines:
        kept = list(csv.DictReader(lines))
    assert list(kept[0]) == bench.FIELDS
    assert [one["contestant"] for one in kept[:5]] == [
        "imbtorch", "bare loop", "scikit-learn MLPClassifier", "skorch", "floor",
    ]  # fmt: skip
    assert len(kept) == 5 * len(bench.BATCHES)
    assert all(float(one["median_s"]) > 0 for one in kept)
    bench.main(arguments, tmp_path)
    assert f"Last: {path.name}" in capsys.readouterr().out


@pytest.mark.parametrize("case", ["predict", "search"])
@pytest.mark.slow
def test_other_cases_have_imbtorch_and_a_floor(bench, tmp_path, capsys, case):
    bench.main(["--rows", "512", "--rounds", "1", "--only", case], tmp_path)
    out = capsys.readouterr().out
    assert out.count("  imbtorch ") == out.count("  floor ") == {"predict": 2, "search": 1}[case]
    assert not any(tmp_path.iterdir())  # only --keep writes


def test_ratios_are_to_imbtorch_to_the_floor_and_to_the_last_table(bench, capsys):
    now = [record("imbtorch", 6.0), record("peer", 12.0), record("floor", 2.0)]
    bench.print_table(now, [record("imbtorch", 4.0), record("floor", 2.0)])
    ours, peer, floor = (line.split() for line in capsys.readouterr().out.splitlines()[-3:])
    assert ours[-3:] == ["1", "3", "1.50"]
    assert peer[-2:] == ["2", "6"]
    assert floor[-2:] == ["0.333", "1"]


def test_last_table_is_the_newest_for_the_same_number_of_threads(bench, tmp_path):
    assert bench.last_kept(tmp_path, 1) == ("none", [])
    for day, threads in (("2026-01-02", 1), ("2026-01-10", 1), ("2026-02-01", 2)):
        bench.keep(tmp_path, [record("imbtorch", 1.0, day, threads)])
    name, records = bench.last_kept(tmp_path, 1)
    assert name == "1.0_2026-01-10_1.csv"
    assert records[0]["date"] == "2026-01-10"


@pytest.mark.parametrize("like_linear", [False, True])
@pytest.mark.parametrize("n_nets", [1, 3])
def test_floor_computes_the_products_of_a_step(bench, monkeypatch, n_nets, like_linear):
    calls, layouts = [], []
    name = "mm" if n_nets == 1 else "bmm"
    multiply = getattr(torch, name)

    def counted(a, b, out):
        calls.append(tuple(out.shape))
        layouts.append((b.mT.is_contiguous(), out.mT.is_contiguous()))
        return multiply(a, b, out=out)

    monkeypatch.setattr(torch, name, counted)
    bench.matrix_products((4, 3, 2), 5, n_nets=n_nets, like_linear=like_linear)()
    nets = () if n_nets == 1 else (n_nets,)
    shapes = [(5, 3), (5, 2), (3, 2), (5, 3), (4, 3)]  # forward; weights and rows backward
    assert calls == [(*nets, *shape) for shape in shapes]
    assert layouts[0] == (like_linear, False)  # the weights, which torch.nn.Linear stores by output
    assert layouts[2] == (False, like_linear)  # their gradient
