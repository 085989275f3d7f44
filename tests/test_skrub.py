"""skrub makes numbers of dates and free text; the net takes it from there."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone

from imbtorch import ImbalancedNetClassifier
from imbtorch.exceptions import NotStackedWarning
from imbtorch.model_selection import StackedGridSearchCV

pd = pytest.importorskip("pandas")
skrub = pytest.importorskip("skrub", reason="skrub, of the extra tables, is not installed")

N = 300
WORDS = ["late", "parcel", "refund", "thanks", "quick", "delivery", "card", "stolen", "abroad"]


@pytest.fixture(scope="module")
def complaints():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 9000, N), "h"),
            "note": [" ".join(rng.choice(WORDS, 6)) for _ in range(N)],
            "amount": np.where(np.arange(N) % 9, rng.lognormal(5, 1, N), np.nan),
            "shop": rng.choice(["books", "games", "shoes"], N),
        }
    )
    X.loc[::13, "note"] = None
    return X, X["note"].str.contains("stolen", na=False) & (X["when"].dt.hour < 12)


@pytest.fixture
def pipeline():
    pipeline = skrub.tabular_pipeline(ImbalancedNetClassifier(max_epochs=8, random_state=0))
    text = skrub.StringEncoder(random_state=0)  # by default its numbers differ from fit to fit
    return pipeline.set_params(tablevectorizer__high_cardinality=text)


def test_the_net_alone_names_the_columns_and_skrub(complaints):
    X, y = complaints
    for column in ("when", "note"):
        with pytest.raises(ValueError, match=f"'{column}'"):
            ImbalancedNetClassifier().fit(X[[column, "amount"]], y)


@pytest.mark.slow
def test_a_frame_with_dates_and_free_text_is_fitted(complaints, pipeline):
    X, y = complaints
    probability = pipeline.fit(X, y).predict_proba(X)[:, 1]
    assert probability[y].mean() > probability[~y].mean() + 0.3
    # gaps are left to the encoder of the net, which marks them
    assert not any("imputer" in step for step in pipeline.named_steps)
    names = pipeline[:-1].get_feature_names_out().tolist()
    gaps = pipeline[-1].features_.encoder_.indicators
    assert "amount" in [names[j] for j in gaps]


@pytest.mark.slow
def test_new_rows_may_hold_gaps_and_what_training_did_not_have(complaints, pipeline):
    X, y = complaints
    new = pd.DataFrame(
        {"when": [pd.NaT], "note": [None], "amount": [np.nan], "shop": ["never seen"]}
    ).astype({"when": X["when"].dtype})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skrub says that the category is new
        assert np.isfinite(pipeline.fit(X, y).predict_proba(new)).all()


@pytest.mark.slow
def test_the_stacked_search_equals_fits_one_by_one(complaints, pipeline):
    X, y = complaints
    grid = {
        "imbalancednetclassifier__loss": ["cross_entropy", "focal"],
        "imbalancednetclassifier__features__scaling": ["standard", "robust"],
    }
    cv = [(np.arange(0, N, 2), np.arange(1, N, 2)), (np.arange(1, N, 2), np.arange(0, N, 2))]
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotStackedWarning)
        search = StackedGridSearchCV(pipeline, grid, cv=cv, scoring="average_precision").fit(X, y)
    best = search.best_index_
    for fold, (train, test) in enumerate(cv):
        model = clone(pipeline).set_params(**search.best_params_)
        model.fit(X.iloc[train], y.iloc[train])
        score = search.scorer_(model, X.iloc[test], y.iloc[test])
        assert search.cv_results_[f"split{fold}_test_score"][best] == pytest.approx(score, abs=1e-4)
