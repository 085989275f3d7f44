"""The code of a comparison that was made in Python: it runs, and says what it cannot know."""

import functools
import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, PredefinedSplit, StratifiedKFold, TimeSeriesSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from imbtorch import ImbalancedNetClassifier, compare_strategies
from imbtorch.compare import default_strategies
from imbtorch.compare._code import code
from imbtorch.compare._written import Writer
from imbtorch.losses import FocalLoss
from imbtorch.modules import MLP

pd = pytest.importorskip("pandas")

N = 120
RNG = np.random.default_rng(0)
Y = np.where(np.arange(N) % 6 == 0, "fraud", "fine")
AMOUNT = (RNG.normal(size=N) + 1.5 * (Y == "fraud")).round(3)
X = pd.DataFrame({"amount": AMOUNT, "shop": RNG.choice(["a", "b", "c"], N)})
NUMBERS = X[["amount"]].assign(size=RNG.normal(size=N))
SHORT = {"module": "mlp", "max_epochs": 1, "random_state": 0}
PRELUDE = "# Define these names before you run the code"


def executed(program, **names):
    """Run the code as a reader would, who has nothing but these names."""
    found = {"__name__": "pasted", **names}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(program, "the code of the report", "exec"), found)
    return found


def compared(features, labels, strategies=("cross",), **options):
    """Compare; the warnings about columns and labels are tested elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return compare_strategies(
            features, labels, strategies=strategies, cv=2, **{**SHORT, **options}
        )


def asked_for(program):
    """The names that the reader must define, by the comments of the code."""
    if PRELUDE not in program:
        return []
    return re.findall(r"^#   (\w+): ", program, re.MULTILINE)


def check_default(features, tidy, labels=Y, truth=None, names=None, **options):
    """The code must predict as the strategy does with the table that was compared."""
    found = compared(features, labels, **options)
    given = executed(found.code, X=features, y=labels, **(names or {}))
    model = default_strategies(truth if truth is not None else labels, X=tidy, **SHORT)
    model = model["cross-entropy"].fit(tidy, truth if truth is not None else labels)
    expected = model.predict_proba(tidy.iloc[:5])[:, given["place"]]
    np.testing.assert_allclose(given["probability"], expected)
    return found.code


# The columns of a frame --------------------------------------------------------------------


def test_a_leftover_index_and_identifiers_are_left_out_by_the_code():
    before = X.copy()
    others = {"Unnamed: 0": range(N), "customer": [f"c{i}" for i in range(N)]}
    program = check_default(X.assign(**others), X)
    assert "drop(columns=['Unnamed: 0', 'customer'])" in program
    pd.testing.assert_frame_equal(X, before)


FORMATS = {
    "marks of gaps": lambda value, n: "?" if n % 9 == 0 else " n/a" if n % 10 == 0 else str(value),
    "decimal comma": lambda value, n: str(value).replace(".", ","),
    "thousands": lambda value, n: f"{1e5 * value:,.2f}",
    "both": lambda value, n: f"{1e5 * value:_.2f}".replace(".", ",").replace("_", "."),
    "percent": lambda value, n: "-" if n == 3 else f"{value} %",
    "currency": lambda value, n: f"-$ {-value}" if value < 0 else f"${value}",
    "minus": lambda value, n: str(value).replace("-", "\u2212"),
    "thin spaces": lambda value, n: f"{1e5 * value:_.2f}".replace("_", "\u202f"),
    "numbers and words": lambda value, n: "unknown" if n % 7 == 0 else float(value),
    "blanks": lambda value, n: "" if n % 5 == 0 else f" {value} ",
}


@pytest.mark.parametrize("kind", FORMATS)
def test_numbers_in_text_are_read_by_the_code(kind):
    cells = [FORMATS[kind](value, n) for n, value in enumerate(AMOUNT)]
    factor = 1e5 if kind in ("thousands", "both", "thin spaces") else 1
    values = (factor * AMOUNT).round(2) if factor > 1 else AMOUNT.copy()
    values = values / 100 if kind == "percent" else values
    gaps = {
        "marks of gaps": [n for n in range(N) if n % 9 == 0 or n % 10 == 0],
        "percent": [3],
        "numbers and words": range(0, N, 7),
        "blanks": range(0, N, 5),
    }.get(kind, [])
    values[list(gaps)] = np.nan
    messy = X.assign(amount=pd.Series(cells, dtype=object if kind != "blanks" else "string"))
    check_default(messy, X.assign(amount=values))


def test_blanks_in_categories_and_digits_that_begin_with_0_are_read_by_the_code():
    post = pd.Series(RNG.choice(["01067", "20095", "80331"], N))
    spelled = (" " + X["shop"]).mask(np.arange(N) % 4 == 0, "")
    tidy = X.assign(shop=X["shop"].mask(np.arange(N) % 4 == 0), post=post.astype("category"))
    program = check_default(X.assign(shop=spelled, post=post), tidy)
    assert "?" not in program


def test_a_frame_that_needs_nothing_is_used_as_it_is():
    program = check_default(X, X)
    assert "prepare" not in program
    assert "model.fit(X, y)" in program
    as_it_is = compared(X.assign(row=range(N)), Y, check_columns=False)
    assert "prepare" not in as_it_is.code


@pytest.mark.parametrize("name", ['it\'s "1"\n#', "a\\b", 7, ("a", 1), np.str_("wide"), "\u00e4?"])
def test_any_name_of_a_column_can_be_written(name):
    if isinstance(name, tuple):  # a frame with two levels of names
        messy = pd.DataFrame({name: AMOUNT, ("n", "o"): range(N)})
        found = compared(messy, Y, check_columns=False)
        assert len(executed(found.code, X=messy, y=Y)["probability"]) == 5
        return
    messy = pd.DataFrame({name: [f"{v} %" for v in AMOUNT], "id": range(N)})
    if not isinstance(name, str):
        messy = messy.rename(columns={"id": 8})
    check_default(messy, pd.DataFrame({name: AMOUNT / 100}))


def test_the_code_can_be_run_twice_and_takes_rows_by_position():
    messy = X.assign(index=range(N), amount=[f"{v} %" for v in AMOUNT])
    messy.index = np.linspace(0, 1, N)  # of which pandas 2 reads X[:5] as labels: all rows
    program = compared(messy, Y).code
    assert "X.iloc[:5]" in program
    first = executed(program, X=messy, y=Y)
    assert first["probability"].shape == (5,)
    again = executed(program, **{k: first[k] for k in ("X", "y")})
    np.testing.assert_array_equal(again["probability"], first["probability"])


def test_new_rows_with_an_unknown_word_are_an_error_not_a_gap():
    messy = X.assign(amount=["?" if n == 3 else str(v) for n, v in enumerate(AMOUNT)])
    found = executed(compared(messy, Y).code, X=messy, y=Y)
    new = messy[3:6].copy()
    assert found["prepare"](new)["amount"].isna().tolist() == [True, False, False]
    new.loc[4, "amount"] = "lots"
    with pytest.raises(ValueError, match="lots"):
        found["prepare"](new)


# Labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rare", [" fraud", "two\nlines", 'it\'s "it"', "a  b", "back\\slash", "{x}", "a\u2028b", "x\t"]
)
@pytest.mark.parametrize("kind", [np.array, list, pd.Series])
def test_labels_with_blanks_quotes_and_line_breaks(rare, kind):
    labels = kind([rare if label == "fraud" else " fine " for label in Y])
    program = check_default(
        NUMBERS, NUMBERS, labels, truth=np.where(Y == "fraud", rare.strip(), "fine")
    )
    assert "y, X=X" not in program


@pytest.mark.parametrize(
    "labels",
    [
        np.array([np.str_(label) for label in Y], dtype=object),
        [np.int64(label == "fraud") for label in Y],
        [np.bool_(label == "fraud") for label in Y],
        (Y == "fraud").astype(np.float32),
        pd.Series(Y, dtype="category"),
        pd.Series(Y, index=range(N, 2 * N), dtype="string"),
        pd.DataFrame({"label": (Y == "fraud").astype(int)}),
    ],
    ids=["np.str_", "np.int64", "np.bool_", "float32", "category", "string", "frame"],
)
def test_labels_of_any_type_are_plain_in_the_code(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a column as labels
        program = compared(NUMBERS, labels).code
    assert "np." not in program
    found = executed(program, X=NUMBERS, y=labels)
    rare = found["model"].classes_[found["place"]]
    assert rare == np.ravel(np.asarray(labels))[0]


# Arguments of the default strategies -------------------------------------------------------


def test_numbers_of_numpy_are_plain_numbers_in_the_code():
    options = {
        "module": np.str_("mlp"),
        "max_epochs": np.int64(1),
        "random_state": np.int32(3),
        "scoring": np.str_("roc_auc"),
    }
    found = compared(X, Y, **options)
    line = next(line for line in found.code.splitlines() if line.startswith("strategies ="))
    assert line == (
        "strategies = default_strategies(y, X=X, module='mlp', max_epochs=1, scoring='roc_auc', "
        "random_state=3)"
    )
    assert "np." not in found.run.budget
    assert asked_for(found.code) == []
    plain = {"module": "mlp", "max_epochs": 1, "random_state": 3, "scoring": "roc_auc"}
    expected = default_strategies(Y, X=X, **plain)["cross-entropy"].fit(X, Y)
    probability = executed(found.code, X=X, y=Y)["probability"]
    np.testing.assert_allclose(probability, expected.predict_proba(X[:5])[:, 1])


class LocalNet(torch.nn.Module):
    """Importable from this file."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.layer = torch.nn.Linear(input_shape[0], n_outputs)

    def forward(self, rows):
        return self.layer(rows)


def build(shape, n_outputs):
    return LocalNet(shape, n_outputs)


def objects():
    class Hidden(LocalNet):
        """Not importable."""

    scorer = make_scorer(f1_score, pos_label="fraud")
    fixed = FrozenEstimator(StandardScaler().fit(NUMBERS))
    return {
        "module": torch.nn.Linear(2, 1),
        "Hidden": Hidden,
        "partial": functools.partial(build),
        "lambda": lambda shape, n_outputs: LocalNet(shape, n_outputs),
        "scoring": scorer,
        "random_state": np.random.RandomState(0),
        "preprocessing": fixed,
        "output": StandardScaler().set_output(transform="pandas"),
    }


OBJECTS = {  # name of the argument, name in the code
    "module": ("module", "module"),
    "Hidden": ("module", "Hidden"),
    "partial": ("module", "module"),
    "lambda": ("module", "module"),
    "scoring": ("scoring", "scoring"),
    "random_state": ("random_state", "random_state"),
    "preprocessing": ("preprocessing", "preprocessing"),
    "output": ("preprocessing", "preprocessing"),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_that_cannot_be_written_are_asked_for(kind):
    argument, name = OBJECTS[kind]
    value = objects()[kind]
    program = compared(NUMBERS, Y, **{argument: value}).code
    assert f"{argument}={name}" in program
    assert asked_for(program) == [name]
    assert program.index(PRELUDE) < program.index("strategies =")
    with pytest.raises(NameError, match=name):
        executed(program, X=NUMBERS, y=Y)
    assert len(executed(program, X=NUMBERS, y=Y, **{name: value})["probability"]) == 5


WRITTEN = {
    "module": MLP(hidden_sizes=(np.int64(4),), dropout=np.float32(0.5)),
    "class": LocalNet,
    "builder": build,
    "preprocessing": make_pipeline(StandardScaler(), SelectKBest(f_classif, k=np.int64(1))),
    "fitted": StandardScaler(with_mean=np.bool_(False)).fit(NUMBERS),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_objects_that_can_be_written_are_written(kind):
    argument = "preprocessing" if kind in ("preprocessing", "fitted") else "module"
    options = {**SHORT, argument: WRITTEN[kind]}
    program = compared(NUMBERS, Y, **options).code
    assert asked_for(program) == []
    assert "np." not in program
    found = executed(program, X=NUMBERS, y=Y)
    expected = default_strategies(Y, X=NUMBERS, **options)["cross-entropy"].fit(NUMBERS, Y)
    np.testing.assert_allclose(found["probability"], expected.predict_proba(NUMBERS.iloc[:5])[:, 1])


def test_groups_are_asked_for():
    groups = np.arange(N) // 2
    program = compared(X, Y, groups=groups).code
    assert asked_for(program) == ["groups"]
    executed(program, X=X, y=Y, groups=groups)


def test_folds_in_time_are_imported():
    program = code(
        compare_strategies(X, Y, strategies=["cross"], cv=TimeSeriesSplit(2, gap=2), **SHORT).run,
        "cross-entropy",
        None,
    )
    assert "inner_cv=TimeSeriesSplit(3, gap=2)" in program
    executed(program, X=X, y=Y)


# Strategies of one's own -------------------------------------------------------------------


def parameters(estimator):
    """Parameters as text, in which numbers have no type of numpy."""
    found = estimator.get_params(deep=True)
    return {k: re.sub(r"np\.\w+\(([^()]*)\)", r"\1", repr(v)) for k, v in found.items()}


def halved(rows):
    return rows / 2


OWN = {
    "numpy keys": LogisticRegression(
        C=np.float64(0.3), class_weight={np.str_("fraud"): np.float32(2), "fine": np.int64(1)}
    ),
    "net": ImbalancedNetClassifier(
        "mlp", loss=FocalLoss(gamma=np.float64(1.5)), class_weight={"fraud": 3.0, "fine": 1.0},
        max_epochs=np.int64(2), random_state=np.int64(0),
    ),
    "pipeline": Pipeline(
        [("scale", StandardScaler()), ("half", FunctionTransformer(halved)),
         ("model", LogisticRegression(tol=np.float64(1e-3)))]
    ),
    "search": GridSearchCV(
        LogisticRegression(), {"C": np.logspace(-1, 1, 3), "fit_intercept": [True]},
        cv=StratifiedKFold(3, shuffle=True, random_state=np.int64(0)), scoring="roc_auc",
    ),
    "given folds": GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        [{"logisticregression__C": (1, 2)}], cv=3, error_score=np.float64("nan"),
    ),
    "votes": VotingClassifier(
        [("a", LogisticRegression()), ("b", DummyClassifier())], voting="soft", weights=[1, 2]
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OWN)
def test_strategies_of_ones_own_are_written_out(kind):
    own = {'it\'s\n"one"': OWN[kind]}
    found = compare_strategies(NUMBERS, Y, strategies=own, cv=2, random_state=0)
    assert found.table["status"].tolist() == ["ok"]
    program = found.code
    assert asked_for(program) == []
    assert "np." not in program
    given = executed(program, X=NUMBERS, y=Y)
    assert type(given["model"]) is type(OWN[kind])
    assert parameters(given["model"]) == parameters(OWN[kind])
    expected = clone(OWN[kind]).fit(NUMBERS, Y).predict_proba(NUMBERS.iloc[:5])[:, 1]
    np.testing.assert_allclose(given["probability"], expected)


class Unusual(LogisticRegression):
    """A class of this file."""


def test_parts_that_cannot_be_written_are_asked_for_by_name():
    module, other = torch.nn.Linear(2, 1), FrozenEstimator(StandardScaler().fit(NUMBERS))
    net = ImbalancedNetClassifier(module, max_epochs=1, random_state=0)
    own = Pipeline([("prepare", other), ("last", net)])
    program = compare_strategies(NUMBERS, Y, strategies={"own": own}, cv=2).code
    assert sorted(asked_for(program)) == ["module", "prepare_2"]  # prepare is a name of the code
    assert "torch.nn.modules.linear.Linear" in program
    found = executed(program, X=NUMBERS, y=Y, module=module, prepare_2=other)
    expected = clone(own).fit(NUMBERS, Y).predict_proba(NUMBERS.iloc[:5])[:, 1]
    np.testing.assert_allclose(found["probability"], expected)


def test_a_strategy_whose_class_is_not_known_is_taken_from_the_mapping():
    class Inside(LogisticRegression):
        """Defined in a function."""

    own = {"inside": Inside(C=0.1), "outside": DummyClassifier()}
    found = compare_strategies(NUMBERS, Y, strategies=own, cv=2)
    assert "clone(strategies['inside'])" in code(found.run, "inside", None)
    assert asked_for(code(found.run, "inside", None)) == ["strategies"]
    given = executed(code(found.run, "inside", None), X=NUMBERS, y=Y, strategies=own)
    assert parameters(given["model"]) == parameters(own["inside"])
    assert "DummyClassifier()" in code(found.run, "outside", None)
    assert "Unusual(C=0.5)" in code(
        compare_strategies(NUMBERS, Y, strategies={"u": Unusual(C=0.5)}, cv=2).run, "u", None
    )


# The writer --------------------------------------------------------------------------------

VALUES = [
    None, True, np.bool_(False), 3, np.uint8(3), 0.1, np.float32(0.1), float("inf"), -np.inf,
    "a'\"\n\\", np.str_("\u2028"), b"\0", (), (1,), [np.int64(1), (2.5,)], {1, 2}, set(),
    frozenset({"a"}), frozenset(), {np.int64(1): {np.str_("a"): [np.float64(2)]}}, range(3),
    slice, np.array([[1, 2], [3, 4]], dtype=np.int8), np.array(["a", "b"]), np.array(2.5),
    StratifiedKFold, PredefinedSplit([0, 1, -1]), np.mean, f1_score, len,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[type(value).__name__ for value in VALUES])
def test_values_are_the_same_when_they_are_read_again(value):
    writer = Writer()
    text = writer.of(value, "value")
    assert writer.supplied == {}
    names = {}
    exec("\n".join(writer.import_lines()), names)
    again = eval(text, names)
    if isinstance(value, PredefinedSplit):
        again, value = vars(again)["test_fold"], vars(value)["test_fold"]
    assert "np." not in text
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(again, value, strict=True)
    else:
        assert again == value


@pytest.mark.parametrize(
    "value",
    [object(), np.arange(1000), torch.ones(2), lambda: 1, iter([]), make_scorer(f1_score)],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_written_is_asked_for_once(value):
    writer = Writer(["thing"])
    assert writer.of([value, {"again": value}], "thing") == "[thing_2, {'again': thing_2}]"
    assert list(writer.supplied) == ["thing_2"]


def test_names_that_are_taken_are_not_imported_twice():
    class Twin:
        """Another class of this name."""

    Twin.__name__ = Twin.__qualname__ = "StandardScaler"
    writer = Writer(["LogisticRegression"])
    assert writer.of(LogisticRegression(), "a") == "sklearn.linear_model.LogisticRegression()"
    assert writer.of(StandardScaler, "b") == "StandardScaler"
    assert writer.of(Twin, "c") == "StandardScaler_2"
    assert writer.of(ImbalancedNetClassifier, "d") == "ImbalancedNetClassifier"
    assert writer.import_lines() == [
        "import sklearn.linear_model",
        "from imbtorch import ImbalancedNetClassifier",
        "from sklearn.preprocessing import StandardScaler",
    ]
