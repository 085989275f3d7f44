"""The data sets of the board: imbalanced tables to develop with, and others kept for the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from board_files import (
    Table,
    caravan_table,
    data_of_package,
    keel_table,
    numbers_table,
    words_table,
)
from numpy.typing import NDArray
from study_data import SOURCES, thinned

__all__ = ["BOARD_SETS", "MAX_ROWS", "BoardSet", "n_folds"]

MAX_ROWS = 4_000
Role = Literal["development", "final"]

HYPOTHYROID = (
    "age sex on_thyroxine query_on_thyroxine on_antithyroid_medication thyroid_surgery "
    "query_hypothyroid query_hyperthyroid pregnant sick tumor lithium goitre TSH_measured TSH "
    "T3_measured T3 TT4_measured TT4 T4U_measured T4U FTI_measured FTI TBG_measured TBG"
)
HEPATITIS = (
    "age sex steroid antivirals fatigue malaise anorexia liver_big liver_firm spleen_palpable "
    "spiders ascites varices bilirubin alk_phosphate sgot albumin protime histology"
)


@dataclass(frozen=True)
class BoardSet:
    """A data set of the board.

    Parameters
    ----------
    name : str
        Name, unique on the board.
    load : callable
        Function that returns all rows: a DataFrame, and 1 for the rare class or 0 for each row. It
        raises ``FileNotFoundError`` where the data are not on this machine.
    role : {"development", "final"}
        Whether choices may be made on it, or it is only for the table at the end.
    family : str
        Name that data sets from the same source share. They are not independent of each other.
    """

    name: str
    load: Callable[[], Table]
    role: Role
    family: str

    def table(self, max_rows: int = MAX_ROWS, seed: int = 0) -> Table:
        """Return at most ``max_rows`` rows, chosen at random with the class frequencies unchanged.

        Parameters
        ----------
        max_rows : int, default=4000
            Most rows to keep.
        seed : int, default=0
            Seed of the random choice.

        Returns
        -------
        X : DataFrame of float64 and category
            Gaps are NaN; the index counts the rows.
        y : ndarray of int64
            1 for the rare class.
        """
        X, y = thinned(self.load(), None, seed, max_rows)
        X = X.reset_index(drop=True)
        for name in X.select_dtypes("category"):
            X[name] = X[name].cat.remove_unused_categories()
        return X, y


def n_folds(y: NDArray[np.int64], most: int = 5) -> int:
    """Return the number of stratified folds that leaves at least two positives for each test fold.

    Parameters
    ----------
    y : ndarray of int64
        1 for the rare class.
    most : int, default=5
        Number of folds where there are positives enough.

    Raises
    ------
    ValueError
        If there are fewer than four positives, which cannot be in two folds.
    """
    positives = int(np.sum(y == 1))
    if positives < 4:
        raise ValueError(f"Two folds need at least 4 rows of the rare class, got {positives}.")
    return min(most, positives // 2)


def _keel(name: str, file: str | None = None) -> Table:
    path = data_of_package() / name / (file or f"{name}.dat")
    return keel_table(path.read_text(encoding="latin-1"))


def _satimage() -> Table:
    folder = data_of_package() / "satimage"
    rows = np.vstack([np.loadtxt(folder / f"sat.{part}.txt") for part in ("trn", "tst")])
    return numbers_table(rows[:, :-1], rows[:, -1] == 4)  # damp grey soil


def _spect_f() -> Table:
    folder = data_of_package() / "spect_f"
    files = [folder / f"SPECTF.{part}.txt" for part in ("train", "test")]
    rows = np.vstack([np.loadtxt(file, delimiter=",") for file in files])
    return numbers_table(rows[:, 1:], rows[:, 0])


def _challenge(name: str) -> Table:
    """Load the labelled rows of a data set of the challenge "agnostic learning"."""
    folder = data_of_package() / name
    values, label = (np.loadtxt(folder / f"{name}_train.{kind}") for kind in ("data", "labels"))
    return numbers_table(values, label)


def _hypothyroid() -> Table:
    path = data_of_package() / "hypothyroid" / "hypothyroid.data.txt"
    return words_table(path, HYPOTHYROID.split(), ("age", "TSH", "T3", "TT4", "T4U", "FTI", "TBG"))


def _hepatitis() -> Table:
    path = data_of_package() / "hepatitis" / "hepatitis.data.txt"
    numbers = ("age", "bilirubin", "alk_phosphate", "sgot", "albumin", "protime")
    return words_table(path, HEPATITIS.split(), numbers)


def _study(source: str, ratio: float | None) -> Table:
    X, y = SOURCES[source].load()
    return numbers_table(*thinned((X, y), ratio, 0, max_rows=len(y)))  # bounded later, by table()


def _development() -> dict[str, tuple[Callable[[], Table], str]]:
    """Return a loader and the family of each development set."""
    software = {"kc1": "kc1.arff.txt", "pc1": "pc1.arff", "cm1": "cm1.arff.txt"}
    keel = {
        "page-blocks0": "page-blocks",
        "page-blocks-1-3_vs_4": "page-blocks",
        **{f"vehicle{i}": "vehicle" for i in range(4)},
        "car-good": "car",
        "car-vgood": "car",
        "wisconsin": "wisconsin",
        "led7digit-0-2-4-5-6-7-8-9_vs_1": "led7digit",
        "cleveland-0_vs_4": "cleveland",
        "dermatology-6": "dermatology",
        "lymphography-normal-fibrosis": "lymphography",
    }
    several = {"digits", "MNIST"}  # sources of more than two classes
    return {
        "satimage": (_satimage, "satimage"),
        "spect_f": (_spect_f, "spect_f"),
        "hypothyroid": (_hypothyroid, "hypothyroid"),
        "hepatitis": (_hepatitis, "hepatitis"),
        "caravan": (caravan_table, "caravan"),
        **{name: (partial(_challenge, name), name) for name in ("ada", "sylva", "hiva")},
        **{name: (partial(_keel, name, file), "software") for name, file in software.items()},
        **{name: (partial(_keel, name), family) for name, family in keel.items()},
        **{
            source if ratio is None else f"{source} 1:{ratio}": (
                partial(_study, source, ratio),
                source,
            )
            for source, about in SOURCES.items()
            if source not in several
            for ratio in about.ratios
        },
    }


FINAL = {
    "yeast": (
        "yeast-0-2-5-6_vs_3-7-8-9 yeast-0-2-5-7-9_vs_3-6-8 yeast-0-3-5-9_vs_7-8 "
        "yeast-0-5-6-7-9_vs_4 yeast-1-2-8-9_vs_7 yeast-1-4-5-8_vs_7 yeast-1_vs_7 yeast-2_vs_4 "
        "yeast-2_vs_8 yeast1 yeast3 yeast4 yeast5 yeast6"
    ),
    "kr-vs-k": (
        "kr-vs-k-one_vs_fifteen kr-vs-k-three_vs_eleven kr-vs-k-zero-one_vs_draw "
        "kr-vs-k-zero_vs_eight kr-vs-k-zero_vs_fifteen"
    ),
    "shuttle": "shuttle-2_vs_5 shuttle-6_vs_2-3 shuttle-c0-vs-c4 shuttle-c2-vs-c4",
    "vowel": "vowel0",
    "segment": "segment0",
    "poker": "poker-8-9_vs_5 poker-8-9_vs_6 poker-8_vs_6 poker-9_vs_7",
    "kddcup": (
        "kddcup-buffer_overflow_vs_back kddcup-guess_passwd_vs_satan kddcup-land_vs_portsweep "
        "kddcup-land_vs_satan kddcup-rootkit-imap_vs_back"
    ),
    "flare": "flare-F",
    "zoo": "zoo-3",
}

BOARD_SETS: dict[str, BoardSet] = {
    **{
        name: BoardSet(name, load, "development", family)
        for name, (load, family) in _development().items()
    },
    **{
        name: BoardSet(name, partial(_keel, name), "final", family)
        for family, names in FINAL.items()
        for name in names.split()
    },
}
