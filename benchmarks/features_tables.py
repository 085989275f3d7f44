"""What packages for tables do with raw columns: each cell is the result of a trial.

The script prints the second table of docs/alternatives.md::

    python benchmarks/features_tables.py
    python benchmarks/features_tables.py --packages imbtorch CatBoost

``yes``: it worked. ``partly``: it worked after work of the user, which is printed below the table.
``no``: neither. The work that text needs counts in its row only; the other questions begin after
it. Cells that begin with "read" were read in the source or the documentation. A package that is not
installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Answer = tuple[str, str]  # yes, partly or no; and why
Work = tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]  # of the user: what, and how
NOTHING: Work = ("", lambda X: X)
N_ROWS, EPOCHS = 600, 20
TEXT = ["shop"]


def frame(seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Draw a number and a text, both of which are needed to tell the classes apart."""
    rng = np.random.default_rng(seed)
    shop = rng.choice(["books", "games", "shoes", "wine"], N_ROWS)
    amount = rng.normal(size=N_ROWS)
    y = ((amount > 0) ^ np.isin(shop, ["games", "wine"])).astype(int)
    return pd.DataFrame({"amount": amount, "shop": shop}), pd.Series(y)


def as_categories(X: pd.DataFrame) -> pd.DataFrame:
    """Convert text to pandas' categories, as some packages want it."""
    return X.astype(dict.fromkeys(TEXT, "category"))


def with_a_word_for_gaps(X: pd.DataFrame) -> pd.DataFrame:
    """Replace missing text by a word."""
    return X.assign(shop=X["shop"].fillna("missing"))


@dataclass
class Package:
    """How a package is used: its model, what must be done by hand, and what cannot be tried."""

    distribution: str
    model: Callable[..., Any]  # monotone=True asks for predictions that rise with the amount
    text: Work = NOTHING  # what text needs in front of the model
    text_gaps: Work = NOTHING  # what missing text needs besides
    monotone: str = ""  # why there is no such constraint
    embeddings: Answer = ("no", "read: trees split categories")
    command: Answer = ("no", "read: there is none")
    save: Callable[[Any, Path], Any] | None = None  # writes a file without pickle, and reads it


def imbtorch_model(monotone: bool = False) -> Any:
    from imbtorch import ImbalancedNetClassifier

    return ImbalancedNetClassifier(max_epochs=EPOCHS, lr=0.01, random_state=0)


def imbtorch_file(model: Any, path: Path) -> Any:
    import imbtorch

    imbtorch.save(model, path)
    return imbtorch.load(path)


def realmlp(monotone: bool = False) -> Any:
    from pytabkit import RealMLP_TD_Classifier

    return RealMLP_TD_Classifier(device="cpu", n_epochs=EPOCHS, random_state=0, verbosity=0)


def histogram_boosting(monotone: bool = False) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    constraint = {"monotonic_cst": {"amount": 1}} if monotone else {}
    return HistGradientBoostingClassifier(random_state=0, **constraint)


def lightgbm(monotone: bool = False) -> Any:
    from lightgbm import LGBMClassifier

    constraint = {"monotone_constraints": [1, 0]} if monotone else {}
    return LGBMClassifier(verbose=-1, n_jobs=1, random_state=0, **constraint)


def lightgbm_file(model: Any, path: Path) -> Any:
    from lightgbm import Booster

    model.booster_.save_model(path)
    return Booster(model_file=path)


def xgboost(monotone: bool = False) -> Any:
    from xgboost import XGBClassifier

    constraint = {"monotone_constraints": {"amount": 1}} if monotone else {}
    return XGBClassifier(enable_categorical=True, n_jobs=1, random_state=0, **constraint)


def xgboost_file(model: Any, path: Path) -> Any:
    model.save_model(path.with_suffix(".json"))
    again = xgboost()
    again.load_model(path.with_suffix(".json"))
    return again


def catboost(monotone: bool = False) -> Any:
    from catboost import CatBoostClassifier

    constraint = {"monotone_constraints": {"amount": 1}} if monotone else {}
    return CatBoostClassifier(
        cat_features=TEXT, iterations=200, verbose=0, thread_count=1, random_seed=0,
        allow_writing_files=False, **constraint,
    )  # fmt: skip


def catboost_file(model: Any, path: Path) -> Any:
    from catboost import CatBoostClassifier

    model.save_model(str(path))
    return CatBoostClassifier().load_model(str(path))


TO_CATEGORIES = ("text converted to pandas' categories", as_categories)
PACKAGES = {
    "imbtorch": Package(
        "imbtorch",
        imbtorch_model,
        monotone="no parameter",
        embeddings=("yes", "read: from 33 categories on; tested in tests/"),
        command=("yes", "imbtorch fit and predict; tested in tests/"),
        save=imbtorch_file,
    ),
    "RealMLP": Package(
        "pytabkit",
        realmlp,
        monotone="no parameter",
        embeddings=("yes", "read: where one-hot columns would be many"),
    ),
    "HistGB": Package("scikit-learn", histogram_boosting, text=TO_CATEGORIES),
    "LightGBM": Package(
        "lightgbm",
        lightgbm,
        text=TO_CATEGORIES,
        command=("partly", "read: a program that is built from source; categories are integers"),
        save=lightgbm_file,
    ),
    "XGBoost": Package("xgboost", xgboost, text=TO_CATEGORIES, save=xgboost_file),
    "CatBoost": Package(
        "catboost",
        catboost,
        text=("the names of the columns of text", lambda X: X),  # cat_features above
        text_gaps=("a word for missing text", with_a_word_for_gaps),
        command=("partly", "read: a program of its own, which needs a description of the columns"),
        save=catboost_file,
    ),
}


def accuracy(package: Package, X: pd.DataFrame, new: pd.DataFrame) -> Answer:
    """Fit on ``X`` and predict ``new``, after what text needs."""
    (_, y), (_, y_new), (_, prepare) = frame(), frame(1), package.text
    model = package.model().fit(prepare(X), y)
    found = float((np.ravel(model.predict(prepare(new))) == y_new).mean())
    return "yes" if found > 0.8 else "no", f"accuracy {found:.2f}"


def ask_text(package: Package) -> Answer:
    """Does it take a column of text as categories?"""
    mark, reason = accuracy(package, frame()[0], frame(1)[0])
    by_hand = package.text[0]
    return ("partly", by_hand) if mark == "yes" and by_hand else (mark, reason)


def ask_unseen(package: Package) -> Answer:
    """Does it predict rows with a category that training has not seen?"""
    new = frame(1)[0]
    new.loc[::50, "shop"] = "a shop that is new"
    return accuracy(package, frame()[0], new)


def with_gaps(column: str, X: pd.DataFrame) -> pd.DataFrame:
    """Remove every fiftieth value of a column."""
    return X.assign(**{column: X[column].mask(np.arange(len(X)) % 50 == 0)})


def ask_gaps(package: Package) -> Answer:
    """Does it take missing numbers?"""
    return accuracy(package, *(with_gaps("amount", frame(seed)[0]) for seed in (0, 1)))


def ask_text_gaps(package: Package) -> Answer:
    """Does it take missing text?"""
    by_hand, fill = package.text_gaps
    parts = [fill(with_gaps("shop", frame(seed)[0])) for seed in (0, 1)]
    mark, reason = accuracy(package, *parts)
    return ("partly", by_hand) if mark == "yes" and by_hand else (mark, reason)


def ask_dates(package: Package) -> Answer:
    """Does it take a column of dates?"""
    day = pd.date_range("2026-01-01", periods=N_ROWS)
    return accuracy(package, *(frame(seed)[0].assign(day=day) for seed in (0, 1)))


def ask_monotone(package: Package) -> Answer:
    """Are there constraints that let predictions only rise with a column?"""
    if package.monotone:
        return "no", package.monotone
    X, y = frame()
    X = X[["amount"]].assign(shop=0.0)  # with numbers only: the constraint is the question
    noisy = y ^ (np.random.default_rng(2).random(N_ROWS) < 0.2)
    model = package.model(monotone=True)
    if "cat_features" in model.get_params():
        model.set_params(cat_features=None)
    grid = pd.DataFrame({"amount": np.linspace(-2, 2, 200), "shop": 0.0})
    p = model.fit(X, noisy).predict_proba(grid)[:, 1]
    return ("yes", "") if (np.diff(p) >= -1e-9).all() else ("no", "predictions fall")


def ask_file(package: Package) -> Answer:
    """Does a file without pickle predict from the same columns?"""
    if package.save is None:
        return "no", "pickle, joblib or skops"
    (X, y), new, (_, prepare) = frame(), frame(1)[0], package.text
    model = package.model().fit(prepare(X), y)
    # only two of the categories, so that the codes of this frame are not those of training
    some = prepare(new[new["shop"].isin(["shoes", "wine"])].reset_index(drop=True))
    with tempfile.TemporaryDirectory() as folder:
        again = package.save(model, Path(folder, "model"))
        here, there = (probability(m, some) for m in (model, again))
    return ("yes", "") if np.allclose(here, there, atol=1e-6) else ("no", "other predictions")


def probability(model: Any, X: pd.DataFrame) -> Any:
    """Return the probability of the second class, also of a model without ``predict_proba``."""
    found = getattr(model, "predict_proba", model.predict)(X)
    return found[:, 1] if found.ndim > 1 else found


QUESTIONS: dict[str, Callable[[Package], Answer]] = {
    "text as categories": ask_text,
    "unseen categories": ask_unseen,
    "missing numbers": ask_gaps,
    "missing text": ask_text_gaps,
    "dates": ask_dates,
    "learned embeddings": lambda package: package.embeddings,
    "monotone constraints": ask_monotone,
    "one file, no pickle": ask_file,
    "tables without code": lambda package: package.command,
}


def ask(question: Callable[[Package], Answer], package: Package) -> Answer:
    """Answer one question; an exception is an answer, too."""
    try:
        return question(package)
    except Exception as error:
        return "no", f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"


def installed(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of the packages that can be imported."""
    versions = {}
    for name in names:
        for distribution in (PACKAGES[name].distribution, f"{PACKAGES[name].distribution}-cpu"):
            try:
                versions[name] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
    if "imbtorch" in names:
        import imbtorch  # this version is tried, whether it is installed or not

        versions = {"imbtorch": imbtorch.__version__} | versions
    return versions


def main(argv: Sequence[str] | None = None) -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=list(PACKAGES))
    versions = installed(parser.parse_args(argv).packages)
    warnings.simplefilter("ignore")
    print(", ".join(f"{name} {version}" for name, version in versions.items()), end="\n\n")
    print("| |", " | ".join(versions), "|")
    print("|---|" + "---|" * len(versions))
    reasons = []
    for title, question in QUESTIONS.items():
        answers = {name: ask(question, PACKAGES[name]) for name in versions}
        print(f"| {title} |", " | ".join(mark for mark, _ in answers.values()), "|", flush=True)
        reasons += [
            f"{title}, {name}: {mark}, {why}" for name, (mark, why) in answers.items() if why
        ]
    print("", *reasons, sep="\n- ")


if __name__ == "__main__":
    main()
