"""Tables and conclusions of the comparison, as text."""

from __future__ import annotations

import csv
import textwrap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# measure, title of its column, whether greater (+1) or smaller (-1) is better
COLUMNS = (
    ("roc_auc", "AUC\nROC", 1),
    ("average_precision", "average\nprecision", 1),
    ("balanced_accuracy", "balanced\naccuracy", 1),
    ("brier", "Brier\nscore", -1),
    ("brier_as_trained", "Brier,\nas trained", -1),
    ("seconds", "seconds\nto fit", -1),
)
NOTES = """\
Mean ± standard deviation over the folds; * marks the best mean of a column.
Balanced accuracy is that of the predictions as trained (target_prior=None). The other measures
use target_prior="train", which restates the probabilities for the class frequencies of the data
without refitting; "Brier, as trained" is without that. A net behind SMOTE in a Pipeline never sees
those frequencies, so its probabilities are as trained in both columns.
Seconds to fit are those of one thread, the search for gamma included."""

Row = dict[str, NDArray[np.float64]]  # measure -> one value per fold
Table = dict[str, Row]  # strategy -> row


def format_table(table: Table) -> str:
    """Align strategies and measures, and mark the best of each column.

    Parameters
    ----------
    table : dict of dict of ndarray, shape (n_folds,)
        Strategy -> measure -> values.
    """
    width = max(map(len, table))
    titles = zip(*(title.split("\n") for _, title, _ in COLUMNS), strict=True)
    lines = [" " * width + "".join(f"{word:>12} " for word in words) for words in titles]
    best = {key: max(sign * _shown(row, key) for row in table.values()) for key, _, sign in COLUMNS}
    for strategy, row in table.items():
        cells = [f"{strategy:<{width}}"]
        for key, _, sign in COLUMNS:
            mark = "*" if sign * _shown(row, key) == best[key] else " "
            deviation = f"±{row[key].std():.3f}".replace("±0.", "±.")
            cells.append(f"{row[key].mean():.3f} {deviation}".rjust(12) + mark)
        lines.append("".join(cells).rstrip())
    return "\n".join(lines)


def _shown(row: Row, key: str) -> float:
    return round(float(row[key].mean()), 3)  # what looks equal is equally good


def write_csv(tables: dict[str, Table], path: Path) -> None:
    """Write one line per data set, strategy and fold."""
    keys = [key for key, _, _ in COLUMNS]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["data", "strategy", "fold", *keys])
        for data, table in tables.items():
            for strategy, row in table.items():
                folds = zip(*(row[key] for key in keys), strict=True)
                for fold, values in enumerate(folds):
                    writer.writerow([data, strategy, fold, *(f"{value:.6g}" for value in values)])


def reading_guide(tables: dict[str, Table], baseline: str) -> str:
    """Say what the numbers show: ranking, decisions, probabilities.

    Parameters
    ----------
    tables : dict of dict
        Data set -> table.
    baseline : str
        The strategy that the others are compared with.
    """
    sentences = [_ranking(tables), _decisions(tables, baseline), _probabilities(tables)]
    return "\n".join(textwrap.fill(text, 100, subsequent_indent="  ") for text in sentences)


def _ranking(tables: dict[str, Table]) -> str:
    key, winners, between, within = "average_precision", [], [], []
    for data, table in tables.items():
        means = {strategy: _shown(row, key) for strategy, row in table.items()}
        best = max(means.values())
        names = [strategy for strategy, mean in means.items() if mean == best]
        winners.append(f"{data}: {' and '.join(names)} ({best:.3f})")
        between.append(best - min(means.values()))
        within.append(np.mean([row[key].std() for row in table.values()]))
    return (
        f"Ranking: best average precision on {'; '.join(winners)}. Between the best and the worst "
        f"strategy lie {np.median(between):.3f}, the folds vary by ±{np.median(within):.3f} "
        "(medians over the data)."
    )


def _decisions(tables: dict[str, Table], baseline: str) -> str:
    gains: dict[str, list[float]] = {}
    for table in tables.values():
        reference = table[baseline]["balanced_accuracy"].mean()
        for strategy, row in table.items():
            if strategy != baseline:
                gain = row["balanced_accuracy"].mean() - reference
                gains.setdefault(strategy, []).append(float(gain))
    ranked = sorted(gains.items(), key=lambda item: -float(np.mean(item[1])))
    words = [
        f"{strategy} {np.mean(gain):+.3f} (better on {sum(g > 0 for g in gain)} of {len(gain)})"
        for strategy, gain in ranked
    ]
    return f"Decisions: balanced accuracy against plain {baseline}: {', '.join(words)}."


def _probabilities(tables: dict[str, Table]) -> str:
    cases = [
        (row["brier_as_trained"].mean() / row["brier"].mean(), strategy, data)
        for data, table in tables.items()
        for strategy, row in table.items()
        if not np.allclose(row["brier_as_trained"], row["brier"])
    ]
    if not cases:
        return 'Probabilities: target_prior="train" changes no Brier score.'
    ratio, strategy, data = max(cases)
    lower = sum(ratio > 1 for ratio, _, _ in cases)
    return (
        f'Probabilities: target_prior="train" lowers the Brier score in {lower} of the {len(cases)} '
        f"cases that it changes, most on {data} with {strategy}: to 1/{ratio:.1f}."
    )
