"""Messages about names that are not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown_name(kind: str, name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Say which names there are, the nearest first, and what else may be given.

    >>> unknown_name("loss", "focl", ["bce", "focal"], "give a module")
    "Unknown loss 'focl'. Did you mean 'focal'? Known are 'bce', 'focal'; or give a module."
    """
    names = list(known)
    near = get_close_matches(name.lower().replace(" ", "_"), names, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(repr, names)) + (f"; or {otherwise}" if otherwise else "")
    return f"Unknown {kind} {name!r}.{guess} Known are {listed}."
