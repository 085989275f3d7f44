"""A pattern of a toctree that matches no page yet is left out, instead of being a warning."""

import re
from fnmatch import fnmatch

TOCTREE = re.compile(r"^```\{toctree\}\n.*?^```", re.MULTILINE | re.DOTALL)


def drop_absent(text, pages):
    """Leave out the lines of toctrees that are patterns without a page.

    >>> print(drop_absent("```{toctree}\\nhere\\ngone*\\n```", {"here"}))
    ```{toctree}
    here
    ```
    """

    def keep(line):
        return "*" not in line or any(fnmatch(page, line) for page in pages)

    def filtered(match):
        return "\n".join(filter(keep, match[0].splitlines()))

    return TOCTREE.sub(filtered, text)


def read_source(app, docname, source):
    source[0] = drop_absent(source[0], app.env.found_docs)


def setup(app):
    app.connect("source-read", read_source)
    return {"parallel_read_safe": True}
