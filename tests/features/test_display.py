"""The HTML representation shows which column is encoded in which way."""

import re

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from imbtorch import ImbalancedNetClassifier, ImbalancedNetRegressor
from imbtorch.features import TableFeatures

pd = pytest.importorskip("pandas")

N = 120


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "amount": rng.normal(size=N),
            "age": np.where(np.arange(N) % 7, rng.normal(size=N), np.nan),
            "<shop>": rng.choice(["books", "games"], N),
            "city": [f"city {i % 40}" for i in range(N)],
        }
    )
    return X, np.arange(N) % 4 == 0


def words(page):
    """Return the text of a page without the script, the styles and the tags."""
    page = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


@pytest.mark.parametrize("estimator", [TableFeatures(), ImbalancedNetClassifier(max_epochs=1)])
def test_columns_are_shown_by_kind(frame, estimator):
    page = estimator.fit(*frame)._repr_html_()
    shown = words(page)
    for kind, columns in {
        "numbers: 1": "amount",
        "numbers with gaps: 1": "age",
        "categories, one-hot: 1": "&lt;shop&gt; (2)",
        "categories, embedded: 1": "city (40)",
    }.items():
        assert re.search(rf" {kind} {re.escape(columns)} ", shown), (kind, shown)
    assert "<shop>" not in page
    assert type(estimator).__name__ in shown


def test_kinds_that_do_not_occur_are_left_out_and_long_lists_cut():
    net = ImbalancedNetRegressor(max_epochs=1).fit(
        np.random.default_rng(0).normal(size=(30, 50)), range(30)
    )
    shown = words(net._repr_html_())
    assert "numbers: 50" in shown
    assert "x29, ... (50 in all)" in shown
    assert "x30" not in shown
    assert "categories" not in shown


@pytest.mark.parametrize(
    "estimator",
    [
        TableFeatures(),
        ImbalancedNetClassifier(),
        ImbalancedNetClassifier(features=TableFeatures()),
        make_pipeline(ImbalancedNetClassifier()),
    ],
)
def test_what_is_not_fitted_is_a_plain_box(estimator):
    shown = words(estimator._repr_html_())
    assert type(estimator).__name__ in shown
    assert "numbers" not in shown


def test_an_estimator_without_an_encoder_is_a_plain_box(frame):
    X, y = frame
    net = ImbalancedNetClassifier(features=None, max_epochs=1).fit(X[["amount"]], y)
    assert "numbers" not in words(net._repr_html_())
