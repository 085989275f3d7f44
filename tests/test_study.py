"""The study runs in its quick mode, goes on where it stopped, and makes its page."""

import csv
import importlib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
MARKERS = "before\n<!-- from the results: begin -->\nold\n<!-- from the results: end -->\nafter\n"


@pytest.fixture
def load(monkeypatch):
    """Import a script of benchmarks/ as Python does that runs it: its folder is on the path."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    threads = torch.get_num_threads()
    yield importlib.import_module
    torch.set_num_threads(threads)


def cells(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_quick_study_goes_on_where_it_stopped(tmp_path, load):
    main, path = load("study").main, tmp_path / "study.csv"
    main(["--quick", "--out", str(path), "--remedies", "cross-entropy", "SMOTE"])
    first = cells(path)
    main(["--quick", "--out", str(path)])
    both = cells(path)
    assert both[: len(first)] == first
    assert [row["remedy"] for row in first] == ["cross-entropy", "SMOTE"]
    assert len({row["remedy"] for row in both}) == len(both) == 13
    assert not any(row["error"] for row in both)
    assert all(0 < float(row["average_precision"]) <= 1 for row in both)
    lacking = {row["remedy"] for row in both if not float(row["epochs"]) > 0}
    assert lacking == {"gradient boosting"}  # the number of trees is stated, as the epochs are


def test_results_of_other_columns_are_not_continued(tmp_path, load):
    path = tmp_path / "study.csv"
    path.write_text("data,ratio,remedy,seed,average_precision\n")
    with pytest.raises(ValueError, match="other columns than this study"):
        load("study").main(["--quick", "--out", str(path)])
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.slow
def test_page_of_made_up_results(tmp_path, load):
    pytest.importorskip("matplotlib")
    study, study_page = load("study"), load("study_page")
    import pandas as pd

    # Demsar (2006), section 3.2.2: 4 classifiers on 14 data sets, q = 2.569, CD = 1.25
    assert study_page.critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert study_page.groups(pd.Series([1.0, 1.5, 3.0, 3.2]), 1.0) == [(1.0, 1.5), (3.0, 3.2)]

    path, page = tmp_path / "study.csv", tmp_path / "study.md"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, study.COLUMNS, restval="")
        writer.writeheader()
        for number, data in enumerate("abcd"):
            for place, remedy in enumerate(study.REMEDIES):
                value = 0.3 + 0.01 * place + 0.001 * ((place * 7 + number * 3) % 5)
                numbers = dict.fromkeys(study.MEASURES, value)
                keys = {"data": data, "ratio": "10", "remedy": remedy, "seed": 0}
                writer.writerow({**keys, "rows": 100, "classes": 2, "rarest": 9, **numbers})
    page.write_text(MARKERS)
    study_page.main(["--results", str(path), "--page", str(page), "--images", str(tmp_path)])
    text = page.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
    assert f"| {list(study.REMEDIES)[-1]} | **0.4" in text
    assert "| precision at recall 0.8 | alarms per 1,000 rows for recall 0.9 |" in text
    assert "| ECE, train prior | epochs | seconds |" in text
    assert (tmp_path / "study_ranks.png").stat().st_size > 10_000
