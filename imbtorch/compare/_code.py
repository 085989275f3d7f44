"""Python code that fits a strategy to the whole table and predicts with it."""

from __future__ import annotations

from imbtorch.compare._alarms import rounded_down
from imbtorch.compare._metrics import ALARMS_RECALL
from imbtorch.compare._run import ComparisonRun
from imbtorch.compare._written import Written, call, comments

__all__ = ["code"]


def code(run: ComparisonRun, name: str, threshold: float | None) -> str:
    """Return a program that reads the table, fits a strategy, and finds alarms among new rows.

    Parameters
    ----------
    run : ComparisonRun
        How the comparison was run.
    name : str
        Name of the strategy.
    threshold : float or None
        Threshold of the alarms; None if it is not known.
    """
    own = run.own.get(name)
    supplied = dict(run.supplied if own is None else own.supplied)
    if not run.is_default and own is None:
        supplied["strategies"] = "the mapping of names to classifiers that was compared"
    steps = [
        _imports(run, own),
        *(["\n".join(comments(supplied))] if supplied else []),
        *_reading(run),
        _fitting(run, name, own),
        _predicting(run, threshold),
    ]
    return "\n\n".join(step for step in steps if step) + "\n"


def _imports(run: ComparisonRun, own: Written | None) -> str:
    lines = [*run.imports, *(own.imports if own is not None else ())]
    if not run.is_default and own is None:
        lines.append("from sklearn.base import clone")
    if run.is_default:
        lines.append("from imbtorch.compare import default_strategies")
    if run.reading:
        lines.append("from imbtorch.tables import read_table")
    whole = [line for line in lines if line.startswith("import ")]
    parts = [line for line in lines if not line.startswith("import ")]
    return "\n".join([*dict.fromkeys(sorted(whole)), *dict.fromkeys(sorted(parts))])


def _reading(run: ComparisonRun) -> list[str]:
    if run.reading:
        title = "# The table, read as it was for the report"
        return [f"{title}\n{run.reading}\nX, y = table.X, table.y"]
    title = "# X and y are the table and the labels that were compared, as they were given"
    table, labels = _names(run)
    lines = [title]
    if run.weights:
        lines.append("# sample_weight holds the weights of the rows.")
    if run.preparing:
        lines.append(f"{table} = prepare(X)")
    if run.labels != "y":
        lines.append(f"{labels} = {run.labels}")
    function = [f"\n{run.preparing}\n"] if run.preparing else []
    return [*function, "\n".join(lines)]


def _names(run: ComparisonRun) -> tuple[str, str]:
    """Return how the code calls features and labels that are ready for the model."""
    # X and y themselves stay as they are, so that the code can be run again
    return "table" if run.preparing else "X", "y" if run.labels == "y" else "labels"


def _fitting(run: ComparisonRun, name: str, own: Written | None) -> str:
    table, labels = _names(run)
    lines = ["# The strategy with the best mean, fitted to all rows"]
    weights = {run.weight_names[name]: run.weights} if run.weights else {}
    fit = call("model.fit", weights, f"{table}, {labels}")
    if own is not None:
        return "\n".join([*lines, f"model = {own.text}", fit])
    if not run.is_default:
        return "\n".join([*lines, f"model = clone(strategies[{name!r}])", fit])
    lines[0] += "; list(strategies) shows the names of the others"
    made = call("default_strategies", run.arguments, f"{labels}, X={table}")
    return "\n".join([*lines, f"strategies = {made}", f"model = strategies[{name!r}]", fit])


def _predicting(run: ComparisonRun, threshold: float | None) -> str:
    rows = "X.iloc[:5]" if run.is_frame else "X[:5]"
    lines = [
        "# New rows have the columns of X; here the first rows of the table stand for them",
        f"new = {f'prepare({rows})' if run.preparing else rows}",
        f"place = list(model.classes_).index({run.rare!r})",
        "probability = model.predict_proba(new)[:, place]",
        "print(probability)",
    ]
    if threshold is not None:
        lines += [
            f"# This threshold caught {ALARMS_RECALL:.0%} of class {run.rare!r} among rows that a "
            "model was not trained on",
            f"print(probability >= {rounded_down(threshold)!r})",
        ]
    return "\n".join(lines)
