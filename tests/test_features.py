"""The feature table of docs/alternatives.md: its checks tell packages apart."""

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def script(name):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def features():
    return script("features")


@pytest.fixture(scope="module")
def tables():
    pytest.importorskip("pandas")
    return script("features_tables")


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("package", "feature", "mark", "reason"),
    [
        ("imbtorch", "strings", "yes", ""),
        ("imbtorch", "float64", "yes", ""),
        ("imbtorch", "sparse", "yes", ""),
        ("imbtorch", "unbiased", "yes", "rare class gets"),
        ("imbtorch", "sample_weight", "yes", ""),
        ("imbtorch", "prior", "yes", ""),
        ("imbtorch", "proba", "yes", ""),
        ("imbtorch", "file", "yes", ""),
        ("skorch", "strings", "no", "TypeError"),
        ("skorch", "unbiased", "no", "rare class gets"),
        ("skorch", "sample_weight", "no", "sample_weight"),
        ("skorch", "proba", "partly", "predict_nonlinearity"),
        ("skorch", "prior", "no", "no such parameter"),
        ("imbalanced-learn", "strings", "yes", ""),
        ("imbalanced-learn", "sample_weight", "no", "sample_weight"),
        ("imbalanced-learn", "focal", "-", "no nets"),
        ("LibAUC", "strings", "-", "no estimator"),
    ],
)
def test_check_says_what_the_package_does(features, package, feature, mark, reason):
    answer = features.ask(features.PEERS[package], feature)
    assert answer[0] == mark, answer
    assert reason in answer[1]


@pytest.mark.slow
def test_weights_are_needed_to_get_a_balance(features):
    class Unweighted(type(features.PEERS["imbtorch"])):
        def weighted(self, y):
            return self.plain()

    assert features.ask(Unweighted(), "balanced")[0] == "no"
    assert features.ask(Unweighted(), "unbiased")[0] == "no"


def test_page_has_the_rows_of_the_script(features):
    page = (ROOT / "docs" / "alternatives.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) \|", page.partition("|---")[2].partition("\n\n")[0], re.MULTILINE)
    assert rows == [title for title, _ in features.FEATURES.values()]


def test_page_has_the_rows_and_the_columns_of_the_script_for_tables(tables):
    page = (ROOT / "docs" / "alternatives.md").read_text("utf-8").partition("what users ask")[2]
    head, *rows = re.findall(r"^\|.*\|$", page.partition("Tried by")[0], re.MULTILINE)
    assert head.strip("| ").split(" | ") == list(tables.PACKAGES)
    titles = [row.split(" | ")[0].removeprefix("| ") for row in rows[1:]]
    assert titles == [*tables.QUESTIONS, "seconds of a fit"]


def test_tables_of_the_page_fit_a_window_of_1400_pixels():
    """A table scrolls if the longest words of its columns, with their margins, are too long."""
    page = (ROOT / "docs" / "alternatives.md").read_text("utf-8")
    found = re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE)
    assert len(found) == 3
    for table in found:
        # code is broken at blanks only, words at hyphens, too
        rows = [line[1:-1].split("|") for line in table.splitlines()]
        words = [[re.findall(r"`[^` ]+|[^-\s`]+-?|-", cell) for cell in row] for row in rows]
        longest = [
            max(len(word) for cell in column for word in cell)
            for column in zip(*words, strict=True)
        ]
        assert sum(longest) + 2 * len(longest) <= 94, rows[0]
