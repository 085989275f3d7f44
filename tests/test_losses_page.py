"""docs/losses.md is what its generator makes of the registered losses, and reads well."""

import importlib.util
import re
from pathlib import Path

import pytest

from imbtorch.losses import all_losses

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "losses.md"
PICTURES = DOCS / "images" / "losses"


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = load("make_losses_page")
LOSSES = generator.losses()


@pytest.fixture(scope="module")
def text():
    return PAGE.read_text("utf-8")


@pytest.fixture(scope="module")
def prose(text):
    """The page without its code, formulas and links."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\$`[^`]*`\$|`[^`]*`", "", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def test_page_is_up_to_date(text):
    assert text == generator.page(), "docs/losses.md is stale: run make losses-page"


@pytest.mark.parametrize("name", LOSSES)
def test_loss_has_a_section(name, text):
    _, _, section = text.partition(f"\n### {name}\n")
    section = re.split(r"\n##", section)[0]
    assert f"`{LOSSES[name].__name__}`" in section
    assert "```math\n\\ell" in section
    assert "\nUse it " in section
    assert re.search(r"References:\n\n- [A-Z]", section)
    common = {"weight", "ignore_index", "reduction"}
    documented = set(re.findall(r"^- `(\w+)` \(", section, re.MULTILINE))
    assert documented == set(LOSSES[name]().get_params(deep=False)) - common


@pytest.mark.parametrize("name", LOSSES)
def test_loss_has_a_row_in_the_table(name, text):
    (row,) = re.findall(rf"^\| \[`{name}`\]\(#{name}\) \|.*$", text, re.MULTILINE)
    assert row.count("|") == 6


def test_losses_of_this_package_are_all_there():
    ours = {name for name, cls in all_losses().items() if cls.__module__.startswith("imbtorch.")}
    assert set(LOSSES) == ours
    assert {"cross_entropy", "focal", "logit_adjusted"} <= ours


def test_pictures_are_those_of_the_losses(text):
    drawn = re.findall(r"!\[[^]]+\]\(images/losses/(\w+)\.svg\)", text)
    assert sorted(drawn) == sorted(LOSSES)
    files = {path.name: path.stat().st_size for path in PICTURES.iterdir()}
    assert sorted(files) == sorted(f"{name}.svg" for name in LOSSES)
    assert max(files.values()) < 20_000
    assert all((PICTURES / name).read_text("utf-8").rstrip().endswith("</svg>") for name in files)


def test_links_inside_the_page_lead_somewhere(text):
    headings = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) == headings


@pytest.mark.parametrize(
    "markup", [r":[a-z]+:", r"\.\. ", "`", r"\$", r"^---+", r"\[\d\]", r"\\", r"\{", r"<(?!!--)"]
)
def test_no_markup_is_left(markup, prose):
    assert re.search(markup, prose, re.MULTILINE) is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("See :class:`FocalLoss`\n    there.", "See [`FocalLoss`](#focal) there."),
        (":class:`~torch.nn.L1Loss`", "`torch.nn.L1Loss`"),
        ("``a_b`` and :math:`p_t`", "`a_b` and $`p_t`$"),
        (":arxiv:`1708.02002`", "[arXiv:1708.02002](https://arxiv.org/abs/1708.02002)"),
        (":doi:`10.1/a(b)<c>`", "[doi:10.1/a(b)&lt;c&gt;](https://doi.org/10.1/a%28b%29%3Cc%3E)"),
    ],
)
def test_roles_become_markdown(source, expected):
    assert generator.markdown(source, {"FocalLoss": "focal"}) == expected


def test_an_undocumented_parameter_is_an_error():
    with pytest.raises(ValueError, match="FocalLoss does not document gamma"):
        generator.hyper_parameters(LOSSES["focal"], "weight : float\n    A factor.\n")


@pytest.mark.parametrize("name", LOSSES)
def test_picture_names_every_setting(name):
    drawn = (PICTURES / f"{name}.svg").read_text("utf-8")
    shown = set(re.findall(r">([^<>]+)</t", drawn))
    shown |= {line.removesuffix(" or") for line in shown}
    for params in LOSSES[name]._test_params:
        assert {f"{key}={value}" for key, value in params.items()} <= shown


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["focal", "bce", "ordinal_cdw", "soft_fbeta"])  # one of each kind
def test_a_picture_is_drawn(name, tmp_path):
    pytest.importorskip("matplotlib")
    pictures = load("loss_pictures")
    files = [tmp_path / "first.svg", tmp_path / "second.svg"]
    for path in files:
        pictures.save(pictures.draw(LOSSES[name], generator.kind(LOSSES[name])), path)
    first, second = (path.read_text("utf-8") for path in files)
    assert first == second
    assert f">{name}</text>" in first
    assert "cross-entropy" in first
