"""Write docs/losses.md, and the pictures on it, from the losses that are registered.

Text, tables and formulas come from the classes and their docstrings::

    python docs/make_losses_page.py
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from urllib.parse import quote

import torch

from imbtorch.losses import BaseLoss, all_losses
from imbtorch.losses._one_vs_rest import OneVsRestMixin

PAGE = Path(__file__).resolve().with_name("losses.md")
PICTURES = PAGE.parent / "images" / "losses"

INTRO = r"""
<!-- Written by `make losses-page` from the docstrings: edit those, not this page. -->

# Losses

**Which one?** Start with {logit_adjusted}, the default of the classifier: it favours no class,
needs no search, and gives calibrated probabilities back. Compare it with {cross_entropy}, the
baseline, which often has the best average precision. Then

* tune {focal} or {poly1}, one number each, beside `class_weight`;
* with long tails, many classes of which most are rare, try margins and re-weighted rivals:
  {ldam}, {seesaw}, {vs};
* with noisy labels, {generalized_cross_entropy} or {symmetric_cross_entropy}, with class weights;
* with several labels per row, {bce}, {asymmetric} or {distribution_balanced};
* with ordered classes, {ordinal_cdw};
* where the measure is one of a whole batch (F-measure, AUC, average precision, recall at the top),
  train for it: {soft_fbeta}, {auc_margin}, {smooth_ap}, {recall_at_top}. They want batches that
  hold several positives.

**How?** By name in an estimator, with hyper-parameters behind `loss__`; or alone, as any module of
torch:

```python
import torch
from sklearn.datasets import make_classification

from imbtorch import ImbalancedNetClassifier
from imbtorch.losses import FocalLoss, get_loss

X, y = make_classification(500, weights=[0.9], random_state=0)
net = ImbalancedNetClassifier(loss="focal", max_epochs=3, random_state=0)
net.set_params(loss__gamma=1.0).fit(X, y).predict_proba(X[:2])

logits, target = torch.randn(8, 2), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
FocalLoss(gamma=1.0)(logits, target)
adjusted = get_loss("logit_adjusted").prepare([90, 10])  # how many rows each class has
adjusted(logits, target)
```

**Common parameters.** Every loss also takes `weight` (a factor per class), `ignore_index` and
`reduction` (`"mean"`, `"sum"`, `"none"`, `"weighted_mean"`).

**Symbols.** $`z`$ are the raw outputs of the net, $`p`$ their softmax (sigmoid for labels), $`t`$
is the true class of $`c`$, $`y`$ a label of 0 or 1; $`n_j`$ are the rows of class $`j`$, $`\pi_j`$
its share of the rows. $`[\cdot]`$ is 1 where the condition holds, else 0; $`\sigma`$ is the
sigmoid. In losses of a whole batch + and - stand for positives and negatives, $`s_i`$ is the score
(log-odds) of a row, and $`tp`$, $`fp`$, $`fn`$ are sums of probabilities in place of counts.

**Columns of the table.** The *softmax* form takes a class index a row, the *sigmoid* form zeros
and ones of the shape of the logits; a loss of a *whole batch* takes either, and has one value per
class or label, not per row. *Needs*: an estimator gives class counts and epochs by itself; in your
own loop call `loss.prepare(counts)` before, and where there is a warm-up of cross-entropy
`loss.set_epoch(epoch)` at the start of each epoch. *Posterior*: whether the outputs can be turned
into probabilities, so that `target_prior` works; where not, they are scores to rank and decide by.
"""

CAPTIONS = {
    "row": """\
**Pictures.** Of 100 rows 5 are of the rare class: the loss of one row against the probability
that the raw outputs give to its true class.""",
    "label": """\
**Pictures.** A label that 5% of the rows have: its loss in one row against the probability that
the label is given. The row also has another label, one that half of the rows have.""",
    "ordered": """\
**Pictures.** Five classes, of which the first is true: the loss of a row that gives probability
0.9 to the class at this distance.""",
    "batch": """\
**Pictures.** A batch of 4 positives and 16 negatives: its loss when the scores of all positives
move. At 0 they are drawn from the same distribution as those of the negatives.""",
}


# -- what the classes say ----------------------------------------------------------------------


def losses() -> dict[str, type[BaseLoss]]:
    """Return the losses of this package by name, without those that a session has added."""
    return {k: v for k, v in all_losses().items() if v.__module__.startswith("imbtorch.")}


def kind(cls: type[BaseLoss]) -> str:
    """Return what a picture of this loss has to show: a key of ``CAPTIONS``."""
    if cls.batch_loss is not BaseLoss.batch_loss:
        return "batch"
    if cls._ordered_classes:
        return "ordered"
    return "label" if issubclass(cls, OneVsRestMixin) else "row"


def forms(cls: type[BaseLoss]) -> str:
    if kind(cls) == "batch":
        return "whole batch"
    softmax = cls.per_sample is not BaseLoss.per_sample
    sigmoid = cls.per_label is not BaseLoss.per_label
    return ", ".join(["softmax"] * softmax + ["sigmoid"] * sigmoid)


def needs(cls: type[BaseLoss]) -> str:
    found = []
    refusals = [_refuses_unprepared(cls(**params)) for params in ({}, *cls._test_params)]
    if any(refusals):
        found.append("class counts" if all(refusals) else "class counts, with some settings")
    if "warmup_epochs" in inspect.signature(cls).parameters:
        found.append("warm-up epochs")
    if cls._ordered_classes:
        found.append("ordered classes")
    return "; ".join(found) or "-"


def _refuses_unprepared(loss: BaseLoss) -> bool:
    try:
        loss(torch.zeros(3, 3), torch.arange(3))
    except ValueError:
        return True
    return False


def posterior(cls: type[BaseLoss]) -> str:
    answer = "yes" if cls().has_posterior else "no"
    depends = isinstance(inspect.getattr_static(cls, "has_posterior"), property)
    return f"{answer}, at the defaults" if depends else answer


# -- docstrings to Markdown --------------------------------------------------------------------


def markdown(text: str, anchors: dict[str, str]) -> str:
    """Turn a paragraph with the roles of reStructuredText into one line of Markdown."""

    def role(match: re.Match[str]) -> str:
        name, content = match["role"], match["content"].lstrip("~")
        if name == "math":
            return f"$`{content}`$"
        if name == "arxiv":
            return f"[arXiv:{content}](https://arxiv.org/abs/{content})"
        if name == "doi":
            visible = content.replace("<", "&lt;").replace(">", "&gt;")
            return f"[doi:{visible}](https://doi.org/{quote(content, safe='/:;')})"
        code = f"`{content}`"
        return f"[{code}](#{anchors[content]})" if content in anchors else code

    line = " ".join(text.split())
    line = re.sub(r":(?P<role>\w+):`(?P<content>[^`]+)`", role, line)
    return re.sub(r"``([^`]+)``", r"`\1`", line)


def sections(doc: str) -> dict[str, str]:
    """Split a numpydoc docstring by its headings; what comes first has the key ``""``."""
    head, *rest = re.split(r"^([A-Z]\w+)\n-+\n", doc, flags=re.MULTILINE)
    return {"": head, **dict(zip(rest[::2], rest[1::2], strict=True))}


def formula(head: str) -> tuple[str, str, list[str]]:
    """Split the text above the parameters: summary, formula, paragraphs of explanation."""
    before, after = head.split(".. math::", 1)
    block, _, rest = after.strip().partition("\n\n")
    lines = "\n".join(line.strip() for line in block.splitlines())
    return before.strip(), lines, [part for part in rest.split("\n\n") if part.strip()]


def hyper_parameters(cls: type[BaseLoss], text: str) -> list[tuple[str, str, str, str]]:
    """List name, type, default and description of those that other losses lack."""
    common = inspect.signature(BaseLoss).parameters
    found = []
    for name, parameter in inspect.signature(cls).parameters.items():
        if name not in common:
            entry = re.search(rf"^{name} : (.*)\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
            if entry is None:
                raise ValueError(f"{cls.__name__} does not document {name}.")
            of_type = re.sub(r", default=.*", "", entry[1])
            found.append((name, of_type, _quoted(parameter.default), entry[2]))
    return found


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def references(text: str) -> list[str]:
    return [part for part in re.split(r"^\.\. \[\d+\] ", text, flags=re.MULTILINE) if part.strip()]


# -- the page ----------------------------------------------------------------------------------


def families() -> dict[str, list[type[BaseLoss]]]:
    """Group the losses by the file that they are in, per-row losses first."""
    by_file: dict[str, list[type[BaseLoss]]] = {}
    for cls in losses().values():
        by_file.setdefault(cls.__module__, []).append(cls)
    for name, members in by_file.items():
        members.sort(key=list(vars(sys.modules[name]).values()).index)  # as they are written
    order = list(CAPTIONS)
    return dict(sorted(by_file.items(), key=lambda item: (order.index(kind(item[1][0])), item[0])))


def section(cls: type[BaseLoss], anchors: dict[str, str]) -> list[str]:
    """Return the paragraphs about one loss."""
    doc = sections(inspect.getdoc(cls) or "")
    summary, tex, explanation = formula(doc[""])
    notes = doc["Notes"].strip().split("\n\n")[0]
    facts = [f"`{cls.__name__}`", f"form: {forms(cls)}"]
    facts += [f"needs: {needs(cls)}"] if needs(cls) != "-" else []
    facts += [f"posterior: {posterior(cls)}"]
    paragraphs = [
        f"### {cls.name}",
        " · ".join(facts),
        f"**{markdown(summary, anchors)}**",
        f"```math\n{tex}\n```",
        *(markdown(part, anchors) for part in explanation),
        f"![Shape of {cls.name}](images/losses/{cls.name}.svg)",
        markdown(notes, anchors),
    ]
    rows = [
        f"- `{name}` (`{of_type}`, default `{default}`): {markdown(text, anchors)}"
        for name, of_type, default, text in hyper_parameters(cls, doc["Parameters"])
    ]
    paragraphs += ["\n".join(["Hyper-parameters:", "", *rows])] if rows else []
    cited = [f"- {markdown(text, anchors)}" for text in references(doc["References"])]
    return [*paragraphs, "\n".join(["References:", "", *cited])]


def page() -> str:
    """Return the text of docs/losses.md."""
    anchors = {cls.__name__: name for name, cls in losses().items()}
    links = {name: f"[`{name}`](#{name})" for name in losses()}
    grouped = families()
    table = ["| name | class | form | needs | posterior |", "|---|---|---|---|---|"]
    for cls in (cls for members in grouped.values() for cls in members):
        cells = (links[cls.name], f"`{cls.__name__}`", forms(cls), needs(cls), posterior(cls))
        table.append(f"| {' | '.join(cells)} |")
    parts = [INTRO.format_map(links).strip(), "\n".join(table)]
    for name, members in grouped.items():
        about = (inspect.getdoc(sys.modules[name]) or "").split("\n\n")[0]
        title, _, rest = markdown(about, anchors).rstrip(".").partition(": ")
        parts.append(f"## {title}")
        parts += [f"{rest[0].upper()}{rest[1:]}."] if rest else []
        parts += [CAPTIONS[each] for each in dict.fromkeys(map(kind, members))]
        for cls in members:
            parts += section(cls, anchors)
    return "\n\n".join(parts) + "\n"


def main() -> None:
    from loss_pictures import draw, save

    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.svg"):
        old.unlink()
    for name, cls in losses().items():
        save(draw(cls, kind(cls)), PICTURES / f"{name}.svg")
    PAGE.write_text(page(), "utf-8")
    print(f"{len(losses())} losses: {PAGE.name}, {PICTURES.relative_to(PAGE.parent)}/")


if __name__ == "__main__":
    main()
