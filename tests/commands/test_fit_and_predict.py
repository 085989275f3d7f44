"""imbtorch fit, predict, evaluate and card: from a file to scores of new rows."""

import json
import re
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from skorch.callbacks import Callback

import imbtorch
from imbtorch import ImbalancedNetClassifier
from imbtorch._commands import fit as fit_command
from imbtorch._commands import main
from imbtorch._commands.console import Console

pd = pytest.importorskip("pandas")

N = 200
RNG = np.random.default_rng(0)
LABEL = np.array(["fraud" if n % 8 == 0 else "fine" for n in range(N)])
FRAME = pd.DataFrame(
    {
        "amount": (100 * RNG.normal(size=N) + 300 * (LABEL == "fraud")).round(2),
        "zip": [f"0{n % 6}" for n in range(N)],
        "shop": RNG.integers(10, 14, N),
        "grade": [("1.50", "2", "X")[n % 3] for n in range(N)],
        "town": RNG.choice(["Ulm", "Pau", "None"], N),
    }
)
QUICK = ["--module", "mlp", "--epochs", "2"]


def run(capsys, *arguments):
    code = main(list(map(str, arguments)))
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make a folder with a model, and files for it."""
    folder = tmp_path_factory.mktemp("model")
    labelled = FRAME.assign(label=LABEL)
    labelled.to_csv(folder / "data.csv", sep=";", decimal=",")
    labelled.to_csv(folder / "later.csv", index=False)
    FRAME.to_csv(folder / "new.csv", index=False)
    options = ["--target", "label", "--categorical", "shop", "--out", folder / "m.imbtorch"]
    assert main(list(map(str, ["fit", folder / "data.csv", *options, *QUICK, "--quiet"]))) == 0
    return folder


@pytest.fixture
def by_hand(folder):
    return imbtorch.load(folder / "m.imbtorch").predict_proba(
        FRAME.astype({"zip": "category", "shop": "category"})
    )


def test_fit_says_what_it_did(folder, tmp_path, capsys):
    options = ["--target", -1, "--out", tmp_path / "m", *QUICK]
    code, output, errors = run(capsys, "fit", folder / "data.csv", *options)
    assert code == 0, errors
    assert "200 rows (fine 175, fraud 25), 5 columns. Epochs: 2." in output
    assert "'column_1' is left out: it counts the rows" in output
    assert "'zip' holds digits that begin with 0" in output
    assert imbtorch.load(tmp_path / "m").target_prior == "train"


def test_fit_as_json_has_nothing_else_on_stdout(folder, tmp_path, capsys):
    options = ["--target", "label", "--out", tmp_path / "m", *QUICK, "--json"]
    code, output, errors = run(capsys, "fit", folder / "data.csv", *options)
    values = json.loads(output)
    assert code == 0
    assert values["classes"] == {"fine": 175, "fraud": 25}
    assert values["columns"] == ["amount", "zip", "shop", "grade", "town"]
    assert errors.count("note: ") == len(values["notes"]) > 3


@pytest.mark.slow
def test_fit_finds_the_length_with_weights_and_groups(folder, tmp_path, capsys):
    frame = FRAME.assign(label=LABEL, weight=1 + (FRAME["amount"] > 0), patient=np.arange(N) // 2)
    frame.to_csv(tmp_path / "data.csv", index=False)
    options = ["--weight", "weight", "--groups", "patient", "--module", "mlp", "--json", "--quiet"]
    out = ["--target", "label", "--out", tmp_path / "m"]
    code, output, errors = run(capsys, "fit", tmp_path / "data.csv", *out, *options)
    assert code == 0, errors
    values = json.loads(output)
    assert values["columns"] == list(FRAME)
    assert 0 < values["score_of_folds"] <= 1


@pytest.mark.slow
def test_a_portfolio_ends_in_time(folder, tmp_path, capsys):
    options = ["--target", "label", "--out", tmp_path / "m", "--portfolio", "--time-limit", 0.1]
    code, output, errors = run(capsys, "fit", folder / "later.csv", *options, "--groups", "zip")
    assert code == 0, errors
    assert "Recipes: " in output
    arguments = [tmp_path / "m", folder / "new.csv", "--drop", "zip"]
    code, output, errors = run(capsys, "predict", *arguments)
    assert code == 0, errors
    assert len(output.splitlines()) == N + 1


@pytest.mark.slow
def test_onnx(folder, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = ["--target", "label", "--out", tmp_path / "m", "--onnx", tmp_path / "m.onnx", *QUICK]
    code, output, errors = run(capsys, "fit", folder / "later.csv", *options)
    assert code == 0, errors
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert [one.name for one in session.get_inputs()] == list(FRAME)


def test_predictions_are_those_of_python_in_the_order_of_the_rows(folder, by_hand, capsys):
    out = folder / "scores.csv"
    code, output, errors = run(
        capsys, "predict", folder / "m.imbtorch", folder / "new.csv", "--out", out
    )
    assert code == 0, errors
    scores = pd.read_csv(out)
    assert list(scores) == ["prediction", "probability_fine", "probability_fraud"]
    np.testing.assert_allclose(scores.iloc[:, 1:].to_numpy(), by_hand, rtol=1e-6)
    assert f"Written: {out}" in output


OTHERS = {
    "columns in another order, and a separator": lambda f: f[list(f)[::-1]].to_csv(
        index=False, sep="\t"),
    "decimal commas": lambda f: f.to_csv(index=False, sep=";", decimal=","),
    "an index": lambda f: f.to_csv(),
    "other marks": lambda f: f.assign(amount=[f"{v:,.2f}" for v in f["amount"]]).to_csv(
        index=False),
    "an empty column": lambda f: f.assign(more="").to_csv(index=False),
    "UTF-16": lambda f: f.to_csv(index=False).encode("utf-16"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_new_files_may_be_written_in_another_way(folder, by_hand, tmp_path, capsys, kind):
    content = OTHERS[kind](FRAME)
    path = tmp_path / "new.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, output, errors = run(capsys, "predict", folder / "m.imbtorch", path, "--quiet")
    assert code == 0, errors
    proba = np.array([line.split(",")[1:] for line in output.splitlines()[1:]], dtype=float)
    np.testing.assert_allclose(proba, by_hand, rtol=1e-6)


def test_one_row_is_read_as_in_training(folder, by_hand, tmp_path, capsys):
    """Nothing is decided anew about a column: its kind is that of the model."""
    path = tmp_path / "new.csv"
    FRAME.iloc[[3]].to_csv(path, index=False)
    code, output, errors = run(capsys, "predict", folder / "m.imbtorch", path, "--json")
    values = json.loads(output)
    assert code == 0, errors
    assert values["scores"][0]["probability_fraud"] == pytest.approx(by_hand[3, 1])
    FRAME.iloc[[5]].assign(amount="?", town="Rom").to_csv(path, index=False)
    code, output, errors = run(capsys, "predict", folder / "m.imbtorch", path, "--json")
    assert "'?' in 1 row is a missing one" in errors
    assert "town (1 row)" in errors


def test_columns_are_copied(folder, tmp_path, capsys):
    FRAME.assign(number=range(7, N + 7)).to_csv(tmp_path / "new.csv", index=False)
    arguments = [folder / "m.imbtorch", tmp_path / "new.csv", "--copy", "number"]
    code, output, _ = run(capsys, "predict", *arguments)
    assert code == 0
    assert output.splitlines()[0] == "number,prediction,probability_fine,probability_fraud"
    assert [int(line.split(",")[0]) for line in output.splitlines()[1:]] == list(range(7, N + 7))


def test_evaluate(folder, by_hand, tmp_path, capsys):
    model, later, page = folder / "m.imbtorch", folder / "later.csv", tmp_path / "report.html"
    given = [model, later, "--target", "label", "--budget", "0.1", "30"]
    code, output, errors = run(capsys, "evaluate", *given, "--out", page, "--json")
    assert code == 0, errors
    values = json.loads(output)
    truth = LABEL == "fraud"
    expected = average_precision_score(truth, by_hand[:, 1])
    assert values["metrics"]["average_precision"] == pytest.approx(expected)
    assert values["metrics"]["roc_auc"] == pytest.approx(roc_auc_score(truth, by_hand[:, 1]))
    first = np.argsort(-by_hand[:, 1], kind="stable")[:20]
    assert values["budgets"][0]["caught"] == truth[first].sum()
    assert values["budgets"][1]["budget"] == 30
    assert sum(row["rows"] for row in values["calibration"]) == N
    threshold = values["budgets"][0]["threshold"]
    assert threshold == pytest.approx(np.sort(by_hand[:, 1])[-values["budgets"][0]["alarms"]])
    assert list(values["metrics"])[2:4] == ["precision_at_recall_80", "alarms_for_recall_90"]
    assert page.read_text().count("data:image/png") == 2
    facts = ["Model", "File", "Rows", "Date", "Versions", "Command"]
    assert re.findall("<dt>(.*?)</dt>", page.read_text()) == facts
    assert f"imbtorch evaluate {model} {later} --target label --budget 0.1 30" in page.read_text()
    code, output, _ = run(capsys, "evaluate", *given, "--positive", "fine")
    assert "of class fine (87.50%)" in output
    assert "average precision" in output


def test_labels_that_are_numbers_are_those_of_the_model(tmp_path, capsys):
    frame = FRAME[["amount"]].assign(label=(LABEL == "fraud").astype(int))
    frame.to_csv(tmp_path / "data.csv", index=False)
    options = ["--target", "label", "--out", tmp_path / "m", *QUICK, "--quiet"]
    assert run(capsys, "fit", tmp_path / "data.csv", *options)[0] == 0
    given = [tmp_path / "m", tmp_path / "data.csv", "--target", "label"]
    code, output, errors = run(capsys, "evaluate", *given)
    assert code == 0, errors
    assert "25 of class 1" in output


def test_card(folder, tmp_path, capsys):
    code, output, _ = run(capsys, "card", folder / "m.imbtorch")
    assert code == 0
    assert output.startswith("# ImbalancedNetClassifier")
    code, output, _ = run(capsys, "card", folder / "m.imbtorch", "--out", tmp_path / "card.md")
    assert (tmp_path / "card.md").read_text().startswith("# ImbalancedNetClassifier")


NEW = ["predict", "{m}", "{new}"]
LATER = ["evaluate", "{m}", "{later}", "--target", "label"]
FIT = ["fit", "{data}", "--target", "label", "--out", "{folder}/x"]
COMPARE = ["compare", "{data}", "--target", "label"]
MISTAKES = [
    (["predict", "{folder}/none", "{new}"], "No such file"),
    (["predict", "{new}", "{new}"], "is not the file of a model"),
    (["predict", "{m}", "{folder}/none.csv"], "there is no file"),
    (["predict", "{m}", "{folder}"], "is a folder"),
    (["predict", "{m}", "{later}"], "--drop label"),
    ([*NEW, "--drop", "amount"], "lacks columns of the model: amount"),
    ([*NEW, "--drop", "Amount"], "Did you mean 'amount'"),
    ([*NEW, "--copy", "number"], "no column 'number'"),
    ([*NEW, "--no-header"], "lacks columns"),
    ([*NEW, "--sep", ";"], "lacks columns"),
    ([*NEW, "--out", "/no/such/place/s.csv"], "--out"),
    ([*NEW, "--out", "{folder}"], "--out"),
    ([*LATER[:-1], "labels"], "Did you mean 'label'"),
    ([*LATER[:-1], "town"], "does not know"),
    ([*LATER, "--positive", "no"], "--positive"),
    ([*LATER, "--budget", "-1"], "--budget"),
    ([*LATER, "--out", "/no/such/place/r.html"], "--out"),
    (["card", "{new}"], "is not the file of a model"),
    (["card", "{m}", "--out", "{folder}"], "--out"),
    ([*FIT, "--epochs", "0"], "--epochs"),
    ([*FIT[:-1], "/no/such/place/m"], "--out"),
    ([*FIT, "--onnx", "{folder}/x"], "different files"),
    ([*FIT, "--portfolio", "--epochs", "3"], "--portfolio"),
    ([*FIT, "--time-limit", "3"], "--time-limit"),
    ([*FIT, "--portfolio", "--time-limit", "0"], "--time-limit"),
    ([*FIT, "--groups", "town", "--epochs", "1"], "--groups"),
    ([*FIT, "--groups", "town"], "3 different values"),
    ([*FIT, "--weight", "town"], "not all numbers"),
    ([*FIT, "--target", "town", "--drop", "town"], "cannot be dropped"),
    ([*FIT, "--sep", "@@"], "--sep"),
    ([*COMPARE, "--groups", "town", "--time", "shop"], "different folds"),
    ([*COMPARE, "--time", "town"], "2026-01-31"),
    ([*COMPARE, "--folds", "1"], "--folds"),
    ([*COMPARE, "--strategies", "magic"], "is not a strategy"),
    ([*COMPARE, "--scoring", "magic"], "'magic'"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_mistakes_are_explained_in_a_line(folder, capsys, arguments, words):
    names = {
        "m": folder / "m.imbtorch", "folder": folder,
        **{name: folder / f"{name}.csv" for name in ("new", "later", "data")},
    }  # fmt: skip
    code, output, errors = run(capsys, *(part.format(**names) for part in arguments))
    assert code == 2, output
    line = errors.splitlines()[-1]
    assert line.startswith("error: ")
    assert words in line
    assert len(line) < 600


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["learn"],
        ["fit"],
        ["fit", "data.csv"],
        ["predict", "m"],
        ["card"],
        ["fit", "--epochs=x"],
    ],
)
def test_arguments_that_cannot_be_parsed(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: imbtorch" in capsys.readouterr().err


def test_labels_and_classes_must_agree(folder, tmp_path, capsys):
    path = tmp_path / "later.csv"
    for label, words in (("theft", "does not know: 'theft'"), ("fine", "no row has the label")):
        FRAME.assign(label=label).to_csv(path, index=False)
        given = [folder / "m.imbtorch", path, "--target", "label"]
        code, _, errors = run(capsys, "evaluate", *given)
        assert code == 2
        assert words in errors


def test_a_regressor_is_no_classifier(tmp_path, folder, capsys):
    net = imbtorch.ImbalancedNetRegressor(max_epochs=1).fit(FRAME[["amount"]], FRAME["amount"])
    net.save(tmp_path / "m")
    code, _, errors = run(capsys, "predict", tmp_path / "m", folder / "new.csv")
    assert code == 2
    assert "is no classifier" in errors


def test_columns_without_names_cannot_be_checked(tmp_path, folder, capsys):
    net = ImbalancedNetClassifier(max_epochs=1).fit(FRAME[["amount"]].to_numpy(), LABEL)
    net.save(tmp_path / "m")
    code, _, errors = run(capsys, "predict", tmp_path / "m", folder / "new.csv")
    assert code == 2
    assert "without names" in errors


class Interrupting(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_ctrl_c_keeps_the_model_of_that_moment(folder, tmp_path, capsys, monkeypatch):
    net = ImbalancedNetClassifier(
        "mlp", callbacks=[Interrupting()], on_interrupt="keep", max_epochs=9
    )
    monkeypatch.setattr(fit_command, "_model", lambda *_: net)
    # a file holds no callbacks, which are code
    monkeypatch.setattr(fit_command, "save", lambda net, path: path.write_text(str(net.n_iter_)))
    options = ["--target", "label", "--out", tmp_path / "m"]
    code, output, _ = run(capsys, "fit", folder / "later.csv", *options)
    assert code == 130
    assert "Interrupted: the model of that moment is kept." in output
    assert net.interrupted_
    assert (tmp_path / "m").read_text() == "1"


def test_ctrl_c_before_there_is_a_model(folder, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_command, "read", interrupted)
    options = ["--target", "label", "--out", tmp_path / "m"]
    code, _, errors = run(capsys, "fit", folder / "later.csv", *options)
    assert (code, errors) == (130, "interrupted: there is no model yet, and no file was written.\n")
    assert not (tmp_path / "m").exists()


def test_an_error_of_the_program_is_a_line_too(folder, tmp_path, capsys, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(fit_command, "read", broken)
    options = ["--target", "label", "--out", tmp_path / "m"]
    code, _, errors = run(capsys, "fit", folder / "later.csv", *options)
    assert code == 1
    assert errors.startswith("error: RuntimeError: a bug")
    with pytest.raises(RuntimeError):
        main(["fit", str(folder / "later.csv"), *map(str, options), "--debug"])


def test_warnings_are_lines(capsys):
    for quiet in (False, True):
        with Console(quiet).warnings():
            warnings.warn("careful", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: careful\n"


def test_the_console_script_is_this_main():
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    script = tomllib.loads(project.read_text("utf-8"))["project"]["scripts"]["imbtorch"]
    module, name = script.split(":")
    assert getattr(import_module(module), name) is main
