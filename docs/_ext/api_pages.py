"""Pages of the API reference, one for each public name, made from the ``__all__`` of the modules.

They are written into docs/api/ at the start of a build. A new public name, or a new public module,
gets its page by itself; Sphinx reports one that has no docstring.
"""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import imbtorch

INTERNAL = {  # importable without an underscore, but not meant for users
    "imbtorch._data.targets",
    "imbtorch.training",
}
FIRST = [  # the rest follows in alphabetical order
    "imbtorch",
    "imbtorch.losses",
    "imbtorch.losses.regression",
    "imbtorch.model_selection",
    "imbtorch.samplers",
    "imbtorch.metrics",
]


def public_modules():
    """Return the names of all modules and packages with public names, without repetitions.

    A name that ``imbtorch`` itself offers (``imbtorch.MLP``) is documented there, not where it
    is defined (``imbtorch.modules.MLP``).
    """
    found = ["imbtorch", *_below(imbtorch)]
    return sorted(found, key=lambda name: (FIRST + [name]).index(name))


def _below(package):
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if info.name.rpartition(".")[2].startswith("_") or info.name in INTERNAL:
            continue
        module = importlib.import_module(info.name)
        if getattr(module, "__all__", None):
            yield info.name
        if info.ispkg:
            yield from _below(module)


def names_by_module():
    """Return ``{module: [names]}``: each object once, in the first module that offers it."""
    seen, found = set(), {}
    for module_name in public_modules():
        module = importlib.import_module(module_name)
        new = [name for name in module.__all__ if id(getattr(module, name)) not in seen]
        seen.update(id(getattr(module, name)) for name in new)
        if new:
            found[module_name] = sorted(new, key=str.lower)
    return found


def public_names():
    """Return the full names of all public objects."""
    return [f"{module}.{name}" for module, names in names_by_module().items() for name in names]


def own_members(cls):
    """Return public methods and properties of a class that this package defines.

    Members that come from torch or scikit-learn are described there; members of a public base
    class of imbtorch, such as ``BaseLoss``, are described on the page of that class.
    """
    elsewhere = {name for base in public_bases(cls) for name in dir(base)}
    members = {}
    for owner in reversed(cls.__mro__):
        for name, member in vars(owner).items() if _is_ours(owner) else ():
            documented = inspect.isfunction(member) or isinstance(
                member, property | classmethod | staticmethod
            )
            if documented and not name.startswith("_") and inspect.getdoc(getattr(cls, name)):
                members[name] = member
    return [name for name in members if name not in elsewhere]


def _is_ours(cls):
    return cls.__module__.split(".")[0] == "imbtorch"


def public_bases(cls):
    """Return the base classes that have a page of their own."""
    return list(_pages_of_bases(cls))


def _pages_of_bases(cls):
    """Return the public base classes, each with the full name of its page."""
    public = {id(_get(name)): name for name in public_names()}
    return {base: public[id(base)] for base in cls.__mro__[1:] if id(base) in public}


def _get(full_name):
    module, _, name = full_name.rpartition(".")
    return getattr(importlib.import_module(module), name)


def object_page(full_name, examples):
    """Write the page of one object, as reStructuredText."""
    module, _, name = full_name.rpartition(".")
    thing = _get(full_name)
    lines = [name, "=" * len(name), "", f".. currentmodule:: {module}", ""]
    if inspect.isclass(thing):
        lines += [f".. autoclass:: {name}"]
        if members := own_members(thing):
            lines += [f"   :members: {', '.join(members)}"]
        if pages := _pages_of_bases(thing):
            names = ", ".join(f":class:`~{page}`" for page in pages.values())
            lines += ["", f"Other methods are those of {names}."]
    elif inspect.isroutine(thing):
        lines += [f".. autofunction:: {name}"]
    else:
        lines += [f".. autodata:: {name}"]
    if re.search(rf"\b{name}\b", examples):  # else the heading would stand alone
        lines += ["", f".. minigallery:: {full_name}", "   :add-heading: Used in"]
    return "\n".join([*lines, ""])


def module_page(module, names):
    """Write the page of a module: what it is for, and a table of its names."""
    lines = [module, "=" * len(module), "", f".. automodule:: {module}", ""]
    lines += [f".. currentmodule:: {module}", "", ".. autosummary::", ""]
    lines += [f"   {name}" for name in names]
    lines += ["", ".. toctree::", "   :hidden:", ""]
    lines += [f"   {name} <{module}.{name}>" for name in names]
    return "\n".join([*lines, ""])


def index_page(modules):
    title = "API reference"
    lines = [title, "=" * len(title), ""]
    lines += ["Every public name, with an example that runs.", ""]
    for module in modules:
        summary = inspect.getdoc(importlib.import_module(module)).split("\n")[0]
        lines += [f":doc:`{module}`", f"   {summary}", ""]
    lines += [".. toctree::", "   :hidden:", "", *(f"   {module}" for module in modules)]
    return "\n".join([*lines, ""])


def pages(examples=""):
    """Return ``{file name: text}`` of the whole reference, given the text of all examples."""
    modules = names_by_module()
    made = {"index.rst": index_page(modules)}
    for module, names in modules.items():
        made[f"{module}.rst"] = module_page(module, names)
        for name in names:
            made[f"{module}.{name}.rst"] = object_page(f"{module}.{name}", examples)
    return made


def write_pages(app, config):
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    scripts = (Path(app.srcdir).parent / "examples").glob("plot_*.py")
    made = pages("\n".join(path.read_text("utf-8") for path in scripts))
    for stale in {path.name for path in folder.glob("*.rst")} - set(made):
        (folder / stale).unlink()
    for name, text in made.items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:  # else Sphinx reads it again
            path.write_text(text, "utf-8")


def setup(app):
    app.connect("config-inited", write_pages)
    return {"parallel_read_safe": True}
