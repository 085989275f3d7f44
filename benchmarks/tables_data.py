"""Tables as people have them: words, gaps and amounts in thousands, with a rare class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from common import FRAUD_FILE, data_folder
from numpy.typing import NDArray
from study_data import card_fraud, eye_state, mammography, phoneme, synthetic, thinned

__all__ = ["TABLES", "adult_like", "shops"]

Table = tuple[pd.DataFrame, NDArray[np.int64]]
GAPS = 0.08  # share of the cells of a column that are removed


def adult_like(n: int) -> Table:
    """Draw people like those of the census: 8 columns of text, 6 of numbers, 6% with much income.

    Category names, their number and their frequencies are like those of UCI's "Adult" data, so are
    the gaps (work and occupation are unknown together) and the amounts, of which most are 0.
    """
    rng = np.random.default_rng(0)

    def words(kind: str, size: int, fall: float) -> tuple[NDArray[Any], NDArray[np.float64]]:
        shares = (1 + np.arange(size)) ** -fall
        codes = rng.choice(size, n, p=shares / shares.sum())
        names = np.array([f"{kind} {i}" for i in range(size)], dtype=object)
        return names[codes], rng.normal(size=size)[codes]

    work, by_work = words("class", 8, 1.5)
    job, by_job = words("job", 14, 0.5)
    marital, by_marital = words("marital", 7, 1.2)
    relation, by_relation = words("relation", 6, 0.8)
    race, _ = words("race", 5, 2.0)
    country, by_country = words("country", 41, 2.2)
    years = np.clip(rng.normal(10, 2.6, n).round(), 1, 16)
    degree = np.array([f"degree {i:.0f}" for i in years], dtype=object)
    man = rng.random(n) < 0.67
    age = np.clip(rng.gamma(8, 4.9, n).round(), 17, 90)
    hours = np.clip(rng.normal(40, 12, n).round(), 1, 99)
    gain = np.where(rng.random(n) < 0.08, rng.lognormal(8.5, 1, n), 0).round()
    loss = np.where(rng.random(n) < 0.05, rng.normal(1870, 380, n), 0).clip(0).round()
    score = 0.35 * (years - 10) + 0.5 * by_job + 0.3 * by_work + 0.9 * by_marital
    score += 0.4 * by_relation + 0.3 * by_country + 0.4 * man + 0.03 * (hours - 40)
    score += -0.002 * (age - 50) ** 2 + 2.5 * (gain > 6000) + 1.0 * (loss > 1800)
    y = (rng.random(n) < 1 / (1 + np.exp(5.5 - 2 * score))).astype(np.int64)
    idle = rng.random(n) < 0.056
    work[idle], job[idle] = None, None
    country[rng.random(n) < 0.018] = None
    frame = pd.DataFrame(
        {
            "age": age,
            "workclass": work,
            "fnlwgt": rng.lognormal(12, 0.5, n).round(),
            "education": degree,
            "education_num": years,
            "marital_status": marital,
            "occupation": job,
            "relationship": relation,
            "race": race,
            "sex": np.where(man, "man", "woman"),
            "capital_gain": gain,
            "capital_loss": loss,
            "hours_per_week": hours,
            "native_country": country,
        }
    )
    return frame, y


def shops(n: int) -> Table:
    """Draw purchases: 8 columns of 20 to 200 categories, each with an effect; 4 of amounts."""
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {}
    score = np.full(n, -6.5)
    for i, size in enumerate((20, 30, 40, 60, 80, 100, 150, 200)):
        shares = rng.dirichlet(np.ones(size))
        codes = rng.choice(size, n, p=shares)
        score += 1.2 * rng.normal(size=size)[codes]
        names = np.array([f"{'abcdefgh'[i]}{j:03d}" for j in rng.permutation(size)], dtype=object)
        columns[f"key_{i}"] = names[codes]
    for i, unit in enumerate((1e3, 1e4, 1.0, 1e6)):
        amount = rng.lognormal(0, 0.8, n)
        score += 1.0 * np.log(amount) * (1 if i % 2 else -1)
        columns[f"amount_{i}"] = unit * amount
    y = (rng.random(n) < 1 / (1 + np.exp(-score))).astype(np.int64)
    return punched(pd.DataFrame(columns), rng), y


def punched(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Remove cells at random from every second column."""
    for name in frame.columns[::2]:
        frame[name] = frame[name].mask(rng.random(len(frame)) < GAPS)
    return frame


def in_words(
    X: NDArray[Any], bins: dict[int, int], units: Sequence[float], seed: int
) -> pd.DataFrame:
    """Make words of some columns, amounts of the others, and remove cells.

    Parameters
    ----------
    X : ndarray of shape (n, n_columns)
        Numbers.
    bins : dict of int to int
        Columns that become words, and into how many intervals of equally many rows they are cut.
        The words do not tell the order.
    units : sequence of float
        Factors of the other columns, in turn.
    seed : int
        Seed of the words and of the gaps.
    """
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for j in range(X.shape[1]):
        if j not in bins:
            columns[f"number {j}"] = X[:, j].astype(np.float64) * units[j % len(units)]
            continue
        edges = np.unique(np.quantile(X[:, j], np.linspace(0, 1, bins[j] + 1)[1:-1]))
        names = np.array([f"word {i}" for i in rng.permutation(len(edges) + 1)], dtype=object)
        columns[f"words {j}"] = names[np.searchsorted(edges, X[:, j])]
    return punched(pd.DataFrame(columns), rng)


def _binned(
    load: Callable[[], tuple[Any, Any]], ratio: float | None, bins: dict[int, int]
) -> Callable[[int], Table]:
    def table(n: int) -> Table:
        X, y = thinned(load(), ratio, 0, n)
        return in_words(X, bins, (1.0, 1e3, 1e5), 0), y

    return table


def fraud(n: int) -> Table:
    """Load card transactions as they are, days in words, counts as bands."""
    with np.load(data_folder() / FRAUD_FILE) as data:
        names = [str(name).lower() for name in data["feature_names"]]
    X, y = thinned(card_fraud(), 30, 0, n)
    frame = pd.DataFrame(X.astype(np.float64), columns=names)
    for name, words in zip(names[1:3], (("weekday", "weekend"), ("day", "night")), strict=True):
        frame[name] = np.array(words, dtype=object)[(frame[name] > 0).astype(int)]
    for name in (n for n in names if "_nb_tx_" in n):
        frame[name] = frame[name].clip(upper=40).astype(int).astype(str) + " times"
    return punched(frame, np.random.default_rng(0)), y


TABLES: dict[str, Callable[[int], Table]] = {
    "adult-like": adult_like,
    "shops": shops,
    "card fraud": fraud,
    "phoneme": _binned(phoneme, 10, {0: 6, 2: 12, 4: 30}),
    "eye state": _binned(eye_state, 10, {0: 5, 3: 10, 5: 20, 8: 40, 12: 80}),
    "mammography": _binned(mammography, None, {1: 8, 4: 25}),
    "synthetic": _binned(synthetic, 20, {j: 5 + 4 * j for j in range(0, 20, 2)}),
}
