"""Load the files of a folder under a memory limit and an audit hook; print what happened.

Run as a program: ``python watch_loads.py folder``. The folder holds ``good`` and hostile files.
"""

import json
import pickle
import resource
import sys
import time
from pathlib import Path

import imbtorch

WATCHED = (
    "import",
    "open",
    "exec",
    "compile",
    "socket.",
    "subprocess.",
    "pickle.",
    "os.",
    "ctypes.",
)
HARMLESS = ("os.fwalk",)
CODE = b"ctabnanny\nverbose\n."  # names a module that nobody has imported
events = []
recording = False


def hook(event, args):
    if recording and event.startswith(WATCHED):
        events.append((event, str(args[0]) if args else ""))


def address_space():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def attempt(path, load=imbtorch.load):
    """Load one file: error, seconds of computing, events."""
    global recording
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = address_space() + 4 * path.stat().st_size + 64 * 2**20
    events.clear()
    result = "loaded"
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    start = time.process_time()
    recording = True
    try:
        load(path)
    except BaseException as error:
        result = f"{type(error).__name__}: {str(error)[:2000]}"
    recording = False
    seconds = time.process_time() - start
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    seen = [event for event in events if event != ("open", str(path))]
    return result, seconds, seen


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    imbtorch.load(folder / "good")  # torch imports some of its own parts when they are first used
    sys.addaudithook(hook)
    for path in sorted(folder.iterdir()):
        print(json.dumps([path.name, *attempt(path)]), flush=True)
    # the watch itself must be able to see something
    print(json.dumps(["unpickled", *attempt(folder / "good", lambda path: pickle.loads(CODE))]))
    print(json.dumps(["greedy", *attempt(folder / "good", lambda path: bytes(80 * 2**20))]))
