"""Values of good files are rewritten at random, and the checksum is made right again.

``IMBTORCH_FUZZ=5000`` reads so many files, and two fifths as many checkpoints.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.persistence import fuzz

ROOT = Path(__file__).parents[2]
N_FILES = int(os.environ.get("IMBTORCH_FUZZ", "400"))
DOCUMENTED = (
    "loaded",
    "FileFormatError: ",
    "ValueError: module=Net does not fit the weights",
    "ValueError: module=Kept does not fit the weights",
)
# of a training whose numbers were changed into other valid ones
OF_TRAININGS = (
    *DOCUMENTED,
    "DivergenceError: ",
    "ValueError: The checkpoint in ",  # it is of another training
)


def outcomes(kind, folder, n_cases):
    """Read the cases in processes of their own; a process that died is followed by another."""
    found, number = {}, 0
    while number < n_cases:
        arguments = [kind, folder, str(number), str(n_cases)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.persistence.fuzz", *arguments],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=3000,
            capture_output=True, text=True,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if not lines:
            raise AssertionError(done.stderr[-3000:])
        found |= {line[0]: line[1:] for line in lines if len(line) > 2}
        if done.returncode:
            last = lines[-1]
            found[last[0]] = [last[1], f"died: {done.returncode}", 0.0, []]
        number = lines[-1][0] + 1
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_rewritten_values(kind, tmp_path):
    fuzz.build(tmp_path)
    n_cases = N_FILES if kind == "model" else N_FILES * 2 // 5
    found = outcomes(kind, str(tmp_path), n_cases)
    documented = DOCUMENTED if kind == "model" else OF_TRAININGS
    wrong = {number: what for number, what in found.items() if not what[1].startswith(documented)}
    assert not wrong
    assert len(found) == n_cases
    slow = {number: what for number, what in found.items() if what[2] >= 2}
    assert not slow
    memory = [what for what in found.values() if "MemoryError" in what[1] or "alloc" in what[1]]
    assert not memory  # the limit is 4 n + 64 MB
    shown = "".join(what[1] + "".join(what[3]) for what in found.values())
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert sum(what[1] == "loaded" for what in found.values()) < n_cases / 2
