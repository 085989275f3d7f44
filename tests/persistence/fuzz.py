"""Rewrite values of good files, recompute the checksum, and read what came out.

Run as a program: ``python -m tests.persistence.fuzz model|checkpoint FOLDER FIRST STOP`` reads the
cases with these numbers, and prints a line of JSON before and after each one, so that the parent
knows which case ended the process.
"""

import contextlib
import copy
import functools
import json
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

import imbtorch
from imbtorch import MLP, ImbalancedNetRegressor, NetEnsembleClassifier, NetEnsembleRegressor
from imbtorch.features import TableFeatures
from imbtorch.model_selection import TunedDecisionClassifierCV
from tests.features.tables import rare_buyers
from tests.persistence import hostile, watch_loads
from tests.toy import small, table
from tests.training.resume import cut_short

X, Y = table(60)
VALUES = [
    None, True, False, 0, 1, -1, 2, 7, 255, 2**31, 2**40, 2**53, 2**61 - 1, 2**63, 10**30, 0.5,
    -0.5, 1e-320, 1e30, 1e308, "", "a", "\x1b[31mred", "\u009b31m", "ä" * 50, "\U0001f600", [], {},
    [0], [[0]], ["a"], {"a": 1}, {"": []}, {"float": "nan"}, {"float": "inf"}, {"tensor": "0"},
    {"array": "0"}, {"dict": [[0, 0]]}, {"dict": [[[], 0]]}, {"tuple": [1]},
    {"table": {"dict": []}},
    {"$tuple": []}, {"$dict": [[0, 1]]}, {"$dict": [[[], 1]]}, {"$array": "value.0"},
    {"$tensor": "value.0"}, {"$float": "nan"}, {"$scalar": ["float32", 1]},
    {"$scalar": ["int8", 300]}, {"$scalar": ["longdouble", 1]}, {"$texts": [1, [1], ["a"]]},
    {"$texts": [2**22, [1], ["a"]]}, {"$texts": ["object", [0, 2**40], []]}, {"$device": "cuda:9"},
    {"$class": ["loss", "focal"]}, {"$object": ["loss", "focal", {}]},
    {"$object": ["module", "mlp", {}]}, {"$estimator": {}}, {"$caller": "a.B"}, {"scalar": "0"},
    {"$fitted": 0}, {"$class": ["features", "table"]}, {"$object": ["features", "table", {}]},
    {"module.centre": True}, {"module._extra_state": {"steps": 1}}, {"loss._extra_state": 1},
]  # fmt: skip
NUMBERS = [0, 1, -1, np.nan, np.inf, -np.inf, 1e-40, 3e38, 127, 2**31 - 1]
SIZES = [0, 1, 2, 3, 7, 8, 16]
TYPES = {"BOOL": 1, "U8": 1, "I8": 1, "F16": 2, "I32": 4, "F32": 4, "I64": 8, "F64": 8, "C64": 8}
CODES = {"U8": "u1", "I8": "i1", "F16": "f2", "I32": "i4", "F32": "f4", "I64": "i8", "F64": "f8"}


class Net(nn.Sequential):
    """A module of the user's own."""

    def __init__(self, input_shape, n_outputs):
        super().__init__(nn.Linear(input_shape[0], 6), nn.BatchNorm1d(6), nn.Linear(6, n_outputs))


class Kept(nn.Module):
    """A module of the user's own with buffers and numbers outside of the tensors of its state."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.out = nn.Linear(input_shape[0], n_outputs)
        self.register_buffer("centre", torch.zeros(input_shape[0]), persistent=False)
        self.register_buffer("cache", torch.zeros(1), persistent=False)
        self.register_buffer("late", None, persistent=False)
        self.steps, self.mean, self.seen = 0, torch.zeros(n_outputs), []

    def forward(self, x):
        if self.training:
            self.steps += 1
            self.centre.lerp_(x.detach().mean(0), 0.1)
            self.cache = torch.ones(1 + self.steps % 5).to(self.centre)
            self.late = self.centre.sum()
            self.seen = [*self.seen[-3:], (self.steps, np.float32(self.late))]
        late = 0.0 if self.late is None else self.late.sum()
        factor = 1 + 0.01 * min(self.steps, 100) + self.cache.sum()
        return factor * self.out(x - self.centre) + self.mean + late

    def get_extra_state(self):
        return {"steps": self.steps, "mean": self.mean, "seen": self.seen, "$": {0: None}}

    def set_extra_state(self, state):
        steps, mean, seen = state["steps"], state["mean"], state["seen"]
        if type(steps) is not int or not 0 <= steps < 2**53 or not isinstance(seen, list):
            raise TypeError("these are no steps")
        if not isinstance(mean, torch.Tensor) or mean.dtype != self.mean.dtype:
            raise TypeError("this is no mean")
        self.steps, self.seen = steps, seen
        self.mean = mean.reshape(self.mean.shape).clone()


OWN = {"own": Net, "kept": Kept, "embedded": Net}
TABLES = ("table", "bins", "periodic", "stopped", "embedded", "costs")


def frame():
    """Return a table with gaps, few and many categories, booleans and numbers, and its labels."""
    rows, y = rare_buyers(80, n_towns=40)
    return rows.assign(grade=pd.Categorical(rows["visits"].fillna(0).astype(int))), y


FRAME, BOUGHT = frame()


def build(folder):
    """Write the good files into a folder: ``model-*``, and the folders ``checkpoint-*``."""
    words = np.array(["no", "yes"])[Y]
    labels = np.stack([Y, X[:, 0] > 0], axis=1).astype(int)
    one = small(MLP((4,)), max_epochs=1)
    fitted = {
        "classes": small(loss="focal", class_weight="balanced").fit(X, words),
        "own": small(Net, max_epochs=20).fit(X, Y),
        "kept": small(Kept, max_epochs=20).fit(X, Y),
        "labels": small(loss="bce").fit(X, labels),
        "values": ImbalancedNetRegressor(MLP((4,)), max_epochs=1, random_state=0).fit(X, X[:, 0]),
        "ensemble": NetEnsembleClassifier(one, 3, random_state=0).fit(X, Y),
        "folds": NetEnsembleClassifier(one, 2, subset="folds", random_state=0).fit(X, words),
        "folds of labels": NetEnsembleClassifier(
            small(MLP((4,)), max_epochs=1, loss="bce"), 2, subset="folds", random_state=0
        ).fit(X, labels),
        "folds of values": NetEnsembleRegressor(
            ImbalancedNetRegressor(MLP((4,)), max_epochs=1), 2, subset="folds", random_state=0
        ).fit(X, X[:, :2]),
        "table": small(features=TableFeatures(scaling="quantile")).fit(FRAME, BOUGHT),
        "bins": small(features=TableFeatures(numeric_embedding="piecewise_linear", n_bins=3)).fit(
            FRAME, BOUGHT
        ),
        "periodic": small(features=TableFeatures(numeric_embedding="periodic")).fit(FRAME, BOUGHT),
        "embedded": small(Net, features="table").fit(FRAME, BOUGHT),
        "stopped": NetEnsembleClassifier(
            small(early_stopping=True), 2, subset="all", random_state=0
        ).fit(FRAME, BOUGHT),
        "costs": TunedDecisionClassifierCV(  # calibrated, because this loss has no posterior
            small(loss="hinge"), cost_matrix=[[0, 1], [5, 0]], cv=2
        ).fit(FRAME, BOUGHT),
    }
    for name, estimator in fitted.items():
        imbtorch.save(estimator, folder / f"model-{name}")
    for name in TRAININGS:
        clf = training(name, folder / f"checkpoint-{name}")
        cut_short(lambda clf=clf: clf.fit(X, Y), 2)


TRAININGS = {
    "adam": {},
    "sgd": {"optimizer": functools.partial(torch.optim.SGD, momentum=0.9), "averaging": "swa"},
    "stopping": {"early_stopping": True, "averaging": "ema", "module": Net},
    "kept": {"module": Kept, "early_stopping": True},
    "memory": {"loss": "smooth_ap", "loss_schedule": {"temperature": lambda t: 0.1 + t}},
}


def training(name, folder):
    """Return the classifier of a training; its checkpoint is in ``folder``."""
    return small(**{"checkpoint": folder, "max_epochs": 4, "batch_size": 16, **TRAININGS[name]})


# -- changes -----------------------------------------------------------------------------------


def places(value, found):
    """List all containers of a document, each with one of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        found.append((value, key))
        if isinstance(item, dict | list):
            places(item, found)
    return found


def rewrite_text(document, rng):
    """Change a few values of a JSON document."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        found = places(document, [])
        if not found:
            return
        inner, key = rng.choice(found)
        action = rng.random()
        if action < 0.6:
            inner[key] = copy.deepcopy(rng.choice(VALUES))
        elif action < 0.7:
            other, place = rng.choice(found)
            inner[key] = copy.deepcopy(other[place])
        elif action < 0.8:
            del inner[key]
        elif isinstance(inner, dict):
            inner[rng.choice(["a", "$tuple", "lr", "\x1b[2J", "weight"])] = inner.pop(key)
        else:
            inner[:] = inner * rng.choice([2, 300])


def rewrite_tensors(file, rng):
    """Change numbers, dtype, shape or name of one tensor, and lay out all of them anew."""
    parts = {name: [e["dtype"], e["shape"], file.data[file.place(name)]] for name, e in
             file.entries.items()}  # fmt: skip
    name = rng.choice(list(parts))
    dtype, shape, data = parts[name]
    action = rng.random()
    if action < 0.3 and dtype in CODES and len(data):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = np.frombuffer(data, CODES[dtype]).copy()
            values[rng.randrange(len(values))] = np.array(rng.choice(NUMBERS)).astype(CODES[dtype])
        parts[name][2] = values.tobytes()
    elif action < 0.4:
        parts[name][2] = rng.randbytes(len(data))
    elif action < 0.5:
        del parts[name]
    elif action < 0.6:
        parts[rng.choice(["a", "value.99", "module.0.weight", "\x1b[31m", "0"])] = parts.pop(name)
    else:
        if action < 0.8:
            dtype = rng.choice(list(TYPES))
        if action > 0.7:
            shape = [rng.choice(SIZES) for _ in range(rng.randrange(4))]
            shape = [2**40, 0] if rng.random() < 0.1 else shape
        need = int(np.prod(shape, dtype=object)) * TYPES.get(dtype, 8)
        parts[name] = [dtype, shape, (data * (need // max(len(data), 1) + 1) + bytes(need))[:need]]
    file.entries, file.data = {}, b""
    for name, (dtype, shape, data) in parts.items():
        offsets = [len(file.data), len(file.data) + len(data)]
        file.entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        file.data += data


def changed(blob, rng):
    """Return the bytes of a changed file, with a valid checksum."""
    file = hostile.File(blob)
    kind = rng.random()
    if "structure" in file.entries and kind < 0.6:  # the state of a checkpoint
        place = file.place("structure")
        text = json.loads(file.data[place])
        rewrite_text(text, rng)
        raw = json.dumps(text).encode()
        file.data = file.data[: place.start] + raw + file.data[place.stop :]
        assert place.stop == file.entries["structure"]["data_offsets"][1]
        file.entries["structure"] |= {
            "shape": [len(raw)], "data_offsets": [place.start, place.start + len(raw)],
        }  # fmt: skip
        shift = len(raw) - (place.stop - place.start)
        for name, entry in file.entries.items():
            begin, stop = entry["data_offsets"]
            if name != "structure" and begin >= place.stop:
                entry["data_offsets"] = [begin + shift, stop + shift]
    elif kind < 0.65 and "structure" not in file.entries or kind < 0.62:
        rewrite_text(file.document, rng)
    else:
        rewrite_tensors(file, rng)
    return file.bytes()


# -- the program -------------------------------------------------------------------------------


def read_model(path, name):
    """Load a model, and predict with it if it loads: a table must not be read beyond its end."""
    loaded = imbtorch.load(path, module=OWN.get(name))
    loaded.n_features_in_  # noqa: B018
    if name in TABLES:
        with contextlib.suppress(ValueError):  # another column is text, or an output is NaN
            loaded.predict(FRAME)


def resume(path, name):
    """Continue the training in the folder of a checkpoint."""
    training(name, path.parent).fit(X, Y, resume=True)


def main(kind, folder, first, stop):
    torch.set_num_threads(1)
    goods = sorted(p for p in folder.glob(f"{kind}-*") if not p.name.endswith(".tmp"))
    work = folder / f"work-{kind}"
    work.mkdir(exist_ok=True)
    path = work / "checkpoint.safetensors"
    act = read_model if kind == "model" else resume
    blobs = {}
    for good in goods:
        file = good if good.is_file() else good / "checkpoint.safetensors"
        blobs[good.name.removeprefix(f"{kind}-")] = file.read_bytes()
    for name, blob in blobs.items():  # what torch does at the first time is not counted
        path.write_bytes(blob)
        act(path, name)
    names = list(blobs)
    for number in range(first, stop):
        rng = random.Random(number)
        name = names[number % len(names)]
        path.write_bytes(changed(blobs[name], rng))
        print(json.dumps([number, name]), flush=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result, seconds, _ = watch_loads.attempt(path, lambda p, n=name: act(p, n))
        texts = [str(warning.message) for warning in caught]
        print(json.dumps([number, name, result, seconds, texts]), flush=True)


if __name__ == "__main__":
    from tests.persistence import fuzz  # Net must have the name that it had in the parent

    fuzz.main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
