"""Prose is plain English, and numbers in it have one form: 0.509, 4,000, 3%.

Pages, docstrings and comments are read; code, formulas, links and results of doctests are not.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GENERATED = {"_build", "api", "auto_examples"}
PAGES = sorted(ROOT.glob("*.md")) + [
    path for path in (ROOT / "docs").rglob("*.md") if not GENERATED.intersection(path.parts)
]
SOURCES = [
    path
    for folder in ("imbtorch", "examples", "docs", "benchmarks", "release")
    for path in (ROOT / folder).rglob("*.py")
    if not GENERATED.intersection(path.parts)
]
PHRASES = {  # what is hard to understand, and what to write instead
    r"dear(er|est)? (houses?|than)|the dear(er|est)\b": "expensive",
    r"belong(s|ed|ing)? into": "belong to, belong in",
    r"(leav(e|es|ing)|left) (\w+ ){0,3}\w+ away": "leave out",
    r"\bbooks of\b|\b(in|keeps?|outside|same|the) (the )?books\b": "what is tracked",
    r"tour of (ten|\d+) minutes": "ten-minute tour",
    r"\bas (they|it) (came|comes?)(?! (out|from|up|to))\b": "raw, unchanged, as given",
    r"\blabels? an? row\b": "labels per row",
    r"(?<!which\s)(?<!whatever\s)\brows an? (batch|step)\b": "rows per batch",
    r"\bstrangers?\b": "from unknown sources",
    r"\b(measured|found|treated|weighted|written|ranked) alike\b": "in the same way, equally well",
}
PHRASES = {form.replace(" ", r"[\s#]+"): better for form, better in PHRASES.items()}  # over lines
COUNTED = "rows|columns|cells|runs|steps|epochs|batches|classes|labels|nets|trees|images|files"
NUMBERS = {
    r"(?<![\w.)\]/\\])\.\d": "a zero in front of the point: 0.5",
    r"\d[ \u00a0\u202f]%(?! ?\d)": "no blank in front of the percent sign: 3%",
    r"(?<![\w.,])\d{1,3}([ \u00a0\u202f]\d{3})+(?![\w.,]?\d|\w)": "a comma for thousands: 4,000",
    r"(?<![\w.,/:#=^*$(-])(?!(19|20)\d\d\b)[1-9]\d{3,6}(?![\w/:=^)-]|[.,]\d| \*)": "a comma: 4,000",
    # counts that look like years
    r"(?<![\w.,/:#=^*$(-])(19|20)00(?=[\s#]+[a-z])": "a comma: 2,000 runs",
    rf"(?<![\w.,/:#=^*$(-])(19|20)\d\d(?=[\s#]+({COUNTED})\b)": "a comma: 1,950 rows",
}
NO_PROSE = re.compile(  # fenced code, code and formulas in a line, links, tags, roles
    r"^[ \t]*(?P<fence>```+)[^\n]*\n.*?^[ \t]*(?P=fence)[ \t]*$"
    r"|(?P<ticks>`+)(?!`)(?:(?!\n\s*\n).)+?(?<!`)(?P=ticks)(?!`)"
    r"|\]\([^)\s]*\)|https?://[^\s)>\]]+|<[a-zA-Z/!][^>]*>",
    re.DOTALL | re.MULTILINE,
)


def prose(text):
    """Blank out what is not prose, so that the lines keep their numbers."""
    return NO_PROSE.sub(lambda found: "\n" * found[0].count("\n") + "`", text)


def docstring_prose(text):
    """Blank out the doctests and the literal blocks of a docstring, too."""
    kept, in_doctest, literal = [], False, None
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if literal is not None and line.strip() and indent <= literal:
            literal = None
        in_doctest = bool(line.strip()) and (in_doctest or line.lstrip().startswith(">>>"))
        kept.append("" if in_doctest or literal is not None else line)
        if literal is None and line.rstrip().endswith("::"):
            literal = indent
    return prose("\n".join(kept))


def texts(source):
    """Return ``(first line, text)`` of the docstrings and of runs of comments in Python code."""
    found, before = [], tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            text = prose(token.string.lstrip("# "))
            found.append((line, "" if text.startswith(("type:", "fmt:", "noqa")) else text))
        elif token.type == tokenize.STRING and before in {tokenize.NEWLINE, tokenize.INDENT}:
            found.append((line, docstring_prose(token.string)))
        if token.type not in {tokenize.NL, tokenize.COMMENT, tokenize.DEDENT}:
            before = token.type
    return found


def wrong(texts, forms):
    """Return ``line: what is there -> what to write`` for each form that is found."""
    return [
        f"{line + text.count(chr(10), 0, found.start())}: {found[0]!r} -> {better}"
        for line, text in texts
        for form, better in forms.items()
        for found in re.finditer(form, text, re.IGNORECASE)
    ]


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_pages_are_plain(path):
    text = path.read_text("utf-8")
    assert wrong([(1, text)], PHRASES) == []
    assert wrong([(1, prose(text))], NUMBERS) == []


def test_all_pages_and_sources_are_read():
    names = {name(path) for path in PAGES + SOURCES}
    assert names >= {
        "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "RELEASING.md",
        "CODE_OF_CONDUCT.md", "docs/index.md", "docs/coming_from/skorch.md", "release/address.py",
        "release/check.py", "release/pages.py", "imbtorch/classifier.py", "docs/conf.py",
        "benchmarks/common.py", "examples/gallery.py",
    }  # fmt: skip
    folder = [path for path in ROOT.iterdir() if path.suffix == ".md"]
    assert set(folder) <= set(PAGES)


def test_sources_are_plain():
    found = {}
    for path in SOURCES:
        source = path.read_text("utf-8")
        lines = wrong([(1, source)], PHRASES) + wrong(texts(source), NUMBERS)
        found |= {name(path): lines} if lines else {}
    assert found == {}


@pytest.mark.parametrize(
    "text",
    ["files of strangers", "It belongs into a file.", "the data as they came", "labels a row",
     "leave the weights away", "in the books of the priors", "a tour of ten minutes",
     "128 rows a batch", "measured\n# alike", "dear houses"],
)  # fmt: skip
def test_phrases_are_found(text):
    assert wrong([(1, text)], PHRASES)


@pytest.mark.parametrize(
    "text",
    [
        "it is .509",
        "| -.02 |",
        "±.1",
        "**.878**",
        "4 000 rows",
        "3 %",
        "8000 rows",
        "| 1024 |",
        "with 2000 good steps",
        "2000\n# runs",
        "1950 rows",
    ],
)
def test_numbers_are_found(text):
    assert wrong([(1, prose(text))], NUMBERS)


@pytest.mark.parametrize(
    "text",
    ["0.509, 4,000 and 3%", "`lr=.1` of `n = 4000`", "in 2024", "version 1.8.0", "[x](a.1234)",
     "Since 1970 nobody asked.", "the 2026 release",
     "$`x = .5`$", "```python\nn = 4000  # 3 %\n```", "shape (4000, 2)"],
)  # fmt: skip
def test_code_and_right_numbers_are_left_alone(text):
    assert wrong([(1, prose(text))], NUMBERS) == []


def test_doctests_are_no_prose():
    source = '"""One.\n\n>>> 4000\n4000\n\nAnd 5000.\n"""\nx = 6000  # 7000 rows\n'
    assert wrong(texts(source), NUMBERS) == [
        "6: '5000' -> a comma: 4,000",
        "8: '7000' -> a comma: 4,000",
    ]
