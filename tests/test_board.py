"""The data sets and the peers of the board: formats are read right, roles do not mix."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
KEEL = """@relation toy
@attribute 'Room size' real [0.5, 9.0]
@attribute Saw-tooth integer[0,3]
@attribute Doors {2, 3,5more}
@attribute v(g) numeric
@attribute Class  {positive, negative}
@inputs Doors
@data

0.5, 1, 3, 7, negative
% a comment
<null>,2,2,1e2,negative
9.0,?,<null>,0, positive
1,3, 5more ,-4,negative
"""
# never on the board: other studies of the package were made with them
EXCLUDED = (
    "abalone",
    "glass",
    "wine",
    "ecoli",
    "haberman",
    "pima",
    "german",
    "new_thyroid",
    "iris",
)


@pytest.fixture
def load(monkeypatch):
    """Import a script of benchmarks/ as Python does that runs it: its folder is on the path."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.fixture
def sets(load):
    return load("board_data").BOARD_SETS


@pytest.fixture
def real(sets, load):
    """Return the data sets of the board, if their files are on this machine."""
    try:
        load("board_files").data_of_package()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return sets


def rows_with_gaps(n=240):
    rng = np.random.default_rng(0)
    y = (np.arange(n) % 4 == 0).astype(np.int64)
    number = y + rng.normal(size=n)
    number[::7] = np.nan
    word = pd.Series(np.where(rng.random(n) < 0.3 + 0.4 * y, "2", "5more"), dtype=object)
    word[::11] = None
    word[n - 1] = "only at the end"
    X = pd.DataFrame({"v(g)": number, "full": rng.normal(size=n), "word": word.astype("category")})
    return X, y


def test_keel_files_are_read_with_nominal_digits_gaps_and_spaces(load):
    X, y = load("board_files").keel_table(KEEL)
    assert X.columns.tolist() == ["Room size", "Saw-tooth", "Doors", "v(g)"]
    assert y.tolist() == [0, 0, 1, 0]
    assert y.dtype == np.int64
    expected = {
        "Room size": [0.5, np.nan, 9, 1],
        "Saw-tooth": [1, 2, np.nan, 3],
        "v(g)": [7, 100, 0, -4],
    }
    for name, numbers in expected.items():
        np.testing.assert_array_equal(X[name], numbers)
        assert X[name].dtype == np.float64
    assert X["Doors"].astype(object).where(X["Doors"].notna(), None).tolist() == [
        "3",
        "2",
        None,
        "5more",
    ]
    assert X["Doors"].cat.categories.tolist() == ["2", "3", "5more"]


def test_words_that_do_not_occur_are_no_categories(load):
    X, _ = load("board_files").keel_table(KEEL.replace("5more ,-4", "2 ,-4"))
    assert X["Doors"].cat.categories.tolist() == ["2", "3"]


def test_the_rarer_word_is_the_class_1_in_arff_files(load):
    text = (
        "@ATTRIBUTE loc numeric\n@attribute defects {true,false}\n@DATA\n1,true\n2,true\n3,false\n"
    )
    _, y = load("board_files").keel_table(text)
    assert y.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.5, 1, 3, 7, negative", "0.5, 1, 3, negative", "Row 1 has 4 cells, expected 5"),
        ("@data", "", "no rows after '@data'"),
        ("0.5, 1, 3, 7", "0.5, 1, 4, 7", "'Doors' has words that its header lacks: {'4'}"),
        ("0, positive", "0, negative", "Expected two classes, got 1"),
        ("0.5, 1, 3", "small, 1, 3", "could not convert"),
    ],
)
def test_broken_keel_files_are_refused(load, old, new, message):
    assert old in KEEL
    with pytest.raises(ValueError, match=message):
        load("board_files").keel_table(KEEL.replace(old, new))


def test_tables_of_comma_separated_words(tmp_path, load):
    path = tmp_path / "data.txt"
    path.write_text("sick,72,M,?\nwell,?,F,10\nwell,5.5,?,1\n")
    X, y = load("board_files").words_table(path, ["age", "sex", "code"], ["age"])
    assert y.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(X["age"], [72, np.nan, 5.5])
    assert X["sex"].isna().tolist() == [False, False, True]
    assert X["code"].cat.categories.tolist() == ["1", "10"]


def test_missing_data_say_how_to_get_them(tmp_path, load, monkeypatch):
    files = load("board_files")
    monkeypatch.setenv("IMBTORCH_BOARD_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"is not a folder with(.|\n)*--no-deps"):
        files.data_of_package()
    monkeypatch.delenv("IMBTORCH_BOARD_DATA")
    monkeypatch.setattr(files, "PACKAGE", "a_package_that_nobody_has")
    with pytest.raises(FileNotFoundError, match="not set, and the package a_package_that_nobody"):
        files.data_of_package()


def test_the_data_are_found_without_an_import_of_their_package(tmp_path, load, monkeypatch):
    files = load("board_files")
    data = tmp_path / files.PACKAGE / "data"
    (data / "satimage").mkdir(parents=True)
    (tmp_path / files.PACKAGE / "__init__.py").write_text("raise RuntimeError")
    for named in (tmp_path, data):
        monkeypatch.setenv("IMBTORCH_BOARD_DATA", str(named))
        assert files.data_of_package() == data
    monkeypatch.delenv("IMBTORCH_BOARD_DATA")
    monkeypatch.syspath_prepend(tmp_path)
    assert files.data_of_package() == data
    assert files.PACKAGE not in sys.modules


def test_caravan_comes_from_another_package(tmp_path, load, monkeypatch):
    files = load("board_files")
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="--no-deps ISLP"):
        files.caravan_table()
    monkeypatch.undo()
    data = tmp_path / "ISLP" / "data"
    data.mkdir(parents=True)
    (tmp_path / "ISLP" / "__init__.py").write_text("raise RuntimeError")
    rows = "MOSTYPE,MAANTHUI,MOSHOOFD,Purchase\n33,1,8,No\n9,2,3,Yes\n33,1,8,No\n"
    (data / "Caravan.csv").write_text(rows)
    monkeypatch.syspath_prepend(tmp_path)
    X, y = load("board_files").caravan_table()
    assert y.tolist() == [0, 1, 0]
    assert [str(kind) for kind in X.dtypes] == ["category", "float64", "category"]


def test_roles_do_not_share_data(sets):
    roles = {
        role: [s for s in sets.values() if s.role == role] for role in ("development", "final")
    }
    assert [len(roles["development"]), len(roles["final"])] == [36, 36]
    families = [{one.family for one in role} for role in roles.values()]
    assert not families[0] & families[1]
    assert all(one.name == name for name, one in sets.items())
    assert not [name for name in sets if name.startswith(EXCLUDED)]


def test_every_task_of_two_classes_of_the_study_is_developed_on(sets, load):
    sources = load("study_data").SOURCES
    tasks = sum(
        len(about.ratios) for name, about in sources.items() if name not in ("digits", "MNIST")
    )
    assert len([s for s in sets.values() if s.family in sources]) == tasks == 12
    X, y = sets["synthetic 1:20"].table(max_rows=500)
    assert X.shape == (500, 20)
    assert y.sum() == round(500 / 21)
    again, _ = sets["synthetic 1:20"].table(max_rows=500)
    pd.testing.assert_frame_equal(X, again)
    other, _ = sets["synthetic 1:20"].table(max_rows=500, seed=1)
    assert not X.equals(other)


def test_bounded_tables_drop_words_that_no_row_has(load):
    frame = pd.DataFrame({"word": pd.Categorical(["rare"] + ["often"] * 199)})
    y = np.repeat([0, 1], [150, 50])
    one = load("board_data").BoardSet("toy", lambda: (frame, y), "development", "toy")
    X, kept = one.table(max_rows=20, seed=3)
    assert X.index.tolist() == list(range(20))
    assert kept.sum() == 5
    assert X["word"].cat.categories.tolist() == ["often"]


@pytest.mark.parametrize(("positives", "folds"), [(4, 2), (6, 3), (9, 4), (10, 5), (500, 5)])
def test_each_test_fold_has_two_positives(load, positives, folds):
    from sklearn.model_selection import StratifiedKFold

    y = np.repeat([0, 1], [1000, positives])
    n_folds = load("board_data").n_folds
    assert n_folds(y) == folds
    cut = StratifiedKFold(n_folds(y), shuffle=True, random_state=0).split(y, y)
    assert min(y[test].sum() for _, test in cut) >= 2
    with pytest.raises(ValueError, match="at least 4 rows of the rare class, got 3"):
        n_folds(y[:1003])


@pytest.mark.parametrize(
    ("name", "shape", "n_words", "n_gaps", "positives"),
    [
        ("satimage", (6435, 36), 0, 0, 626),
        ("spect_f", (267, 44), 0, 0, 55),
        ("hypothyroid", (3163, 25), 18, 5329, 151),
        ("hepatitis", (155, 19), 13, 167, 32),
        ("ada", (4147, 48), 0, 0, 1029),
        ("kc1", (2109, 21), 0, 0, 326),
        ("car-good", (1728, 6), 6, 0, 69),
        ("cleveland-0_vs_4", (177, 13), 0, 4, 13),
        ("lymphography-normal-fibrosis", (148, 18), 15, 0, 6),
    ],
)
def test_real_tables(real, name, shape, n_words, n_gaps, positives):
    X, y = real[name].load()
    assert X.shape == shape
    assert X.select_dtypes("category").shape[1] == n_words
    assert X.select_dtypes("float64").shape[1] == shape[1] - n_words
    assert X.isna().sum().sum() == n_gaps
    assert y.sum() == positives


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    "name",
    [
        "LightGBM",
        "XGBoost",
        "CatBoost",
        "HistGradientBoosting",
        "random forest",
        "balanced random forest",
        "logistic regression",
        "MLP (scikit-learn)",
    ],
)
def test_peers_take_words_and_gaps_as_they_come(load, name):
    peers = load("board_peers")
    pytest.importorskip(peers.NEEDS.get(name, "sklearn"))
    X, y = rows_with_gaps()
    with peers.one_thread():
        model = peers.PEERS[name](0).fit(X[:160], y[:160])
        P = model.predict_proba(X[160:])  # among them a word that the training rows lack
        again = peers.PEERS[name](0).fit(X[:160], y[:160]).predict_proba(X[160:])
    np.testing.assert_array_equal(P, again)
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-6)
    assert P[y[160:] == 1, 1].mean() > P[y[160:] == 0, 1].mean() + 0.05
    assert set(np.unique(model.predict(X[160:]))) <= {0, 1}


def test_peers_that_are_not_installed_are_left_out_with_a_line(load, monkeypatch, capsys):
    peers = load("board_peers")
    monkeypatch.setattr(peers, "NEEDS", {"TabM": "a_package_that_nobody_has"})
    left = peers.installed_peers()
    assert set(peers.PEERS) - set(left) == {"TabM"}
    assert capsys.readouterr().out.startswith("TabM is left out: a_package_that_nobody_has is not")


@pytest.mark.slow
def test_tuned_peers_decide_for_balanced_accuracy(load):
    from sklearn.metrics import balanced_accuracy_score

    peers = load("board_peers")
    X, y = rows_with_gaps()
    plain = peers.PEERS["logistic regression"](0).fit(X, y)
    model = peers.tuned(peers.PEERS["logistic regression"])(0).fit(X, y)
    assert 0 < model.best_threshold_ < 0.45
    scores = [balanced_accuracy_score(y, m.predict(X)) for m in (plain, model)]
    assert scores[1] > scores[0]
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    assert peers.tuned(peers.PEERS["logistic regression"], n_folds=2)(0).cv == 2


def test_one_thread_ends_with_its_block(load):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with load("board_peers").one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


# -- the board itself ----------------------------------------------------------------------------


def rows_of_two():
    rng = np.random.default_rng(0)
    y = (np.arange(120) % 6 == 0).astype(np.int64)
    return pd.DataFrame({"a": y + rng.normal(size=120), "b": rng.normal(size=120)}), y


def test_board_measures_on_the_same_folds_and_goes_on(tmp_path, load, monkeypatch, capsys):
    board, sets = load("board"), load("board_data")
    one = sets.BoardSet("two normal columns", rows_of_two, "development", "normal")
    lost = sets.BoardSet("lost", (tmp_path / "data.dat").read_text, "development", "lost")
    monkeypatch.setattr(board, "BOARD_SETS", {"two normal columns": one, "lost": lost})
    path = tmp_path / "board.csv"
    board.main(["--out", str(path), "--methods", "net"])
    board.main(["--out", str(path), "--methods", "net", "logistic regression"])
    found = pd.read_csv(path)
    assert found["method"].tolist() == ["net", "logistic regression"]
    assert found["error"].isna().all()
    assert (found["positives"] == 20).all()
    assert found["average_precision"].between(0.2, 1).all()
    assert found["balanced_accuracy"].between(0.5, 1).all()
    assert "lost: left out" in capsys.readouterr().out


def test_recall_among_the_top_rows(load):
    recall = load("board").recall_among_top
    y = np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 1])
    proba = np.array([0.9, 0.8, 0.7, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2])
    assert recall(y, proba, 0.1) == 1  # one row is looked at, and it is a positive
    assert recall(y, proba, 0.2) == 0.5
    assert recall(y, proba, 0.4) == 1
    assert recall(y, -proba, 0.01) == 0


def test_page_of_the_board(tmp_path, load):
    pytest.importorskip("matplotlib")
    page, rng = load("board_page"), np.random.default_rng(0)
    rows = [
        {
            "data": f"set {i}",
            "seed": 0,
            "method": method,
            "family": f"family {i // 2}",
            "rows": 100,
            "positives": 10,
            **dict.fromkeys(page.SHOWN, np.round(0.5 + gain + rng.normal() / 1000, 3)),
            "seconds": 1.0,
            "error": None,
        }
        for i in range(6)
        for method, gain in (("portfolio", 0.2), ("LightGBM", 0.1), ("net", 0.15), ("TabM", 0.0))
    ][:-1]  # TabM lacks the last set
    pd.DataFrame(rows).to_csv(tmp_path / "board_development.csv", index=False)
    markers = "<!-- development sets: begin -->\nold\n<!-- development sets: end -->"
    (tmp_path / "board.md").write_text(f"before\n{markers}\nafter\n")
    where = {"--results": tmp_path, "--page": tmp_path / "board.md", "--images": tmp_path}
    page.main([part for pair in where.items() for part in map(str, pair)])
    text = (tmp_path / "board.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "TabM" not in text
    assert "6 data sets of 3 families, 3 methods" in text
    assert "| portfolio | **1.0** |" in text
    assert (tmp_path / "board_development.png").stat().st_size > 10_000
    table = page.by_set(page.read(tmp_path / "board_development.csv"), "average_precision")
    mean, error, wins, losses = page.paired(table, "portfolio", "LightGBM")
    assert (wins, losses) == (6, 0)
    assert abs(mean - 0.1) < 3 * error + 0.002
