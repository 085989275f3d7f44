"""The rules that hold the package together, checked on its source.

Each rule takes ``{path relative to imbtorch/: source}`` and returns one line per violation, which
starts with ``file:line``. The fake sources at the end show that every rule bites.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "imbtorch"

# Imports go to a strictly lower layer. A name with a slash is a folder, whose files may also import
# each other.
LAYERS = {
    "__init__": 8,
    "__main__": 8,
    "compare/": 7,
    "classifier": 5,
    "regressor": 5,
    "ensemble": 6,
    "model_selection/": 5,
    "plotting/": 5,
    "persistence": 7,
    "two_stage/": 5,
    "_estimator": 4,
    "_model_file/": 4,
    "_fitted_net": 3,
    "_input": 3,
    "_posterior": 4,
    "_model_card": 4,
    "_classification": 4,
    "_streaming": 4,
    "_regression": 4,
    "_balance": 3,
    "_label_balance": 3,
    "_double_correction": 1,
    "_export": 2,
    "_training_part": 3,
    "_trial": 3,
    "training/": 3,
    "losses/": 2,
    "samplers/": 2,
    "feature_smoothing": 2,
    "_target_scaling": 2,
    "modules": 2,
    "targets": 2,
    "density/": 1,
    "priors/": 1,
    "weights": 1,
    "_dataset_rows": 1,
    "_class_counts": 0,
    "_dataset_items": -1,
    "metrics/": 1,
    "datasets": 1,
    "_names": 0,
    "_numerics": 0,
    "_shapes": 0,
    "_seed": 0,
    "_shared": 0,
    "_sklearn": 0,
    "_params": 0,
    "_probabilities": 0,
    "_safe_file/": 1,
    "_versions": 1,
    "_version": 0,
    "exceptions": 0,
}
LAZY = {"matplotlib", "pandas", "polars", "imblearn", "pyarrow"} | {
    "onnx",
    "onnxscript",
    "onnxruntime",
}
# Names whose signature scikit-learn or joblib prescribes, **kwargs included
PRESCRIBED = {"configure", "set_params"}
MAX_LINES = 400


def unit_of(path):
    """Name in LAYERS of the file ``path``."""
    return path.split("/")[0] + "/" if "/" in path else path.removesuffix(".py")


def imports_of(source):
    """Yield ``(line, module, name or None, level, runs_on_import)`` for each imported name."""

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

    yield from visit(ast.parse(source), True)


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


def known_layer(sources):
    return [
        f"{path}:1: belongs to no layer; give it one in LAYERS"
        for path in sources
        if unit_of(path) not in LAYERS
    ]


def downward_imports(sources):
    found = []
    for path, line, text, target in internal_imports(sources):
        if target is None:
            found.append(f"{path}:{line}: {text}: no such module")
            continue
        unit, target_unit = unit_of(path), unit_of(target)
        if unit == target_unit and unit.endswith("/"):
            continue
        layer, target_layer = LAYERS.get(unit, -1), LAYERS.get(target_unit, 99)
        if target_layer >= layer:
            found.append(f"{path}:{line}: {text}: layer {layer} imports layer {target_layer}")
    return found


def acyclic_folders(sources):
    edges = {path: {} for path in sources}
    found = []
    for path, line, text, target in internal_imports(sources):
        # `from imbtorch.losses import _base` inside losses/__init__.py reads _base.py only
        if target is None or unit_of(path) != unit_of(target):
            continue
        edges[path][target] = f"{path}:{line}: {text}"
        if path == "losses/_base.py":
            found.append(f"{path}:{line}: {text}: _base imports no sibling")

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

    for path, targets in edges.items():
        found += [f"{text}: a cycle" for target, text in targets.items() if reaches(target, path)]
    return found


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
        f"{path}:{line}: {statement(module, name)}: only _sklearn.py imports private names"
        for path, source in sources.items()
        for line, module, name, _, _ in imports_of(source)
        if module.split(".")[0] == "sklearn" and path != "_sklearn.py" and is_private(module, name)
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
        for function in public_functions(ast.parse(source), unit_of(path) == "training/"):
            for stars, arg in (("*", function.args.vararg), ("**", function.args.kwarg)):
                if arg is not None and function.name not in PRESCRIBED:
                    where = f"{path}:{function.lineno}: {function.name}({stars}{arg.arg})"
                    found.append(f"{where}: name the arguments")
    return found


def short_files(sources):
    return [
        f"{path}:{MAX_LINES + 1}: has {n_lines} lines, more than {MAX_LINES}"
        for path, source in sources.items()
        if (n_lines := len(source.splitlines())) > MAX_LINES
    ]


RULES = [
    known_layer,
    downward_imports,
    acyclic_folders,
    absolute_imports,
    skorch_only_in_training,
    private_sklearn_in_one_file,
    lazy_optional_packages,
    explicit_signatures,
    short_files,
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


CLEAN = {
    "__init__.py": "from imbtorch.classifier import Classifier\n__version__ = '0'",
    "_sklearn.py": "from sklearn.utils._param_validation import Interval\nimport sklearn._config",
    "weights.py": "from sklearn import __version__\n\ndef f(x):\n    import pandas as pd",
    "losses/__init__.py": "from imbtorch.losses import _base\nfrom imbtorch.losses._focal import *",
    "losses/_base.py": "from imbtorch._common.sklearn_private import Interval",
    "losses/_focal.py": "from imbtorch.losses._base import BaseLoss",
    "training/__init__.py": "",
    "training/net.py": "import skorch\nfrom imbtorch import losses, weights\n"
    "class Net(skorch.NeuralNet):\n    def train_step(self, batch, **fit_params): ...\n"
    "class Stop(skorch.callbacks.Callback):\n    def on_epoch_end(self, net, **kwargs): ...",
    "classifier.py": "from typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    import pandas as pd\n"
    "from imbtorch.training.net import Net\nclass Classifier:\n"
    "    def set_params(self, **params): ...\n    def fit(self, X):\n"
    "        def inner(*args): ...",
}

BROKEN = [
    (known_layer, "helpers.py", "", "helpers.py:1"),
    (known_layer, "extra/tool.py", "", "extra/tool.py:1"),
    (downward_imports, "weights.py", "x = 1\nimport imbtorch.losses._base", "weights.py:2"),
    (downward_imports, "weights.py", "from imbtorch import losses", "weights.py:1"),
    (downward_imports, "weights.py", "def f():\n    import imbtorch.classifier", "weights.py:2"),
    (downward_imports, "datasets.py", "from imbtorch.weights import f", "layer 1 imports layer 1"),
    (downward_imports, "classifier.py", "from imbtorch import __version__", "imports layer 8"),
    (downward_imports, "targets.py", "import imbtorch.losses", "layer 2 imports layer 2"),
    (downward_imports, "classifier.py", "from imbtorch.nowhere import f", "no such module"),
    (acyclic_folders, "losses/_base.py", "import imbtorch.losses._focal", "imports no sibling"),
    (acyclic_folders, "losses/_base.py", "from imbtorch.losses._focal import f", "a cycle"),
    (acyclic_folders, "losses/_focal.py", "from imbtorch.losses import get_loss", "a cycle"),
    (absolute_imports, "losses/_focal.py", "from . import _base", "from . import _base"),
    (absolute_imports, "losses/_focal.py", "\nfrom ..weights import f", "losses/_focal.py:2"),
    (skorch_only_in_training, "_estimator.py", "from skorch.utils import f", "_estimator.py:1"),
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
    (short_files, "weights.py", "x = 1\n" * 401, "401 lines"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_accepts_clean_source(rule):
    assert rule(CLEAN) == []


@pytest.mark.parametrize(("rule", "path", "source", "expected"), BROKEN)
def test_rule_bites(rule, path, source, expected):
    violations = rule({**CLEAN, path: source})
    assert any(expected in line for line in violations), violations


def test_every_rule_has_a_source_that_breaks_it():
    assert {rule for rule, *_ in BROKEN} == set(RULES)
