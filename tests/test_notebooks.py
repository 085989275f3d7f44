"""What fitted estimators, searches and comparisons show in a notebook."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.dummy import DummyClassifier

from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NetPortfolioClassifier,
    compare_strategies,
)
from imbtorch._common.html import fragment, paragraph, sparkline, table
from imbtorch.model_selection import StackedGridSearchCV

HOSTILE = "<script>alert('x')</script>"
RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(120, 2)), columns=["amount", HOSTILE])
Y = np.where(np.arange(120) % 6 == 0, HOSTILE, "fine")
NET = {"module": "mlp", "max_epochs": 2, "random_state": 0}


class Balanced(HTMLParser):
    """Check that every tag is closed, and collect the names of the tags and the text."""

    void = {"meta", "br", "input", "img", "polyline", "circle", "path", "hr"}

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(page)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)


def ours(page):
    """Return our part of a page, below the diagram of scikit-learn, as text and tags."""
    start = page.index('<div class="imbtorch-view">')
    shown = Balanced(page[start:])
    assert "script" not in shown.tags
    return re.sub(r"\s+", " ", " ".join(shown.words)), shown.tags


@pytest.fixture(scope="module")
def net():
    return ImbalancedNetClassifier(
        **NET, early_stopping=True, target_prior={HOSTILE: 0.25, "fine": 0.75}
    ).fit(X, Y)


def test_a_net_shows_its_training_and_what_its_probabilities_describe(net):
    text, tags = ours(net._repr_html_())
    assert "trained for 2 epochs" in text
    assert tags.count("svg") == 2
    assert re.search(r"training loss: 0\.\d+ in the first epoch, 0\.\d+ in the last", text)
    assert "validation score" in text
    assert "target_prior: {" in text
    assert re.search(r"alert\('x'\)</script> \d+ 0\.\d+ 0\.25 ", text), text


def test_a_picture_has_its_text_for_screen_readers(net):
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', net._repr_html_())
    assert labels[0].startswith("training loss: ")
    assert "(dot)" in labels[1]


def test_labels_and_columns_are_escaped(net):
    assert HOSTILE not in net._repr_html_()
    assert "&lt;script&gt;alert" in net._repr_html_()


def test_notebooks_that_ask_for_several_formats_get_the_same(net):
    bundle = net._repr_mimebundle_()
    assert "imbtorch-view" in bundle["text/html"]
    assert bundle["text/plain"] == repr(net)


def test_an_estimator_that_is_not_fitted_shows_its_diagram_alone():
    page = ImbalancedNetClassifier()._repr_html_()
    assert "ImbalancedNetClassifier" in page
    assert "imbtorch-view" not in page


def test_texts_instead_of_diagrams(net):
    with sklearn.config_context(display="text"):
        assert not hasattr(net, "_repr_html_")
        assert "text/html" not in net._repr_mimebundle_()


def test_scores_are_not_called_probabilities():
    text, _ = ours(ImbalancedNetClassifier(**NET, loss="hinge").fit(X, Y)._repr_html_())
    assert "not probabilities" in text
    assert "described share" not in text


def test_a_regressor_shows_its_training():
    text, tags = ours(ImbalancedNetRegressor(**NET).fit(X, X["amount"])._repr_html_())
    assert "trained for 2 epochs" in text
    assert "svg" in tags
    assert "table" not in tags


def test_one_epoch_is_no_curve():
    clf = ImbalancedNetClassifier(**{**NET, "max_epochs": 1}).fit(X, Y)
    assert "svg" not in ours(clf._repr_html_())[1]


def test_many_classes_are_cut():
    clf = ImbalancedNetClassifier(**NET).fit(X, np.arange(120) % 20)
    assert "The first 12 of 20 classes are shown." in ours(clf._repr_html_())[0]


def test_an_ensemble_shows_how_many_nets_it_is():
    base = ImbalancedNetClassifier(**NET)
    text, _ = ours(NetEnsembleClassifier(base, n_estimators=3).fit(X, Y)._repr_html_())
    assert "The mean of 3 nets" in text


def test_a_portfolio_shows_its_leaderboard():
    recipes = {
        HOSTILE: {"module": "mlp", "max_epochs": 1},
        "long": {"module": "mlp", "max_epochs": 3},
    }
    clf = NetPortfolioClassifier(recipes=recipes, random_state=0).fit(X, Y)
    text, _ = ours(clf._repr_html_())
    assert "recipe score share epochs seconds status" in text.replace("  ", " ")
    assert text.index("Recipes") < text.index("The mean of")
    assert HOSTILE not in clf._repr_html_()


@pytest.mark.parametrize("scoring", ["accuracy", ["accuracy", "balanced_accuracy"]])
def test_a_search_shows_its_best_candidates(scoring):
    grid = [{"lr": [0.001, 0.01]}, {"loss": ["focal", "cross_entropy"]}]
    refit = True if isinstance(scoring, str) else "accuracy"
    search = StackedGridSearchCV(
        ImbalancedNetClassifier(**NET), grid, cv=2, scoring=scoring, refit=refit
    )
    assert "imbtorch-view" not in search._repr_html_()
    text, _ = ours(search.fit(X, Y)._repr_html_())
    assert "The best 4 of 4 candidates" in text
    assert "rank lr loss mean" in text


def test_a_comparison_shows_table_and_recommendation():
    strategies = {"nothing": DummyClassifier(), HOSTILE: ImbalancedNetClassifier(**NET)}
    compared = compare_strategies(X, Y, strategies=strategies, random_state=0)
    text, tags = ours(compared._repr_html_())
    assert "table" in tags
    assert "img" not in tags
    assert compared.recommendation[:20] in text
    assert "Reference: nothing." in text


# -- the pieces ------------------------------------------------------------------------------------


def test_values_that_are_not_finite_are_left_out_of_a_curve():
    curve = sparkline("score", [np.nan, 0.5, np.nan, 0.7, np.inf], marked=3)
    assert "0.5 in the first epoch, 0.7 in the last" in curve
    assert len(re.search(r'points="([^"]+)"', curve)[1].split()) == 2
    assert "<circle" in curve
    assert sparkline("score", [np.nan, 0.5]) == ""


def test_a_curve_of_equal_values_is_a_line_in_the_middle():
    points = re.search(r'points="([^"]+)"', sparkline("loss", [2.0, 2.0, 2.0]))[1].split()
    assert {point.split(",")[1] for point in points} == {"20.0"}


def test_cells_of_a_table():
    page = table(["a", "b", "c"], [["<i>", 12345, np.nan], ["x" * 200, 0.123456, "word"]], "A < B")
    assert "&lt;i&gt;" in page
    assert "12,345" in page
    assert "–" in page
    assert "x" * 81 not in page
    assert "A &lt; B" in page
    assert '<th scope="col" class="text">c</th>' in page


def test_nothing_is_shown_where_there_is_nothing():
    assert fragment([]) == ""
    assert fragment(["", paragraph("x")]).endswith("<p>x</p></div>")
