"""Tables and conclusions of the comparison, as text."""

from __future__ import annotations

import csv
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# measure, title of its column, whether greater (+1) or smaller (-1) is better, decimals
COLUMNS = (
    ("roc_auc", "AUC\nROC", 1, 3),
    ("average_precision", "average\nprecision", 1, 3),
    ("balanced_accuracy", "balanced\naccuracy", 1, 3),
    ("brier", "Brier\nscore", -1, 4),
    ("brier_as_trained", "Brier,\nas trained", -1, 4),
    ("seconds", "seconds\nto fit", -1, 2),
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
    titles = zip(*(title.split("\n") for _, title, *_ in COLUMNS), strict=True)
    lines = [" " * width + "".join(f"{word:>13} " for word in words) for words in titles]
    lines += [f"{strategy:<{width}}" for strategy in table]
    for key, _, sign, decimals in COLUMNS:
        means = {
            name: round(sign * float(row[key].mean()), decimals) for name, row in table.items()
        }
        best = max(means.values())  # what looks equal is equally good
        for line, (name, row) in enumerate(table.items(), start=2):
            mean, deviation = (_number(f(row[key]), decimals) for f in (np.mean, np.std))
            mark = "*" if means[name] == best else " "
            lines[line] += f"{mean} ±{deviation}".rjust(13) + mark
    return "\n".join(line.rstrip() for line in lines)


def _number(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text[1:] if text.startswith("0.") else text


def write_csv(tables: dict[str, Table], path: Path) -> None:
    """Write one line per data set, strategy and fold."""
    keys = [key for key, *_ in COLUMNS]
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
    key = "average_precision"
    wins: Counter[str] = Counter()
    between, within = [], []
    for table in tables.values():
        means = {strategy: round(float(row[key].mean()), 3) for strategy, row in table.items()}
        best = max(means.values())
        wins.update(strategy for strategy, mean in means.items() if mean == best)
        between.append(best - min(means.values()))
        within.append(np.mean([row[key].std() for row in table.values()]))
    words = [f"{strategy} {count}" for strategy, count in wins.most_common()]
    return (
        f"Ranking: times best in average precision, of {len(tables)}, ties included: "
        f"{', '.join(words)}. Best and worst differ by {np.median(between):.3f}, folds vary by "
        f"±{np.median(within):.3f} (medians)."
    )


def _decisions(tables: dict[str, Table], baseline: str) -> str:
    gains = {
        strategy: np.mean(
            [
                table[strategy]["balanced_accuracy"] - table[baseline]["balanced_accuracy"]
                for table in map(_means, tables.values())
            ]
        )
        for strategy in next(iter(tables.values()))
        if strategy != baseline
    }
    ranked = sorted(gains.items(), key=lambda item: -item[1])
    words = [f"{strategy} {gain:+.3f}" for strategy, gain in ranked]
    return f"Decisions: mean balanced accuracy, against {baseline}: {', '.join(words)}."


def _means(table: Table) -> dict[str, dict[str, float]]:
    return {
        strategy: {key: float(values.mean()) for key, values in row.items()}
        for strategy, row in table.items()
    }


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
        f'Probabilities: target_prior="train" lowers the Brier score in {lower} of {len(cases)} '
        f"cases that it changes, most on {data} with {strategy}: to 1/{ratio:.1f}."
    )
