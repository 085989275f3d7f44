"""What a portfolio knows of its recipes and of the shares of its members, in a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from imbtorch._publish.model_file.state import has
from imbtorch._publish.model_file.values import Reader, Writer
from imbtorch.exceptions import FileFormatError

__all__ = ["describe_blend", "restore_blend"]

Document = dict[str, Any]
_PARTS = {
    "member_shares_": dict,
    "nets_per_recipe_": int,
    "best_recipe_": str,
    "best_params_": dict,
    "leaderboard_": dict,
}
_KINDS = ("loss", "regression_loss", "torch_loss", "module", "sampler", "features")
_COLUMNS = ("recipe", "score", "share", "epochs", "seconds", "status")
_ROUNDING = 1e-9


def describe_blend(model: Any, writer: Writer) -> Document:
    """Describe the blend of a portfolio; an empty dict for other ensembles.

    Parameters
    ----------
    model : NetEnsembleClassifier, NetPortfolioClassifier or the regressor of one of them
        Fitted ensemble.
    writer : Writer
        Encoder of values.

    Returns
    -------
    dict
        Encoded attributes by name.
    """
    if "member_shares_" not in vars(model):
        return {}
    advice = "Use recipes of numbers, text and imbtorch's own losses and modules; or use pickle."
    return {name: writer.encode(vars(model)[name], name, advice) for name in _PARTS}


def restore_blend(document: Document, n_members: int, reader: Reader) -> dict[str, Any]:
    """Decode what :func:`describe_blend` has made, and check it.

    Parameters
    ----------
    document : dict
        Encoded attributes by name.
    n_members : int
        Number of members.
    reader : Reader
        Decoder of values.

    Returns
    -------
    dict of str to object
        Attributes of the portfolio.

    Raises
    ------
    FileFormatError
        If an attribute is missing or unknown, or has an invalid value.
    """
    has(document, _PARTS)
    shares = reader.decode(document["member_shares_"])
    known = isinstance(shares, np.ndarray) and shares.dtype == np.float64
    _require(known and shares.shape == (n_members,), "member_shares_")
    _require((shares > 0).all() and abs(shares.sum() - 1) < _ROUNDING, "member_shares_")
    n_nets = document["nets_per_recipe_"]
    _require(n_nets > 0 and n_members % n_nets == 0, "nets_per_recipe_")
    params = reader.decode(document["best_params_"], _KINDS)
    _require(isinstance(params, dict) and all(type(name) is str for name in params), "best_params_")
    table = reader.decode(document["leaderboard_"])
    _require(isinstance(table, dict) and tuple(table) == _COLUMNS, "leaderboard_")
    columns = list(table.values())
    _require(all(isinstance(column, list) for column in columns), "leaderboard_")
    _require(len({len(column) for column in columns}) == 1, "leaderboard_")
    numbers = [value for name in _COLUMNS[1:5] for value in table[name]]
    words = [value for name in ("recipe", "status") for value in table[name]]
    _require(all(type(value) is float for value in numbers), "leaderboard_")
    _require(all(type(value) is str for value in words), "leaderboard_")
    return {
        "member_shares_": shares,
        "nets_per_recipe_": n_nets,
        "best_recipe_": document["best_recipe_"],
        "best_params_": params,
        "leaderboard_": table,
    }


def _require(condition: Any, name: str) -> None:
    """Raise FileFormatError if a condition on an attribute does not hold."""
    if not condition:
        raise FileFormatError(f"{name} of the portfolio is not valid.")
