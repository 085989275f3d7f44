"""Files made by an enemy, or damaged: refused at once, with one kind of error, and no code run."""

import ast
import json
import os
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

import imbtorch
from imbtorch import MLP, FileFormatError, load
from tests.limits import PROCESS_SECONDS
from tests.persistence import hostile
from tests.toy import small, table

X, Y = table(80)
PACKAGE = Path(imbtorch.__file__).parent
OTHERS = {"good", "unpickled", "greedy"}
HARMLESS = {"90 000 dicts", "keys of one hash, in 64 bits"}  # parameters of any value
STARVED = ("memoryerror", "alloc", "than there is")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "net"
    small(max_epochs=1, features=None).fit(X, Y).save(path)
    return path.read_bytes()


def test_pieces_of_a_good_file_make_a_good_file(good, tmp_path):
    (tmp_path / "net").write_bytes(hostile.File(good).bytes())
    file = hostile.File(good)
    file.rebuild(lambda tensors: None)
    (tmp_path / "rebuilt").write_bytes(file.bytes())
    for name in ("net", "rebuilt"):
        assert load(tmp_path / name).predict_proba(X).shape == (80, 2)


@pytest.fixture(scope="module")
def watched(good, tmp_path_factory):
    """What happened to each hostile file, in a process of its own."""
    folder = tmp_path_factory.mktemp("hostile")
    corpus = hostile.corpus(good)
    assert len(corpus) >= 60
    for name, blob in {"good": good, **corpus}.items():
        (folder / name).write_bytes(blob)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("watch_loads.py")), str(folder)],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACKAGE.parent)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(corpus) + 3
    return {name: what for name, *what in lines}


def test_hostile_files_are_refused(watched):
    wrong = {
        name: result
        for name, (result, *_) in watched.items()
        if not result.startswith("FileFormatError: ") and name not in OTHERS | HARMLESS
    }
    assert not wrong
    assert {watched[name][0] for name in ("good", *HARMLESS)} == {"loaded"}


def test_hostile_files_run_nothing_and_open_nothing_else(watched):
    seen = {name: events for name, (*_, events) in watched.items() if events}
    assert seen.keys() == {"unpickled"}


def test_hostile_files_cost_little(watched):
    slow = {name: seconds for name, (_, seconds, _) in watched.items() if seconds >= 2}
    assert not slow
    errors = {name: what[0].lower() for name, what in watched.items() if name not in OTHERS}
    starved = [name for name, error in errors.items() if any(word in error for word in STARVED)]
    assert not starved  # the limit is 4 n + 64 MB


def test_messages_tell_what_to_do(watched):
    assert "upgrade" in watched["newer format"][0]
    assert "checksum" in watched["flipped byte in the data"][0]
    assert max(len(result) for result, *_ in watched.values()) < 1000


def test_no_escape_code_reaches_a_terminal(watched):
    shown = "".join(result for result, *_ in watched.values())
    assert "\x1b" not in shown
    assert "\x9b" not in shown


def test_versions_with_escape_codes_are_shown_as_text(good, tmp_path):
    file = hostile.File(good)
    file.document["versions"] = {"torch": "\x1b[31m"}
    (tmp_path / "net").write_bytes(file.bytes())
    with pytest.warns(UserWarning, match=r"torch \\x1b\[31m") as caught:
        load(tmp_path / "net")
    assert "\x1b" not in str(caught[0].message)


def test_the_watch_sees_code_and_memory(watched):
    events = [event for event, _ in watched["unpickled"][2]]
    assert {"pickle.find_class", "import", "open"} <= set(events)
    assert watched["greedy"][0].startswith("MemoryError")


# -- what is no file -------------------------------------------------------------------------------


def test_what_is_no_file(tmp_path):
    fifo, plug = tmp_path / "fifo", tmp_path / "socket"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(plug))
        for path in (tmp_path, fifo, plug, "/dev/zero", "/dev/null"):
            with pytest.raises(FileFormatError, match="not a regular file"):
                load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")
    with pytest.raises(TypeError):
        load(3)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", b"a\0b"])
def test_names_that_no_file_can_have(name):
    with pytest.raises(OSError, match="no file can have this name"):
        load(name)


@pytest.mark.parametrize("size", [2**28, 2**42])
def test_a_file_that_is_a_hole(good, tmp_path, size):
    """It claims far more bytes than are on the disk."""
    file = hostile.File(good)
    entries = {"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    file.data = b""
    with (tmp_path / "net").open("wb") as out:
        out.write(file.bytes(entries=hostile.compact(entries)))
        out.truncate(out.tell() + size)
    with pytest.raises(FileFormatError, match="not complete"):
        load(tmp_path / "net")


class Own(torch.nn.Sequential):
    def __init__(self, input_shape, n_outputs):
        super().__init__(torch.nn.Linear(*input_shape, 3), torch.nn.Linear(3, n_outputs))


class Numpy(Own):
    """A module that cannot be built on the meta device."""

    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.norm = float(self[0].weight.norm())


@pytest.mark.parametrize("module", [Own, Numpy])
@pytest.mark.parametrize(
    "net",
    [
        {"by_feature": ["code"]},
        {"by_feature": [[]]},
        {"by_feature": [3]},
        {"by_feature": ["0.bias", "0.bias"]},
        {"input_shape": [10**9]},
        {"input_shape": [2**20, 2**18]},
        {"n_outputs": 10**9},
        {"n_outputs": 2**39},
        {"input_shape": [6]},
        {"input_shape": []},
        {"frozen": [[]]},
        {"module": "\x1b[31m", "history": {"columns": []}},
    ],
    ids=str,
)
def test_files_for_a_module_of_the_user(tmp_path, module, net):
    small(module, max_epochs=1).fit(X, Y).save(tmp_path / "net")
    assert load(tmp_path / "net", module=module).predict(X).shape == (80,)
    file = hostile.File((tmp_path / "net").read_bytes())
    file.document["net"] |= net
    (tmp_path / "net").write_bytes(file.bytes())
    tracemalloc.start()
    with pytest.raises(ValueError, match="the file|the document|not valid") as raised:
        load(tmp_path / "net", module=module)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
    assert "\x1b" not in str(raised.value)


def test_save_refuses_what_load_would_refuse(tmp_path):
    clf = small(max_epochs=1).fit(X, Y)
    clf.history_.extend([clf.history_[0]] * 500_000)
    with pytest.raises(ValueError, match="history_ has 500001 records.*del estimator.history_"):
        clf.save(tmp_path / "net")
    del clf.history_[:-50_000]
    clf.save(tmp_path / "net")
    assert len(load(tmp_path / "net").history_) == 50_000


def test_save_replaces_nothing_but_files(tmp_path):
    clf = small(max_epochs=1).fit(X, Y)
    for path in (tmp_path, "/dev/null"):
        with pytest.raises(ValueError, match="not a regular file; choose another name"):
            clf.save(path)
    with pytest.raises(FileNotFoundError):
        clf.save(tmp_path / "nowhere" / "net")


# -- damage ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "net"
    small(MLP((2,)), max_epochs=1).fit(X, np.array(["no", "yes"])[Y]).save(path)
    return path.read_bytes()


def content(path):
    """All that a loaded estimator consists of, for comparison."""
    clf = load(path)
    tensors = {**clf.module_.state_dict(), **clf.loss_.state_dict()}
    arrays = {k: v.tolist() for k, v in vars(clf).items() if isinstance(v, np.ndarray)}
    numbers = {name: value.tolist() for name, value in tensors.items()}
    return repr((numbers, arrays, clf.get_params(), clf.history_[:], clf.net_.batch_size))


def test_flipped_bytes_and_cuts(tiny, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "net"
    path.write_bytes(tiny)
    expected = content(path)
    loaded = 0
    for i in range(2000):
        blob = bytearray(tiny)
        if i % 4 == 0:
            blob = blob[: rng.integers(len(blob))]
        else:
            for place in rng.integers(len(blob), size=rng.integers(1, 4)):
                blob[place] ^= 1 << rng.integers(8) if i % 2 else rng.integers(1, 256)
        path.write_bytes(blob)
        try:
            found = content(path)
        except FileFormatError:
            continue
        assert found == expected, i
        loaded += 1
    assert loaded < 100


def test_every_byte_of_the_header(tiny, tmp_path):
    """One flip in each byte: only blanks may change, into other blanks."""
    path = tmp_path / "net"
    length = int.from_bytes(tiny[:8], "little")
    for place in range(0, 8 + length, 11):
        blob = bytearray(tiny)
        blob[place] ^= 0x10
        path.write_bytes(blob)
        with pytest.raises(FileFormatError):
            load(path)


# -- the source ------------------------------------------------------------------------------------

FORBIDDEN_MODULES = {
    "cloudpickle", "code", "ctypes", "dill", "importlib", "joblib", "marshal", "pickle", "pkgutil",
    "runpy", "shelve", "skops", "socket", "subprocess", "urllib", "zipfile",
}  # fmt: skip
FORBIDDEN_CALLS = {
    "__import__",
    "compile",
    "eval",
    "exec",
    "torch.load",
    "np.load",
    "torch.jit.load",
}


def violations(source):
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        found += [name for name in names if name.split(".")[0] in FORBIDDEN_MODULES]
        if isinstance(node, ast.Call) and ast.unparse(node.func) in FORBIDDEN_CALLS:
            found.append(ast.unparse(node.func))
    return found


def test_no_code_on_the_way_of_a_file():
    paths = [PACKAGE / "persistence.py", *(PACKAGE / "_safe_file").glob("*.py")]
    paths += (PACKAGE / "_publish" / "model_file").glob("*.py")
    assert len(paths) > 9
    assert not {path.name: v for path in paths if (v := violations(path.read_text("utf-8")))}


@pytest.mark.parametrize(
    "source", ["import pickle", "from importlib import import_module", "eval('1')", "torch.load(f)"]
)
def test_the_rule_bites(source):
    assert violations(source)


def test_loading_does_not_need_torch_load(good, tmp_path, monkeypatch):
    (tmp_path / "net").write_bytes(good)
    monkeypatch.delattr(torch, "load")
    load(tmp_path / "net")
