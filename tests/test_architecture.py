"""The rules that hold the package together, checked on its source.

The tree on the architecture page is one of them: it lists every file, in groups from the public
names down to the foundation, and imports go down.

Each rule takes ``{path relative to imbtorch/: source}`` and returns one line per violation, which
starts with ``file:line``. The fake sources at the end show that every rule bites.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "imbtorch"

PAGE = PACKAGE.parent / "docs" / "architecture.md"
SKLEARN_DOOR = "_common/sklearn_private.py"
LAZY = {"matplotlib", "pandas", "polars", "imblearn", "pyarrow"} | {
    "onnx",
    "onnxscript",
    "onnxruntime",
}
# Names whose signature scikit-learn, joblib or skorch prescribes, **kwargs included
PRESCRIBED = {"configure", "infer", "notify", "set_params"}
MAX_CODE_LINES = 300  # docstrings, comments and blank lines are not counted
TASK_NAMES = {"classes", "labels", "values"}


def tree_of(page):
    """Files of the tree on the architecture page, in its order: ``{path: place of its group}``.

    A group is an entry of the first level: a file of the root, or a folder with all that it holds.
    """
    lines = page.split("```text\nimbtorch/\n")[1].split("```")[0].splitlines()
    files, folders, group = {}, [], -1
    for line in filter(str.strip, lines):
        depth = (len(line) - len(line.lstrip())) // 2
        group += depth == 1
        for entry in re.split(r" {2,}", line.strip()):
            if re.fullmatch(r"\w+/", entry):
                folders[depth - 1 :] = [entry]
                files["".join(folders) + "__init__.py"] = group
            elif re.fullmatch(r"\w+\.py", entry):
                folders = folders[: depth - 1]
                files["".join(folders) + entry] = group
            else:  # the description
                break
    return files


TREE = tree_of(PAGE.read_text("utf-8"))


def unit_of(path):
    """Group of the file ``path``: the folder of the first level, or the file itself."""
    return path.split("/")[0] + "/" if "/" in path else path


@cache  # all rules read the same files
def parsed(source):
    return ast.parse(source)


@cache
def imports_of(source):
    """List ``(line, module, name or None, level, runs_on_import)`` of each imported name."""

    def visit(node, runs_on_import):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None, 0, runs_on_import
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, node.module or "", alias.name, node.level, runs_on_import
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                yield from visit(child, False)
            for child in node.orelse:
                yield from visit(child, runs_on_import)
        else:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, runs_on_import and not is_function)

    return list(visit(parsed(source), True))


def statement(module, name, level=0):
    return f"import {module}" if name is None else f"from {'.' * level}{module} import {name}"


def file_of(module, name, sources):
    """Path of the file that an import of ``imbtorch...`` reads, or None if there is none."""
    dotted = [module] if name is None else [f"{module}.{name}", module]
    for candidate in dotted:
        stem = "/".join(candidate.split(".")[1:])
        for path in (f"{stem}.py", f"{stem}/__init__.py".removeprefix("/")):
            if path in sources:
                return path
    return None


def internal_imports(sources):
    """Yield ``(path, line, statement, target path)`` for each import of the package by itself."""
    for path, source in sources.items():
        for line, module, name, level, _ in imports_of(source):
            if level == 0 and module.split(".")[0] == "imbtorch":
                yield path, line, statement(module, name), file_of(module, name, sources)


def standing_in_the_tree(sources):
    missing = [f"{path}:1: is not in the tree of docs/architecture.md" for path in sources]
    return [line for line, path in zip(missing, sources, strict=True) if path not in TREE]


def downward_imports(sources):
    found = []
    for path, line, text, target in internal_imports(sources):
        if target is None:
            found.append(f"{path}:{line}: {text}: no such module")
        elif unit_of(path) != unit_of(target) and TREE.get(target, 99) <= TREE.get(path, 0):
            found.append(f"{path}:{line}: {text}: {unit_of(target)} stands above, not below")
    return found


def acyclic_imports(sources):
    edges = {path: {} for path in sources}
    for path, line, text, target in internal_imports(sources):
        if target is not None and target != path:
            edges[path][target] = f"{path}:{line}: {text}"

    def reaches(start, goal):
        seen, stack = set(), [start]
        while stack:
            path = stack.pop()
            if path == goal:
                return True
            if path not in seen:
                seen.add(path)
                stack.extend(edges[path])
        return False

    return [
        f"{text}: a cycle"
        for path, targets in edges.items()
        for target, text in targets.items()
        if reaches(target, path)
    ]


def absolute_imports(sources):
    return [
        f"{path}:{line}: {statement(module, name, level)}: a relative import"
        for path, source in sources.items()
        for line, module, name, level, _ in imports_of(source)
        if level
    ]


def skorch_only_in_training(sources):
    return [
        f"{path}:{line}: {statement(module, name)}: only training/ imports skorch"
        for path, source in sources.items()
        for line, module, name, _, _ in imports_of(source)
        if module.split(".")[0] == "skorch" and unit_of(path) != "training/"
    ]


def private_sklearn_in_one_file(sources):
    def is_private(module, name):
        parts = [*module.split("."), name or ""]
        return any(part.startswith("_") and not part.endswith("__") for part in parts)

    return [
        f"{path}:{line}: {statement(module, name)}: only {SKLEARN_DOOR} imports private names"
        for path, source in sources.items()
        for line, module, name, _, _ in imports_of(source)
        if module.split(".")[0] == "sklearn" and path != SKLEARN_DOOR and is_private(module, name)
    ]


def lazy_optional_packages(sources):
    return [
        f"{path}:{line}: {statement(module, name)}: import it inside the function that needs it"
        for path, source in sources.items()
        for line, module, name, _, runs_on_import in imports_of(source)
        if runs_on_import and module.split(".")[0] in LAZY
    ]


def explicit_signatures(sources):
    def public_functions(node, in_training):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                # skorch calls its hooks with **kwargs
                is_hook = in_training and child.name.startswith("on_")
                if not child.name.startswith("_") and not is_hook:
                    yield child
            elif isinstance(child, ast.ClassDef):
                if not child.name.startswith("_"):
                    yield from public_functions(child, in_training)
            else:  # functions under if, try or with
                yield from public_functions(child, in_training)

    found = []
    for path, source in sources.items():
        for function in public_functions(parsed(source), unit_of(path) == "training/"):
            for stars, arg in (("*", function.args.vararg), ("**", function.args.kwarg)):
                if arg is not None and function.name not in PRESCRIBED:
                    where = f"{path}:{function.lineno}: {function.name}({stars}{arg.arg})"
                    found.append(f"{where}: name the arguments")
    return found


def short_files(sources):
    found = []
    for path, source in sources.items():
        in_docstrings = sum(
            node.body[0].end_lineno - node.body[0].lineno + 1
            for node in ast.walk(parsed(source))
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        )
        stripped = [line.strip() for line in source.splitlines()]
        n_lines = sum(bool(line) and not line.startswith("#") for line in stripped) - in_docstrings
        if n_lines > MAX_CODE_LINES:
            found.append(f"{path}:1: has {n_lines} lines of code, more than {MAX_CODE_LINES}")
    return found


def no_comparison_of_tasks(sources):
    """Only the files of the tasks know their names; everything else asks the task."""
    return [
        f"{path}:{node.lineno}: {ast.unparse(node)}: ask the task instead of comparing its name"
        for path, source in sources.items()
        if unit_of(path) != "_tasks/"
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Compare)
        and any(
            isinstance(constant, ast.Constant) and constant.value in TASK_NAMES
            for side in (node.left, *node.comparators)
            for constant in ast.walk(side)
        )
    ]


def no_attributes_of_somebody_else(sources):
    """A class that declares ``name: Any`` without a value silences mypy about another class."""
    return [
        f"{path}:{line.lineno}: {ast.unparse(line)}: say what it is, or do without"
        for path, source in sources.items()
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.ClassDef) and not node.decorator_list  # no dataclass
        for line in node.body
        if isinstance(line, ast.AnnAssign) and line.value is None
        if ast.unparse(line.annotation) == "Any"
    ]


def no_estimator_in_the_engine(sources):
    """The engine gets a description of a net and a recipe, never an estimator."""
    return [
        f"{path}:{node.lineno}: {node.name}(estimator): give it a NetSpec or a Recipe"
        for path, source in sources.items()
        if unit_of(path) == "training/"
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.FunctionDef)
        and any(arg.arg == "estimator" for arg in (*node.args.args, *node.args.kwonlyargs))
    ]


RULES = [
    standing_in_the_tree,
    downward_imports,
    acyclic_imports,
    absolute_imports,
    skorch_only_in_training,
    private_sklearn_in_one_file,
    lazy_optional_packages,
    explicit_signatures,
    short_files,
    no_comparison_of_tasks,
    no_attributes_of_somebody_else,
    no_estimator_in_the_engine,
]


@pytest.fixture(scope="module")
def package_sources():
    paths = sorted(PACKAGE.rglob("*.py"))
    assert paths, f"no source in {PACKAGE}"
    return {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in paths}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps(rule, package_sources):
    violations = rule(package_sources)
    assert not violations, "\n" + "\n".join(f"imbtorch/{line}" for line in violations)


def test_entries_of_the_tree_exist(package_sources):
    assert not sorted(set(TREE) - set(package_sources))


def test_few_files_at_the_root(package_sources):
    assert len([path for path in package_sources if "/" not in path]) <= 12


CLEAN = {
    "__init__.py": "from imbtorch.classifier import Classifier\n__version__ = '0'",
    "_common/sklearn_private.py": "from sklearn.utils._param_validation import Interval\n"
    "import sklearn._config",
    "weights.py": "from sklearn import __version__\n\ndef f(x):\n    import pandas as pd",
    "losses/__init__.py": "from imbtorch.losses import _base\nfrom imbtorch.losses._focal import *",
    "losses/_base.py": "from imbtorch._common.sklearn_private import Interval",
    "losses/_focal.py": "from imbtorch.losses._base import BaseLoss",
    "_tasks/classes.py": "def f(task): return task == 'classes'",
    "training/__init__.py": "",
    "training/net.py": "import skorch\nfrom imbtorch import losses, weights\n"
    "class _Net(skorch.NeuralNet):\n    def train_step(self, batch, **fit_params): ...\n"
    "class Stop(skorch.callbacks.Callback):\n    def on_epoch_end(self, net, **kwargs): ...",
    "classifier.py": "from typing import TYPE_CHECKING, Any\n"
    "if TYPE_CHECKING:\n    import pandas as pd\n"
    "from imbtorch.training.net import _Net\nclass Classifier:\n    lr: float\n"
    "    def set_params(self, **params): ...\n    def fit(self, X):\n"
    "        def inner(*args): ...\n@dataclass\nclass Own:\n    value: Any",
}

BROKEN = [
    (standing_in_the_tree, "helpers.py", "", "helpers.py:1"),
    (standing_in_the_tree, "extra/tool.py", "", "extra/tool.py:1"),
    (standing_in_the_tree, "losses/_new.py", "", "losses/_new.py:1"),
    (downward_imports, "weights.py", "x = 1\nimport imbtorch.classifier", "weights.py:2"),
    (downward_imports, "losses/_base.py", "from imbtorch import weights", "losses/_base.py:1"),
    (downward_imports, "weights.py", "def f():\n    import imbtorch.classifier", "weights.py:2"),
    (downward_imports, "classifier.py", "from imbtorch import __version__", "stands above"),
    (downward_imports, "losses/_base.py", "import imbtorch.training.net", "stands above"),
    (downward_imports, "classifier.py", "from imbtorch.nowhere import f", "no such module"),
    (acyclic_imports, "losses/_base.py", "from imbtorch.losses._focal import f", "a cycle"),
    (acyclic_imports, "losses/_focal.py", "from imbtorch.losses import get_loss", "a cycle"),
    (acyclic_imports, "weights.py", "import imbtorch.training.net", "a cycle"),
    (absolute_imports, "losses/_focal.py", "from . import _base", "from . import _base"),
    (absolute_imports, "losses/_focal.py", "\nfrom ..weights import f", "losses/_focal.py:2"),
    (skorch_only_in_training, "_fit/fit.py", "from skorch.utils import f", "_fit/fit.py:1"),
    (skorch_only_in_training, "weights.py", "def f():\n    import skorch", "weights.py:2"),
    (private_sklearn_in_one_file, "weights.py", "import sklearn._config", "weights.py:1"),
    (private_sklearn_in_one_file, "weights.py", "from sklearn.base import _f", "weights.py:1"),
    (private_sklearn_in_one_file, "weights.py", "from sklearn.utils._x import f", "weights.py:1"),
    (lazy_optional_packages, "weights.py", "import pandas as pd", "weights.py:1"),
    (
        lazy_optional_packages,
        "weights.py",
        "try:\n    import polars\nexcept E: ...",
        "weights.py:2",
    ),
    (lazy_optional_packages, "plotting/_roc.py", "from matplotlib import pyplot", "_roc.py:1"),
    (
        lazy_optional_packages,
        "samplers.py",
        "class A:\n    from imblearn import b",
        "samplers.py:2",
    ),
    (explicit_signatures, "weights.py", "def f(x, **kwargs): ...", "f(**kwargs)"),
    (explicit_signatures, "weights.py", "if 1:\n    def f(*args): ...", "weights.py:2: f(*args)"),
    (explicit_signatures, "classifier.py", "class A:\n    def fit(self, **p): ...", "fit(**p)"),
    (short_files, "weights.py", "x = 1\n" * 301, "301 lines of code"),
    (no_comparison_of_tasks, "weights.py", "f = task == 'classes'", "weights.py:1"),
    (no_comparison_of_tasks, "training/net.py", "if net.task in ('labels', 'x'): ...", "net.py:1"),
    (no_attributes_of_somebody_else, "weights.py", "class A:\n    fit: Any", "weights.py:2"),
    (no_estimator_in_the_engine, "training/net.py", "def f(x, estimator): ...", "net.py:1"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_accepts_clean_source(rule):
    assert rule(CLEAN) == []


@pytest.mark.parametrize(("rule", "path", "source", "expected"), BROKEN)
def test_rule_bites(rule, path, source, expected):
    violations = rule({**CLEAN, path: source})
    assert any(expected in line for line in violations), violations


def test_docstrings_and_comments_are_no_code():
    text = '"""Doc.\n' + "line\n" * 400 + '"""\n' + "# why\n" * 400 + "x = 1\n" * 300
    assert short_files({"weights.py": text}) == []


def test_the_tree_is_read_in_order():
    page = (
        "```text\nimbtorch/\n  b.py   about a.py\n\n  c/\n    d.py  e.py\n    f/\n      g.py\n```"
    )
    assert tree_of(page) == {
        "b.py": 0, "c/__init__.py": 1, "c/d.py": 1, "c/e.py": 1, "c/f/__init__.py": 1,
        "c/f/g.py": 1,
    }  # fmt: skip


def test_every_rule_has_a_source_that_breaks_it():
    assert {rule for rule, *_ in BROKEN} == set(RULES)
