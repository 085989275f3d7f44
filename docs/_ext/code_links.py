"""On Markdown pages, link each public name in code style to its API page.

So the pages stay plain Markdown, which also reads well without Sphinx.
"""

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


class LinkPublicNames(SphinxTransform):
    """Wrap code spans that are public names in references."""

    default_priority = 5  # before references are resolved

    def apply(self):
        if not str(self.env.doc2path(self.env.docname)).endswith(".md"):
            return
        names = targets()
        for literal in list(self.document.findall(nodes.literal)):
            full_name = names.get(literal.astext())
            inside = (nodes.reference, addnodes.pending_xref, nodes.title)
            if full_name and not isinstance(literal.parent, inside):
                options = {"refdomain": "py", "reftype": "obj", "reftarget": full_name}
                link = addnodes.pending_xref("", refexplicit=True, refwarn=True, **options)
                link["refdoc"] = self.env.docname
                literal.replace_self(link)
                link += literal


def setup(app):
    app.add_transform(LinkPublicNames)
    return {"parallel_read_safe": True}
