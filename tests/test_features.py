"""The feature table of docs/alternatives.md: its checks tell packages apart."""

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def features():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("features")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


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
