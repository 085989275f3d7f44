import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch.plotting import SearchDisplay
from tests.toy import overlapping

X, Y = overlapping(300, 0.3)
PIPELINE = make_pipeline(StandardScaler(), LogisticRegression())
CS = [10.0, 0.001, 0.1]
TOLS = [1e-4, 1e-3]


@pytest.fixture(scope="module")
def pair():
    grid = {"logisticregression__C": CS, "logisticregression__class_weight": [None, "balanced"]}
    return GridSearchCV(PIPELINE, grid, cv=2, scoring="balanced_accuracy").fit(X, Y)


def test_one_parameter_is_a_line_with_a_band():
    search = GridSearchCV(LogisticRegression(), {"C": CS, "tol": [1e-4]}, cv=3).fit(X, Y)
    display = SearchDisplay.from_estimator(search)
    order = np.argsort(CS)
    mean = search.cv_results_["mean_test_score"][order]
    std = search.cv_results_["std_test_score"][order]
    np.testing.assert_allclose(display.line_.get_xdata(), np.sort(CS))
    np.testing.assert_allclose(display.line_.get_ydata(), mean)
    (path,) = display.band_.get_paths()
    heights = [path.vertices[np.isclose(path.vertices[:, 0], c)][:, 1] for c in np.sort(CS)]
    np.testing.assert_allclose([h.min() for h in heights], mean - std)
    np.testing.assert_allclose([h.max() for h in heights], mean + std)
    assert display.best_mark_.get_xydata().tolist() == [
        [search.best_params_["C"], search.best_score_]
    ]
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_xlabel() == "C"


def test_values_close_together_have_a_linear_axis():
    search = GridSearchCV(LogisticRegression(), {"C": [1, 2, 50]}, cv=2).fit(X, Y)
    assert SearchDisplay.from_estimator(search).ax_.get_xscale() == "linear"


def test_two_parameters_are_a_heat_map(pair):
    display = SearchDisplay.from_estimator(pair)
    results = pair.cv_results_
    image = np.asarray(display.image_.get_array()).reshape(2, 3)
    for params, mean in zip(results["params"], results["mean_test_score"], strict=True):
        row = [None, "balanced"].index(params["logisticregression__class_weight"])
        column = sorted(CS).index(params["logisticregression__C"])
        assert image[row, column] == mean
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["0.001", "0.1", "10"]
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["None", "balanced"]
    assert [t.get_text() for t in display.ax_.texts] == [f"{v:.3f}" for v in image.ravel()]
    x, y = display.best_mark_.get_xydata()[0].astype(int)
    assert image[y, x] == pair.best_score_


@pytest.mark.parametrize("name", ["C", "logisticregression__C"])
def test_one_of_two_parameters_shows_the_best_of_the_other(pair, name):
    display = SearchDisplay.from_estimator(pair, name)
    by_c = dict.fromkeys(sorted(CS), -1.0)
    for params, mean in zip(
        pair.cv_results_["params"], pair.cv_results_["mean_test_score"], strict=True
    ):
        by_c[params["logisticregression__C"]] = max(by_c[params["logisticregression__C"]], mean)
    np.testing.assert_allclose(display.line_.get_ydata(), list(by_c.values()))
    assert display.ax_.get_ylabel().startswith("balanced accuracy")


def test_words_stand_side_by_side(pair):
    display = SearchDisplay.from_estimator(pair, "class_weight")
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["None", "balanced"]
    assert display.line_.get_xdata().tolist() == [0, 1]
    assert display.line_.get_linestyle() == "None"


def test_random_pairs_are_points():
    draws = {"C": loguniform(1e-3, 10), "tol": loguniform(1e-9, 1e-1)}
    search = RandomizedSearchCV(LogisticRegression(), draws, n_iter=6, cv=2, random_state=0)
    display = SearchDisplay.from_estimator(search.fit(X, Y))
    expected = [[p["C"], p["tol"]] for p in search.cv_results_["params"]]
    np.testing.assert_allclose(display.points_.get_offsets(), expected)
    np.testing.assert_allclose(display.points_.get_array(), search.cv_results_["mean_test_score"])
    assert (display.ax_.get_xscale(), display.ax_.get_yscale()) == ("log", "log")
    # the other parameter varies, too: nothing leads from one value to the next
    assert SearchDisplay.from_estimator(search, "C").line_.get_linestyle() == "None"


def test_several_scores():
    search = GridSearchCV(
        LogisticRegression(), {"C": CS}, cv=2, scoring=["accuracy", "recall"], refit="recall"
    ).fit(X, Y)
    for metric in (None, "accuracy", "recall"):
        display = SearchDisplay.from_estimator(search, metric=metric)
        mean = search.cv_results_[f"mean_test_{metric or 'recall'}"]
        np.testing.assert_allclose(display.line_.get_ydata(), mean[np.argsort(CS)])
        assert display.best_mark_.get_ydata()[0] == mean.max()


def test_halving_shows_the_last_record_of_a_candidate():
    search = HalvingGridSearchCV(
        LogisticRegression(), {"C": [0.001, 0.01, 0.1, 1.0]}, cv=2, factor=2, random_state=0
    ).fit(X, Y)
    display = SearchDisplay.from_estimator(search)
    results = search.cv_results_
    last = {}
    for i, params in enumerate(results["params"]):  # in the order of the iterations
        last[params["C"]] = results["mean_test_score"][i]
    assert len(results["params"]) > len(last)
    np.testing.assert_allclose(display.line_.get_ydata(), [last[c] for c in sorted(last)])
    assert display.best_mark_.get_xdata()[0] == search.best_params_["C"]


def test_values_without_hash_and_missing_cells():
    grid = [
        {"C": [1.0, 2.0, 3.0], "class_weight": [{0: 1, 1: 2}]},
        {"C": [1.0, 2.0], "class_weight": [None]},
    ]
    search = GridSearchCV(LogisticRegression(), grid, cv=2).fit(X, Y)
    display = SearchDisplay.from_estimator(search, ["C", "class_weight"])
    assert np.ma.getmaskarray(display.image_.get_array()).sum() == 1
    display.figure_.canvas.draw()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"params": "gamma"}, "'gamma' is not among the searched parameters: 'logistic"),
        ({"params": ["C", "C"]}, "twice"),
        ({"params": ["C", "C", "C"]}, "one or two"),
        ({"params": []}, "one or two"),
        ({"metric": "recall"}, "'recall' is not among the scores of the search: 'score'"),
    ],
)
def test_bad_input(pair, arguments, message):
    with pytest.raises(ValueError, match=message):
        SearchDisplay.from_estimator(pair, **arguments)


def test_more_parameters_than_two_must_be_chosen_from():
    grid = {"C": [1, 2], "tol": [1e-4, 1e-3], "class_weight": [None, "balanced"]}
    search = GridSearchCV(LogisticRegression(), grid, cv=2).fit(X, Y)
    with pytest.raises(ValueError, match="varied 3 parameters"):
        SearchDisplay.from_estimator(search)
    assert SearchDisplay.from_estimator(search, ["C", "tol"]).image_ is not None


def test_what_is_no_search():
    with pytest.raises(ValueError, match="LogisticRegression has no cv_results_"):
        SearchDisplay.from_estimator(LogisticRegression().fit(X, Y))
    results = {"params": [{"C": 1}], "param_C": [1], "mean_test_score": [np.nan]}
    with pytest.raises(ValueError, match="NaN"):
        SearchDisplay.from_cv_results({**results, "std_test_score": [np.nan]})
    with pytest.raises(ValueError, match="no 'params'"):
        SearchDisplay.from_cv_results({})
