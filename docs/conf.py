"""Configuration of Sphinx: ``make docs`` builds these pages into docs/_build/html."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / name) for name in ("", "release", "examples", "docs/_ext")]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# where the examples look for data that are not part of the project
os.environ.setdefault("IMBTORCH_DATA", str(HERE.parents[1] / "shared" / "data"))

import matplotlib.pyplot as plt  # noqa: E402
from address import PLACEHOLDER, read_address  # noqa: E402
from gallery import LOOK  # noqa: E402

from imbtorch import __version__  # noqa: E402

project = "imbtorch"
author = "The imbtorch developers"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",  # formulas render without a network, too
    "api_pages",
    "code_links",
    "github_math",
]
exclude_patterns = ["_build"]
suppress_warnings = ["config.cache"]
nitpicky = True
nitpick_ignore_regex = [
    # pages of other projects: no inventory is fetched while building
    ("py:.*", r"(sklearn|skorch|torch|numpy|scipy|joblib|imblearn|matplotlib|pandas)\..*"),
    ("py:.*", r"(ValueError|TypeError|KeyboardInterrupt|UserWarning)"),
    ("py:.*", r"(imbtorch\.)?(training|targets|_\w+)\..*"),  # not part of the public API
]
extlinks = {
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
    "doi": ("https://doi.org/%s", "doi:%s"),
}
linkcheck_timeout = 20
linkcheck_anchors = False
linkcheck_ignore = [PLACEHOLDER]

# Pages are GitHub's Markdown: headings are anchors, and ```math is a formula.
myst_heading_anchors = 3
myst_fence_as_directive = ["math"]
myst_enable_extensions = ["attrs_block"]  # {.cards} in front of a list: its items become cards

autodoc_typehints = "none"  # the docstrings say it better
autodoc_member_order = "bysource"
autosummary_generate = False  # api_pages writes the pages
numpydoc_show_class_members = False
numpydoc_xref_param_type = False


def set_look(gallery_conf, file_name):
    """Set the look of the figures of an example."""
    plt.rcParams.update(LOOK)


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"[\\/]plot_",
    "ignore_pattern": r"^(?!plot_)",  # helpers, and programs with arguments
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("imbtorch",),
    "inspect_global_variables": False,
    "reset_modules": ("matplotlib", set_look),
    "capture_repr": ("_repr_html_",),
    "image_scrapers": ("matplotlib",),
    "thumbnail_size": (400, 280),
    "min_reported_time": 5,
    "write_computation_times": False,  # a page that helps no reader
    "plot_gallery": True,
    "abort_on_example_error": False,  # all failures are reported, and each is a warning
    "show_signature": False,
    "download_all_examples": False,
    "remove_config_comments": True,
}

toc_object_entries_show_parents = "hide"  # fit(), not ImbalancedNetClassifier.fit()

html_theme = "pydata_sphinx_theme"
html_title = "imbtorch"
html_static_path = ["_static"]
html_logo = html_favicon = "_static/logo.svg"
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
html_css_files = ["imbtorch.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "imbtorch", "alt_text": "imbtorch"},
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
if read_address() != PLACEHOLDER:
    html_theme_options["icon_links"] = [
        {"name": "Source code", "url": read_address(), "icon": "fa-solid fa-code-branch"}
    ]
# pages without pages below them need no navigation beside them
html_sidebars = {
    name: [] for name in ("index", "installation", "tour", "which_remedy", "faq", "benchmarks")
}
html_context = {"default_mode": "light"}
