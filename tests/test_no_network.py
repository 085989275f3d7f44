"""Importing, fitting, searching, saving and loading open no connection."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import PROCESS_SECONDS

ROOT = Path(__file__).resolve().parents[1]
BLOCKED = """
import socket
import sys
from pathlib import Path

tried = []

def refuse(*args, **kwargs):
    tried.append(args)
    raise OSError("no network here")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse

import imbtorch
from imbtorch.model_selection import StackedGridSearchCV
from tests.toy import small, table

X, y = table(120)
clf = small().fit(X, y)
path = Path(sys.argv[1]) / "model.safetensors"
clf.save(path)
imbtorch.load(path).predict(X)
StackedGridSearchCV(small(max_epochs=1), {"lr": [0.01, 0.1]}, cv=2).fit(X, y)
imbtorch.NetEnsembleClassifier(small(max_epochs=1), 2, random_state=0).fit(X, y)
try:  # the trap works
    socket.create_connection(("127.0.0.1", 9))
except OSError:
    print(len(tried))
"""


@pytest.mark.slow
def test_no_connection_is_tried(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(tmp_path)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=PROCESS_SECONDS, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["1"]  # the trap's own
