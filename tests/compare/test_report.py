"""The report: where its numbers come from, what they say, and code that repeats the best fit."""

import re
import shlex
from html import unescape

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, TimeSeriesSplit

import imbtorch
from imbtorch import compare_strategies
from imbtorch._commands import main
from imbtorch.compare import default_strategies
from imbtorch.compare._alarms import alarms_for, out_of_fold, rounded_down
from imbtorch.compare._blocks import Block, Column, blocks
from imbtorch.compare._code import code
from imbtorch.compare._metrics import Predictions
from imbtorch.compare._strategies import STRATEGIES
from imbtorch.compare._text import _table

pd = pytest.importorskip("pandas")

N = 180
RNG = np.random.default_rng(0)
LABEL = np.where(np.arange(N) % 6 == 0, "fraud", "fine")
FRAME = pd.DataFrame(
    {
        "amount": (RNG.normal(size=N) + 1.5 * (LABEL == "fraud")).round(3),
        "shop": RNG.choice(["a", "b", "c"], N),
        "patient": np.arange(N) // 2,
        "day": pd.date_range("2026-01-01", periods=N).strftime("%Y-%m-%d"),
        "label": LABEL,
    }
)
X, Y = FRAME[["amount"]], LABEL
OWN = {"nothing": DummyClassifier(), "logistic": LogisticRegression()}
SHORT = {"module": "mlp", "max_epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def own():
    return compare_strategies(X, Y, strategies=OWN, random_state=0)


def text_of(page):
    page = re.sub(r"<style>.*?</style>|data:image/png;base64,[\w+/=]*", "", page, flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]*>", " ", page))


def report(comparison, tmp_path):
    comparison.to_html(tmp_path / "report.html")
    return (tmp_path / "report.html").read_text("utf-8")


def compared(folder, *options, frame=FRAME):
    """Run the command; return its page, and its code as it stands in the page."""
    file, out = folder / "my table.csv", folder / "report.html"
    frame.to_csv(file, index=False)
    given = ["compare", file, "--target", "label", "--module", "mlp", "--quiet", "--out", out]
    assert main([str(part) for part in [*given, *options]]) == 0
    page = out.read_text("utf-8")
    return page, unescape(re.search(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)[1])


PLAIN = ["--drop", "patient", "day"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Run the command with --quick; return its folder, its page and its code."""
    folder = tmp_path_factory.mktemp("quick")
    options = ["--quick", "--strategies", "cross", "gradient boosting", *PLAIN, "--seed", "7"]
    return folder, *compared(folder, *options, frame=FRAME.reset_index())


# The head of the page ----------------------------------------------------------------------


def test_the_head_says_how_to_repeat_the_run(quick):
    folder, page, _ = quick
    found = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    found = {title: unescape(text) for title, text in found.items()}
    assert list(found) == ["File", "Rows", "Date", "Versions", "Command", "Seed", "Budget"]
    assert found["File"] == str(folder / "my table.csv")
    assert found["Rows"] == "180, 2 columns"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d \S+", found["Date"])
    for name in (f"imbtorch {imbtorch.__version__}", "torch ", "scikit-learn ", "Python 3"):
        assert name in found["Versions"]
    assert found["Seed"] == "7"
    assert found["Budget"].startswith("2 strategies, 2 folds, network 'mlp', epochs 3; no time")
    command = shlex.split(re.sub("</?code>", "", found["Command"]))
    assert command[:3] == ["imbtorch", "compare", str(folder / "my table.csv")]
    assert command[-2:] == ["--seed", "7"]


def test_a_quick_run_is_marked_before_anything_else(quick):
    _, page, _ = quick
    banner = re.search(r'<p class="banner">(.*?)</p>', page)
    assert banner[1].startswith("Quick run: 2 folds instead of 5")
    assert banner.start() < page.index("<dl>") < page.index('class="advice"')


def test_a_run_with_all_folds_has_no_mark(own, tmp_path):
    assert "Quick run" not in str(own) + own._repr_html_() + report(own, tmp_path)


@pytest.mark.parametrize(("cv", "words"), [(2, "2 folds"), (5, "1 epoch for all nets")])
def test_what_is_reduced_in_python_is_marked_too(cv, words):
    found = compare_strategies(X, Y, strategies=["cross"], cv=cv, **SHORT)
    for shown in (str(found), found._repr_html_()):
        assert "Quick run: " in shown
        assert words in " ".join(shown.split())


def test_notes_of_the_reader_are_in_the_page(quick):
    _, page, _ = quick
    assert "How the table was read" in page
    assert "'index' is left out: it counts the rows" in text_of(page)


# The words ---------------------------------------------------------------------------------


def test_numbers_are_written_as_a_statistician_would(own, tmp_path):
    for shown in (str(own), text_of(report(own, tmp_path)), text_of(own._repr_html_())):
        text = " ".join(shown.split())
        assert "95% interval" in text
        assert not re.search(r"(?<![\d>]) [+-]?\.\d", text), "a number without a leading zero"
        assert not re.search(r"\bp (= )?(1\.0|0\.000)", text)
        assert "noise" not in text
    assert "It does not cover" in str(own)


def test_the_interval_is_about_the_difference_whatever_the_sign_of_the_metric():
    found = compare_strategies(X, Y, strategies=OWN, scoring="brier", random_state=0).table
    row = found.loc["logistic"]
    better = found.loc["nothing", "brier"] - row["brier"]
    assert row["difference"] == pytest.approx(better)
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    middle = (row["difference_low"] + row["difference_high"]) / 2
    assert middle == pytest.approx(row["difference"])
    assert found.loc["nothing", ["difference_low", "p_value"]].isna().all()


def test_each_table_fits_the_page(own, tmp_path):
    page = report(own, tmp_path)
    tables = re.findall(r"<thead>(.*?)</thead>", page)
    assert len(tables) == page.count('<div class="wide"><table>') == 3
    assert all(head.count("<th") <= 8 for head in tables)
    assert not re.search(r"<script|<link|https?://|@import", page)


# Decisions ---------------------------------------------------------------------------------


def said(scores, truth):
    proba = np.column_stack([1 - np.asarray(scores), scores])
    return Predictions(np.asarray(truth), np.asarray(truth), proba[:, 1], proba, None)


@pytest.mark.parametrize("recall", [0.8, 0.9])
def test_alarms_are_the_fewest_that_catch_enough(recall):
    scores = RNG.integers(0, 30, (3, 60)) / 30
    folds = [said(one, RNG.integers(0, 4, 60) == 0) for one in scores]
    found = alarms_for(folds, recall)
    is_rare, proba = out_of_fold(folds)
    reached = [t for t in np.unique(proba) if (proba >= t)[is_rare].mean() >= recall - 1e-12]
    alarms = proba >= max(reached)
    assert found.threshold == max(reached)
    assert found.precision == is_rare[alarms].mean()
    assert found.recall == alarms[is_rare].mean() >= recall
    assert found.per_thousand == pytest.approx(1000 * alarms.mean())


@pytest.mark.parametrize("value", [0.1 + 0.2, 1 / 3, 2e-9 / 7, 0.999999999, 1.0, 0.0, 1e-310])
def test_a_rounded_threshold_loses_no_alarm(value):
    assert value * (1 - 1e-5) <= rounded_down(value) <= value


def test_decisions_are_those_of_all_test_rows(own):
    table = next(block for block in blocks(own) if "out-of-fold" in block.title)
    columns = {column.title: column.cells["logistic"] for column in table.columns}
    found = alarms_for(own.predictions["logistic"], 0.9)
    assert columns["threshold for recall 0.9"] == f"{found.threshold:.3g}"
    assert columns["precision for recall 0.9"] == f"{found.precision:.3f}"
    assert table.title.startswith("Decisions: catching class fraud")


def test_rows_that_are_tested_again_and_again_count_once():
    cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    found = compare_strategies(X, Y, strategies=OWN, cv=cv)
    assert found.run.n_rare == 30
    assert "found with 30 rows of class fraud" in " ".join(str(found).split())


# The code ----------------------------------------------------------------------------------


def executed(program, names=None):
    found = dict(names or {})
    exec(compile(program, "the code of the report", "exec"), found)
    return found


def test_the_code_of_the_page_fits_the_best_strategy_and_predicts(quick):
    _, page, program = quick
    best = re.search("<h2>Code that fits (.*?)</h2>", page)[1]
    found = executed(program)
    features = FRAME[["amount", "shop"]]
    settings = {"module": "mlp", "max_epochs": 3, "random_state": 7}
    model = default_strategies(Y, X=features, **settings)[best]
    expected = model.fit(features, Y).predict_proba(features[:5])[:, 1]
    np.testing.assert_allclose(found["probability"], expected)
    assert "90% of class 'fraud'" in program


OTHERS = {
    "groups": ["--groups", "patient", "--drop", "day"],
    "weight": ["--weight", "patient", "--drop", "day"],
    "time": ["--time", "day", "--drop", "patient", "--folds", "3"],
    "separator": [*PLAIN, "--sep", "comma", "--header", "--missing", "c", "--scoring", "roc_auc"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_the_code_knows_groups_time_and_options(kind, tmp_path, capsys):
    options = ["--strategies", "cross", "gradient boosting", "--epochs", "1"]
    _, program = compared(tmp_path, *options, *OTHERS[kind])
    assert ("sample_weight=table.sample_weight)" in program) == (kind == "weight")
    assert len(executed(program)["probability"]) == 5
    # without a stated length, folds that know groups and time find it
    found_by_folds = executed(program.replace(", max_epochs=1", ""))
    assert len(found_by_folds["probability"]) == 5


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n.startswith("focal") else ()) for n in STRATEGIES],
)
def test_the_code_of_each_default_strategy_runs(name):
    features = FRAME[["amount", "shop"]]
    names = {"X": features, "y": Y}
    run = compare_strategies(features, Y, strategies=["under"], cv=2, **SHORT).run
    found = executed(code(run, name, 0.25), names)
    assert found["probability"].shape == (5,)


def test_the_code_of_strategies_of_ones_own(own):
    found = executed(own.code, {"X": X, "y": Y, "strategies": OWN})
    expected = LogisticRegression().fit(X, Y).predict_proba(X[:5])[:, 1]
    np.testing.assert_allclose(found["probability"], expected)


@pytest.mark.parametrize("rare", ["ra'\"re\n<i>\\", "rare\nraise SystemExit  #"])
def test_a_label_does_not_end_a_line_of_the_code(rare):
    labels = np.where(Y == "fraud", rare, "common")
    comparison = compare_strategies(X, labels, strategies=OWN, random_state=0)
    found = executed(comparison.code, {"X": X, "y": labels, "strategies": OWN})
    assert found["place"] == list(found["model"].classes_).index(rare)


def test_names_of_strategies_are_no_formulas(tmp_path):
    strategies = {r"a $\foo$": DummyClassifier(), "a $b": LogisticRegression()}
    page = report(compare_strategies(X, Y, strategies=strategies, random_state=0), tmp_path)
    assert r"a $\foo$" in unescape(page)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The groups parameter")
def test_objects_in_the_code_have_the_names_of_the_arguments():
    groups = FRAME["patient"]
    run = compare_strategies(
        X, Y, strategies=["cross"], cv=TimeSeriesSplit(2, gap=4), groups=groups, **SHORT
    ).run
    assert run.arguments["groups"] == "groups"
    assert run.arguments["inner_cv"] == "TimeSeriesSplit(3, gap=4)"
    program = code(run, "cross-entropy", None)
    found = executed(program.replace("max_epochs=1, ", ""), {"X": X, "y": Y, "groups": groups})
    assert len(found["probability"]) == 5


# Results that lack something ---------------------------------------------------------------


class Broken(LogisticRegression):
    """Fails, so that it has no numbers."""

    def fit(self, X, y):
        raise ValueError("the <reason>")


def test_strategies_that_failed_say_why_in_page_and_text(tmp_path):
    found = compare_strategies(X, Y, strategies={**OWN, "broken": Broken()}, random_state=0)
    page = report(found, tmp_path)
    assert "broken: failed: the &lt;reason&gt;" in page
    assert "broken  failed: the <reason>" in str(found)
    assert "broken" not in found.code


def test_one_fold_has_no_interval_and_no_p(tmp_path):
    fold = (np.arange(0, N, 2), np.arange(1, N, 2))
    labels = np.where(np.arange(N) % 9 < 2, "fraud", "fine")
    found = compare_strategies(X, labels, strategies=OWN, cv=[fold])
    assert found.table[["difference_low", "difference_high", "p_value"]].isna().all(axis=None)
    assert "(95% interval" not in found.recommendation
    assert "Quick run: 1 fold instead of 5" in report(found, tmp_path)


@pytest.mark.parametrize("n_folds", [2, 3])
def test_intervals_are_shown_from_three_folds_on(n_folds, tmp_path):
    found = compare_strategies(X, Y, strategies=OWN, cv=n_folds, random_state=0)
    page = report(found, tmp_path)
    shown = n_folds >= 3
    for text in (str(found), text_of(page), text_of(found._repr_html_())):
        assert ("95% interval" in text) == shown
    assert ('<th scope="col">p</th>' in page) == shown
    assert ("confidence intervals of the corrected" in text_of(page)) == shown
    assert ("It has no interval and no p" in " ".join(str(found).split())) == (not shown)
    assert found.table["p_value"].notna().any() == shown


LONG = "a strategy whose name goes on and on, far beyond what a terminal shows beside numbers"


@pytest.mark.parametrize("scoring", ["average_precision", "alarms_for_recall_90", "f1_macro"])
def test_the_text_fits_a_terminal_whatever_the_names(scoring):
    names = [LONG, "x" * 130, "short", "broken " * 20]
    models = [DummyClassifier(), LogisticRegression(), DummyClassifier(), Broken()]
    strategies = dict(zip(names, models, strict=True))
    found = compare_strategies(X, Y, strategies=strategies, scoring=scoring, random_state=0)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 100
    assert LONG in " ".join(text.split())
    assert "x" * 130 in re.sub(r"\s+", "", re.sub(r"(?<=x{30}) .*", "", text))
    # no column is lost where a table takes several parts
    for block in blocks(found):
        for column in block.columns:
            for cell in column.cells.values():
                assert cell in text


def test_a_table_that_is_too_wide_continues_below(own):
    columns = [Column(f"title {n}", {"a": f"{n}" * 15, "b": "-"}) for n in range(9)]
    lines = _table(Block("the title", columns)).splitlines()
    assert max(map(len, lines)) <= 100
    assert [line for line in lines if line.startswith("a")] == [
        "a" + "".join("  " + f"{n}" * 15 for n in part) for part in (range(5), range(5, 9))
    ]


def test_several_classes(tmp_path):
    labels = np.array(["many", "many", "some", "many", "few", "some"])[np.arange(N) % 6]
    found = compare_strategies(X, labels, strategies=OWN, scoring="f1_macro", random_state=0)
    text = text_of(report(found, tmp_path))
    assert "Decisions: catching class few" in text
    assert "f1_macro, and differences to nothing" in text
    assert executed(found.code, {"X": X, "y": labels, "strategies": OWN})["place"] == 0
