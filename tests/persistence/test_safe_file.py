"""The layer below: tensors and a document in one file, all or nothing."""

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from imbtorch import FileFormatError
from imbtorch._safe_file import _reading, _writing, read_file, write_file
from imbtorch._safe_file._header import DTYPES
from tests.limits import PROCESS_SECONDS

SHAPES = [torch.Size(shape) for shape in [(), (0,), (3,), (3, 4), (0, 2**40), (2, 1, 3)]]
TENSORS = {
    f"{name}.{i}": (torch.arange(12) % 3).to(dtype)[: shape.numel()].reshape(shape)
    for name, dtype in DTYPES.items()
    for i, shape in enumerate(SHAPES)
}
DOCUMENT = {"a": [1, 2.5, None, True, 'é " \\ \n'], "b": {"c": {}}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def read(path, **how):
    with read_file(path) as file:
        return file.tensors(**how)


def as_bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


def test_every_dtype_and_shape(path):
    write_file(path, DOCUMENT, TENSORS)
    with read_file(path) as file:
        assert file.document == DOCUMENT
        assert file.layout == {n: (t.dtype, tuple(t.shape)) for n, t in TENSORS.items()}
        tensors = file.tensors(finite=True)
        assert tensors.keys() == file.tensors().keys()  # once more
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert tensors[name].shape == tensor.shape
        assert as_bytes(tensors[name]) == as_bytes(tensor)
        assert tensors[name].untyped_storage().nbytes() == tensor.nbytes


def test_other_readers_of_safetensors_understand_it(path):
    write_file(path, DOCUMENT, TENSORS)
    for name, tensor in load_file(path).items():
        assert as_bytes(tensor) == as_bytes(TENSORS[name])
    with safe_open(path, "pt") as file:
        assert set(file.metadata()) == {"imbtorch", "sha256"}


def test_tensors_that_lie_in_memory_in_some_other_way(path):
    whole = torch.arange(24.0).reshape(4, 6).requires_grad_()
    odd = {
        "turned": whole.T,
        "every second": whole[:, ::2],
        "expanded": torch.ones(1).expand(5),
        "conjugated": torch.tensor([1 + 2j, 3j]).conj(),
        "part": whole[1],
        "parameter": torch.nn.Parameter(whole.detach()),
    }
    write_file(path, {}, odd)
    for name, tensor in read(path).items():
        assert torch.equal(tensor, odd[name])
        assert not tensor.requires_grad
        assert tensor.is_contiguous()


def test_nothing_at_all(path):
    write_file(path, {}, {})
    with read_file(path) as file:
        assert (file.document, file.layout, file.tensors()) == ({}, {}, {})


def test_read_into_memory_that_is_there(path):
    write_file(path, {}, {"a": torch.ones(3), "b": torch.ones(2)})
    here = torch.zeros(3)
    tensors = read(path, into={"a": here})
    assert tensors["a"].data_ptr() == here.data_ptr()
    assert here.tolist() == [1, 1, 1]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["F64", "F32", "F16", "BF16", "F8_E5M2", "C64"])
def test_floats_may_have_to_be_finite(name, value, path):
    write_file(path, {}, {"a": torch.tensor([1.0, value, 2.0]).to(DTYPES[name])})
    read(path)
    with pytest.raises(FileFormatError, match="'a' has values that are not finite"):
        read(path, finite=True)


@pytest.mark.parametrize(
    ("document", "tensors", "message"),
    [
        ({"a": float("nan")}, {}, "not JSON"),
        ({"a": float("inf")}, {}, "not JSON"),
        ({1: 2}, {}, "string keys"),
        ({"a": {1: 2}}, {}, "string keys"),
        ({"a": (1, 2)}, {}, "lists instead of tuples"),
        ({"a": {1, 2}}, {}, "not JSON"),
        ({"a": "\ud800"}, {}, "not JSON"),
        ({"format": 1}, {}, "format"),
        ({"a": "b" * 2**20}, {}, "more than 1048576"),
        ({"a": [[]] * 100_001}, {}, "lists and objects"),
        ({}, {"a": torch.zeros(1, dtype=torch.complex128)}, "complex128"),
        ({}, {"__metadata__": torch.zeros(1)}, "__metadata__"),
        ({}, {str(i): torch.zeros(0) for i in range(10_001)}, "10001 tensors"),
        ({}, {"a" * 8 * 2**20: torch.zeros(1)}, "header"),
    ],
    ids=range(14),
)
def test_what_cannot_be_written(document, tensors, message, path):
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=message):
        write_file(path, document, tensors)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_as_many_tensors_as_there_may_be(path):
    write_file(path, {}, {str(i): torch.zeros(()) for i in range(10_000)})
    assert len(read(path)) == 10_000


# -- all or nothing --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_full_disk_leaves_the_old_file_and_no_other(step, path, monkeypatch):
    write_file(path, {"version": 1}, TENSORS)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "fsync":
        monkeypatch.setattr(_writing.os, "fsync", full)
    elif step == "replace":
        monkeypatch.setattr(Path, "replace", full)
    else:
        monkeypatch.setattr(_writing, "_bytes_of", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(path, {"version": 2}, TENSORS)
    assert os.listdir(path.parent) == [path.name]
    with read_file(path) as file:
        assert file.document == {"version": 1}


def test_disk_that_fills_up_while_writing(path):
    write_file(path, {"version": 1}, {"a": torch.zeros(10)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_file(path, {"version": 2}, {"a": torch.zeros(2**20)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(path.parent) == [path.name]
    with read_file(path) as file:
        assert file.document == {"version": 1}


def test_interruption_leaves_the_old_file(path, monkeypatch):
    write_file(path, {"version": 1}, {})

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_writing.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(path, {"version": 2}, TENSORS)
    assert os.listdir(path.parent) == [path.name]


KILLED = """
import os, signal, sys
import torch
from imbtorch._safe_file import _writing, read_file, write_file

TOUCH_THE_DISK = ("write_file", "_replacing", "_sync_folder")
path = sys.argv[1]
tensors = {"a": torch.arange(1000.0), "b": torch.zeros(3)}


def kill_at(line):
    left = line

    def trace(frame, event, arg):
        nonlocal left
        code = frame.f_code
        if code.co_filename != _writing.__file__ or code.co_name not in TOUCH_THE_DISK:
            return None
        left -= event == "line"
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


write_file(path, {"version": 0}, tensors)
version, line, found = 0, 0, []
while True:
    line += 1
    child = os.fork()
    if child == 0:
        sys.settrace(kill_at(line))
        write_file(path, {"version": version + 1}, tensors)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    with read_file(path) as file:
        now = file.document["version"]
        assert now in (version, version + 1), (line, now)
        assert torch.equal(file.tensors()["a"], tensors["a"])
    found.append(now - version)
    version = now
    if os.WIFEXITED(status):
        break
print(found.count(0), found.count(1))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_any_line_leaves_the_old_file_or_the_new_one(path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    old, new = map(int, done.stdout.split())
    assert old > 10  # killed before the file had its name
    assert new > 3  # and after


def test_rights_and_links(path, tmp_path):
    write_file(path, {}, {})
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    link = tmp_path / "link"
    link.symlink_to(path)
    write_file(link, {"a": 1}, {})
    assert link.is_symlink()
    with read_file(path) as file:
        assert file.document == {"a": 1}


def test_a_file_that_shrinks_while_it_is_read(path):
    write_file(path, {}, {"a": torch.zeros(1000)})
    with read_file(path) as file:
        os.truncate(path, path.stat().st_size - 1)
        with pytest.raises(FileFormatError, match="too early"):
            file.tensors()


def test_a_pipe_that_takes_the_place_of_the_file(path, monkeypatch):
    """Between the look and the opening; reading must not wait for a writer."""
    os.mkfifo(path)
    looked = []

    def look(status, name):
        looked.append(name)
        if len(looked) > 1:
            check(status, name)

    check = _reading._check_regular
    monkeypatch.setattr(_reading, "_check_regular", look)
    with pytest.raises(FileFormatError, match="not a regular file"):
        read_file(path)
    assert len(looked) == 2


def test_no_handle_stays_open(path):
    def handles():
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    before = handles()
    write_file(path, {}, TENSORS)
    read(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileFormatError):
        read_file(path)
    assert handles() == before


def test_empty_tensors_of_numpy(path):
    """Torch cannot view them as bytes, because their stride is 0."""
    empty = {
        "vector": torch.from_numpy(np.zeros(0, dtype=np.int64)),
        "matrix": torch.from_numpy(np.zeros((3, 0))),
    }
    write_file(path, {}, empty)
    with read_file(path) as file:
        read = file.tensors(into=empty)
    assert {name: tuple(value.shape) for name, value in read.items()} == {
        "vector": (0,), "matrix": (3, 0),
    }  # fmt: skip
