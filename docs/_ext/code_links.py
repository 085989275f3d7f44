"""Link what is written in code style: public names on Markdown pages, pages in docstrings.

So the pages stay plain Markdown, which also reads well without Sphinx, and a docstring may name a
page of the repository, such as ``docs/losses.md``.
"""

import re

from api_pages import public_names
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform


def targets():
    """Map what a page may write, ``FocalLoss`` or ``imbtorch.losses.FocalLoss``, to full names.

    A short name that two modules use, or that may be an ordinary word, is left alone.
    """
    found = {}
    for full_name in public_names():
        short = full_name.rpartition(".")[2]
        found[full_name] = full_name
        if short.lower() != short or "_" in short:
            found[short] = None if short in found else full_name
    return {written: name for written, name in found.items() if name}


PAGE = re.compile(r"docs(/[\w/]+)\.md")
LINKED = (nodes.reference, addnodes.pending_xref, nodes.title)


def link(literal, docname, **options):
    """Wrap a code span in a reference, which is resolved later."""
    reference = addnodes.pending_xref("", refexplicit=True, refwarn=True, refdoc=docname, **options)
    literal.replace_self(reference)
    reference += literal


class LinkPublicNames(SphinxTransform):
    """Wrap code spans that are public names in references."""

    default_priority = 5  # before references are resolved

    def apply(self):
        if not str(self.env.doc2path(self.env.docname)).endswith(".md"):
            return
        names = targets()
        for literal in list(self.document.findall(nodes.literal)):
            full_name = names.get(literal.astext())
            if full_name and not isinstance(literal.parent, LINKED):
                options = {"refdomain": "py", "reftype": "obj", "reftarget": full_name}
                link(literal, self.env.docname, **options)


class LinkPages(SphinxTransform):
    """Wrap code spans that are names of pages in references."""

    default_priority = 5

    def apply(self):
        for literal in list(self.document.findall(nodes.literal)):
            page = PAGE.fullmatch(literal.astext())
            if page and not isinstance(literal.parent, LINKED):
                options = {"refdomain": "std", "reftype": "doc", "reftarget": page[1]}
                link(literal, self.env.docname, **options)


def setup(app):
    app.add_transform(LinkPublicNames)
    app.add_transform(LinkPages)
    return {"parallel_read_safe": True}
