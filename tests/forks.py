"""Scripts that run in processes of their own, forked from one that has imported torch already."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.limits import END_SECONDS

ROOT = Path(__file__).resolve().parents[1]  # so that scripts can import tests
SERVER = """
import json, os, sys, traceback
import scipy.sparse, sklearn.metrics, imbtorch

def run(script, folder):
    for number, name in (1, "output"), (2, "errors"):
        os.dup2(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT), number)
    code = 0
    try:
        exec(script, {"__name__": "__main__"})
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(*json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """A process that runs each script in a child, which has its own memory and its own peak."""

    def __enter__(self):
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        return self

    def __exit__(self, *error):
        self.server.stdin.close()  # which ends its loop
        try:
            self.server.wait(END_SECONDS)
        except subprocess.TimeoutExpired:  # a script hangs: end it, and whatever it started
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait(END_SECONDS)
        self.server.stdout.close()

    def run(self, script):
        """Run a script, and return what it prints; fail if it fails."""
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps([script, folder]), file=self.server.stdin, flush=True)
            code = self.server.stdout.readline().strip()
            assert code == "0", f"{code}: {Path(folder, 'errors').read_text()}"
            return Path(folder, "output").read_text()
