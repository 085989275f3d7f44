"""Numbers that are written as text: gaps in words, thousands, decimal commas, units."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product

__all__ = [
    "MISSING_WORDS",
    "Numbers",
    "are_codes",
    "is_digits",
    "is_gap",
    "looks_like_a_number",
    "numbers_among",
    "read_numbers",
]

_MISSING = """
? - -- . * na n/a n.a. nan null none nil missing unknown #n/a #na <na> (null)
#value! #div/0! #ref! #num! -nan 1.#qnan -1.#ind
"""  # in lower case; what spreadsheets and databases write, too
MISSING_WORDS = frozenset(_MISSING.split())
_CURRENCIES = "$€£¥"
_SPACES = " \u00a0\u202f\u2009"  # between groups of digits, in several languages
_CODE = re.compile(r"0\d+")
_ZEROS = re.compile(r"^([-+]?)0+(?=\d)")
_EXPONENT = r"(?:[eE][-+]?\d+)?"
_MOSTLY = 0.9  # share of cells that are numbers, from which other words need a decision


@dataclass(frozen=True)
class Numbers:
    """How the words of a column are read as numbers.

    Parameters
    ----------
    values : dict of str to float
        The number of each word; NaN for words that stand for a gap.
    gaps : list of str
        Words that stand for a gap.
    decimal, thousands, unit : str
        Decimal mark, separator of thousands and unit; empty without one.
    others : list of str
        Words that are no numbers.
    is_ambiguous : bool
        Whether another reading gives other numbers.
    """

    values: dict[str, float]
    gaps: list[str] = field(default_factory=list)
    decimal: str = "."
    thousands: str = ""
    unit: str = ""
    others: list[str] = field(default_factory=list)
    is_ambiguous: bool = False

    @property
    def format(self) -> str:
        """Describe marks and units in words, if they are not the usual ones."""
        said = []
        if self.decimal != ".":
            said.append("a decimal comma")
        if self.thousands:
            mark = "a blank" if self.thousands in _SPACES else repr(self.thousands)
            said.append(f"thousands separated by {mark}")
        if self.unit:
            said.append("percent as shares" if self.unit == "%" else f"the unit {self.unit}")
        return " and ".join(said)


def looks_like_a_number(word: str) -> bool:
    """Return whether a cell holds a number in any of the usual notations."""
    body, _ = _without_unit(word)
    return any(_pattern(*marks).fullmatch(body) is not None for marks in _notations(None, None))


def is_gap(word: str, missing: Sequence[str] = ()) -> bool:
    """Return whether a word in a column of numbers stands for a missing one."""
    plain = word.strip()
    return not plain or plain.lower() in MISSING_WORDS or plain in missing


def numbers_among(words: Iterable[str]) -> list[float]:
    """Return the numbers that some of these words say."""
    found = []
    for word in words:
        try:
            found.append(float(word))
        except ValueError:
            continue
    return found


def are_codes(words: Iterable[str]) -> bool:
    """Return whether all words are digits and some of them begin with 0, as postal codes do."""
    cells = [word for word in words if word]
    return is_digits(cells) and any(map(_CODE.fullmatch, cells))


def is_digits(words: Iterable[str]) -> bool:
    """Return whether all words are digits only."""
    return all(map(str.isdigit, words))


def read_numbers(
    counts: dict[str, int],
    missing: Sequence[str] = (),
    decimal: str | None = None,
    thousands: str | None = None,
    *,
    may_begin_with_0: bool = False,
) -> Numbers | None:
    """Read the words of a column as numbers.

    Parameters
    ----------
    counts : dict of str to int
        How often each word occurs.
    missing : sequence of str
        Further words that stand for a gap.
    decimal, thousands : str or None
        Marks that the user states; None finds them.
    may_begin_with_0 : bool, default=False
        Whether digits that begin with 0 are numbers, not codes.

    Returns
    -------
    Numbers or None
        None if the column does not hold numbers. If nearly all of its cells do, ``others`` has
        the words that do not.
    """
    gaps = [word for word in counts if is_gap(word, missing)]
    words = [w for w in counts if w not in set(gaps)]
    if not words:
        return None
    bodies = {word: _without_unit(word) for word in words}
    if may_begin_with_0:
        bodies = {w: (_ZEROS.sub(r"\1", body), unit) for w, (body, unit) in bodies.items()}
    readings = [
        (marks, {w: body for w, (body, _) in bodies.items() if _pattern(*marks).fullmatch(body)})
        for marks in _notations(decimal, thousands)
    ]
    most = max(sum(counts[w] for w in found) for _, found in readings)
    if most < _MOSTLY * sum(counts[w] for w in words) or not most:
        return None
    best = [(m, found) for m, found in readings if sum(counts[w] for w in found) == most]
    marks, found = best[0]
    values = _values(found, *marks)
    usual = marks == (".", "")  # as pandas reads it, too
    ambiguous = not usual and any(_values(other, *given) != values for given, other in best[1:])
    others = [word for word in words if word not in found]
    units: Counter[str] = Counter()
    for word in found:
        units[bodies[word][1]] += counts[word] * (values[word] != 0)  # 0 needs no unit
    unit = units.most_common(1)[0][0]
    others = [w for w in found if bodies[w][1] != unit and values[w] != 0] + others
    # a gap may be written as a number with other marks, such as -999,0 for -999
    numbers = set(numbers_among(missing))
    gaps += [word for word, value in values.items() if value in numbers]
    if unit == "%":
        values = {word: value / 100 for word, value in values.items()}
    values.update(dict.fromkeys(gaps, float("nan")))
    return Numbers(values, gaps, marks[0], marks[1], unit, others, ambiguous)


def _notations(decimal: str | None, thousands: str | None) -> list[tuple[str, str]]:
    """List decimal marks with separators of thousands, the usual notation first."""
    marks = [decimal] if decimal else [".", ","]
    groups = [thousands] if thousands else ["", ",", ".", *_SPACES, "'"]
    found = [(mark, group) for mark, group in product(marks, groups) if mark != group]
    plain = [(mark, "") for mark in marks if mark != thousands]  # where no number is so large
    return found if thousands is None else [*found, *plain]


def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    mark = re.escape(decimal)
    whole = r"(?:0|[1-9]\d*)"
    if thousands:
        group = re.escape(thousands)
        grouped = rf"[1-9]\d{{0,2}}(?:{group}\d{{3}})+"
        in_india = rf"[1-9]\d?(?:{group}\d{{2}})+{group}\d{{3}}"
        whole = rf"(?:0|{grouped}|{in_india}|[1-9]\d{{0,2}})"
    return re.compile(rf"[-+]?(?:{whole}(?:{mark}\d*)?|{mark}\d+){_EXPONENT}")


def _without_unit(word: str) -> tuple[str, str]:
    """Split a word into a number with its sign, and a percent sign or a currency."""
    body = word.strip().replace("\u2212", "-")
    if body.endswith("%"):
        return body[:-1].rstrip(), "%"
    sign = body[:1] if body[:1] in ("-", "+") else ""
    rest = body[len(sign) :]
    if rest[:1] and rest[0] in _CURRENCIES:
        return sign + rest[1:].lstrip(), rest[0]
    if rest[-1:] and rest[-1] in _CURRENCIES:
        return sign + rest[:-1].rstrip(), rest[-1]
    return body, ""


def _values(found: dict[str, str], decimal: str, thousands: str) -> dict[str, float]:
    if thousands:
        found = {word: body.replace(thousands, "") for word, body in found.items()}
    return {word: float(body.replace(decimal, ".")) for word, body in found.items()}
