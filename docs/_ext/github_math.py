"""Translate GitHub's inline formulas, a code span in dollar signs, into MyST's math role."""

import re

INLINE = re.compile(r"\$`([^`\n]+)`\$")


def translate(text):
    r"""Turn ``$`x`$`` into the role that MyST understands.

    >>> translate("the loss $`\\ell`$ of a row")
    'the loss {math}`\\ell` of a row'
    """
    return INLINE.sub(r"{math}`\1`", text)


def read_source(app, docname, source):
    if str(app.env.doc2path(docname)).endswith(".md"):
        source[0] = translate(source[0])


def setup(app):
    app.connect("source-read", read_source)
    return {"parallel_read_safe": True}
