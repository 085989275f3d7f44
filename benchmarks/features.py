"""What packages can do for imbalanced data: each cell of the table is the result of a trial.

The script prints the table of docs/alternatives.md::

    python benchmarks/features.py
    python benchmarks/features.py --packages imbtorch skorch --features balanced unbiased

Each package runs in a process of its own, with a small net on small data; one that is not installed
is left out. ``yes``: it worked. ``partly``: it worked in part, or only with work of the user.
``no``: it failed, or there is no parameter for it. ``-``: the question does not apply to the
package. The reasons are printed below the table; those that begin with "read" were read in the
source code, and nothing was run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import signal
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np
import pandas as pd
from features_peers import PEERS
from features_ways import N_FEATURES, Answered, Array, Peer, Way
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import estimator_checks_generator
from torch import nn

Answer = tuple[str, str]  # yes, partly, no or -; and why
N_ROWS, RARE, TOLERANCE = 2000, 0.03, 0.07
CHECK_SECONDS, PEER_SECONDS = 60, 1200


def data() -> tuple[Array, Array]:
    """Draw two classes that a small net can separate."""
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.4).astype(np.int64)
    X = rng.normal(size=(400, N_FEATURES)).astype(np.float32)
    X[:, 0] += 4 * y
    return X, y


def noise(*shares: float) -> tuple[Array, Array]:
    """Draw classes of the given shares that no feature separates.

    All that a net can learn is how large the part of each class in the loss is: where the gradient
    of the last bias is 0, the weighted mean of the probabilities of a class is its share of the
    weights.
    """
    rng = np.random.default_rng(0)
    counts = (np.array(shares) * N_ROWS).round().astype(int)
    y = rng.permutation(np.repeat(np.arange(len(shares)), counts))
    return rng.normal(size=(len(y), N_FEATURES)).astype(np.float32), y


def probabilities(model: Any, X: Array) -> Array:
    """Return ``predict_proba``, or ``decision_function`` where there is no such method."""
    predict = getattr(model, "predict_proba", None) or model.decision_function
    return np.asarray(predict(X))


def share_of_last(way: Way, X: Array, y: Array, weight: Array | None = None, **fit: Any) -> float:
    """Fit, and return the weighted mean probability of the last class."""
    way.model.fit(X, y, **way.fit, **fit)
    return float(np.average(probabilities(way.model, X)[:, -1], weights=weight))


def found(way: Way, reason: str = "") -> Answer:
    """Answer yes; or partly, if the user has something to do."""
    return ("partly" if way.by_hand else "yes", "; ".join(filter(None, [way.by_hand, reason])))


def ask_search(peer: Peer) -> Answer:
    """Does ``GridSearchCV`` over a ``Pipeline`` find the better of two learning rates?"""
    way, (X, y) = peer.plain(), data()
    pipeline = Pipeline([("scale", StandardScaler()), ("net", way.model)])
    grid = {f"net__{name}": values for name, values in peer.grid.items()}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise")
    search.fit(X, y, **{f"net__{name}": value for name, value in way.fit.items()})
    poor, good = search.cv_results_["mean_test_score"]
    if not good > poor:
        return "no", f"accuracy {poor:.2f} and {good:.2f}: the parameter does not act"
    lost = lost_by_clone(peer.for_checks().model)
    return ("partly", f"clone loses {lost}") if lost else ("yes", "")


def lost_by_clone(model: Any) -> str:
    """Return the names of the parameters that a clone does not have."""
    copied = clone(model).get_params(deep=False)
    kept = {name for name, value in copied.items() if value is not None}
    set_ = {name for name, value in model.get_params(deep=False).items() if value is not None}
    return ", ".join(sorted(set_ - kept))


def ask_checks(peer: Peer) -> Answer:
    """How many of scikit-learn's common checks pass?"""
    way, failed, passed = peer.for_checks(), [], 0
    for estimator, check in estimator_checks_generator(way.model, legacy=True):
        name = check.func.__name__ if hasattr(check, "func") else check.__name__
        try:
            with time_limit(CHECK_SECONDS):
                check(estimator)
        except (SkipTest, SkipTestWarning):
            continue
        except Exception:  # code of other packages can raise anything
            failed.append(name)
        else:
            passed += 1
    print("failed:", *failed, file=sys.stderr)
    return f"{passed}/{passed + len(failed)}", way.by_hand


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after some seconds, where the system has alarms."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds} s")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def ask_strings(peer: Peer) -> Answer:
    """Does it take strings as labels, and return them?"""
    way, (X, y) = peer.plain(), data()
    labels = np.array(["common", "rare"])[y]
    predicted = way.model.fit(X, labels, **way.fit).predict(X)
    accuracy = float((np.asarray(predicted).ravel() == labels).mean())
    return ("yes", "") if accuracy > 0.8 else ("no", f"accuracy {accuracy:.2f}")


def ask_float64(peer: Peer) -> Answer:
    """Does it take float64, as an array and as a DataFrame?"""
    (X, y), reasons = data(), []
    for kind in (np.asarray, lambda rows: pd.DataFrame(rows, columns=list("abcd"))):
        way, rows = peer.plain(), kind(X.astype(np.float64))
        try:
            way.model.fit(rows, y, **way.fit).predict(rows)
        except Exception as error:
            reasons.append(f"{type(rows).__name__}: {short(error)}")
    return (("yes", "partly", "no")[len(reasons)], "; ".join(reasons))


def ask_balanced(peer: Peer) -> Answer:
    """Do balanced class weights act? By name, or by hand?"""
    X, y = noise(1 - RARE, RARE)
    way = peer.weighted(y)
    p = share_of_last(way, X, y)
    return found(way) if p > 2 * RARE else ("no", f"rare class gets {p:.2f}")


def ask_unbiased(peer: Peer) -> Answer:
    """Do balanced class weights balance, with a rare class of 3% in batches of 16?"""
    reasons, good = [], 0
    for shares in ((1 - RARE, RARE), ((1 - RARE) / 2, (1 - RARE) / 2, RARE)):
        X, y = noise(*shares)
        weight = compute_sample_weight("balanced", y)
        wanted, p = 1 / len(shares), share_of_last(peer.weighted(y), X, y, weight)
        good += abs(p - wanted) < TOLERANCE
        reasons.append(f"{p:.2f} of {wanted:.2f} with {len(shares)} classes")
    return (("no", "partly", "yes")[good], "rare class gets " + ", ".join(reasons))


def ask_sample_weight(peer: Peer) -> Answer:
    """Do rows of weight 1/9 count for a ninth?"""
    X, y = noise(0.5, 0.5)
    weight = np.where(y == 1, 1 / 9, 1.0)
    p = share_of_last(peer.plain(), X, y, weight, sample_weight=weight)
    if p > 0.4:
        return "no", f"ignored: class gets {p:.2f} of 0.10"
    return ("yes", "") if p < 0.15 else ("partly", f"class gets {p:.2f} of 0.10")


def ask_focal(peer: Peer) -> Answer:
    """Is there a focal loss, by name?"""
    way, (X, y) = peer.focal(), data()
    p = share_of_last(way, X, y)
    return found(way) if np.isfinite(p) else ("no", "not finite")


def ask_gamma(peer: Peer) -> Answer:
    """Does ``GridSearchCV`` vary gamma?"""
    peer.plain()  # raises where there is no estimator
    way, (X, y) = peer.focal(), data()
    if not peer.gammas:
        return "no", way.by_hand
    GridSearchCV(way.model, peer.gammas, cv=2, error_score="raise").fit(X, y, **way.fit)
    ((name, values),) = peer.gammas.items()
    sharp, flat = (
        probabilities(clone(way.model).set_params(**{name: value}).fit(X, y, **way.fit), X)
        for value in values
    )
    if np.allclose(sharp, flat, atol=1e-3):
        return "no", f"{name} does not act"
    return found(way, "" if "__" in name else f"inside {name}")


def ask_proba(peer: Peer) -> Answer:
    """Are the probabilities under the focal loss valid: not negative, with sum 1 in each row?"""
    way, (X, y) = peer.focal(), data()
    peer.plain()  # raises where there is no estimator
    p = probabilities(way.model.fit(X, y, **way.fit), X)
    if valid(p):
        method = hasattr(way.model, "predict_proba")
        return ("yes", "") if method else ("partly", "no predict_proba, but decision_function")
    reason = f"a row is {[round(float(value), 2) for value in p[0]]}"
    if peer.repair:
        repaired = peer.focal().model.set_params(**peer.repair).fit(X, y, **way.fit)
        if valid(probabilities(repaired, X)):
            return "partly", f"{reason}, unless {', '.join(peer.repair)} is given"
    return "no", reason


def valid(p: Array) -> bool:
    """Return whether these are probabilities."""
    return bool(p.min() >= 0 and np.allclose(p.sum(axis=1), 1, atol=1e-4))


def ask_prior(peer: Peer) -> Answer:
    """Are probabilities restated for the original class frequencies, after weighting?"""
    X, y = noise(1 - RARE, RARE)
    way = peer.corrected(y)
    p = share_of_last(way, X, y)
    return found(way) if abs(p - RARE) < 0.03 else ("no", f"mean {p:.2f} for {RARE}")


def ask_batches(peer: Peer) -> Answer:
    """Are batches balanced by drawing rows?"""
    X, y = noise(1 - RARE, RARE)
    way = peer.sampled(y)
    p = share_of_last(way, X, y, compute_sample_weight("balanced", y))
    return found(way) if abs(p - 0.5) < 0.15 else ("no", f"rare class gets {p:.2f} of 0.50")


def ask_sparse(peer: Peer) -> Answer:
    """Does it take a CSR matrix?"""
    way, (X, y) = peer.plain(), data()
    way.model.fit(sparse.csr_matrix(X), y, **way.fit).predict(sparse.csr_matrix(X))
    return "yes", ""


def ask_labels(peer: Peer) -> Answer:
    """With several labels per row, is each balanced by its own weight?"""
    X, often = noise(0.5, 0.5)
    Y = np.column_stack([often, noise(1 - RARE, RARE)[1]])
    way = peer.weighted(Y)
    way.model.fit(X, Y.astype(np.float32), **way.fit)
    p = probabilities(way.model, X).mean(axis=0)
    said = "labels get " + " and ".join(f"{value:.2f}" for value in p) + " of 0.50"
    return found(way) if np.allclose(p, 0.5, atol=0.15) else ("partly", said)


def ask_module(peer: Peer) -> Answer:
    """Does it train a torch module of the user?"""
    way, (X, y) = peer.with_module(nn.Linear), data()
    p = probabilities(way.model.fit(X, y, **way.fit), X)[:, -1]
    accuracy = float(((p > p.mean()) == y).mean())
    return found(way) if accuracy > 0.7 else ("no", f"accuracy {accuracy:.2f}")


def ask_stacked(peer: Peer) -> Answer:
    """Are the nets of a search or an ensemble trained in one pass?"""
    return peer.stacked


def ask_file(peer: Peer) -> Answer:
    """Can the trained model be saved without pickle?"""
    way, (X, y) = peer.plain(), data()
    way.model.fit(X, y, **way.fit)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        by_hand = peer.save(way.model, path)
        if zipfile.is_zipfile(path):  # as torch.save writes
            names = zipfile.ZipFile(path).namelist()
            if any(name.endswith(".pkl") for name in names):
                return "no", "its file contains pickle"
    return found(Way(None, by_hand=by_hand))


FEATURES: dict[str, tuple[str, Callable[[Peer], Answer]]] = {
    "search": ("`clone`, `Pipeline`, `GridSearchCV`", ask_search),
    "checks": ("scikit-learn's common checks passed", ask_checks),
    "strings": ("strings as labels", ask_strings),
    "float64": ("float64 and DataFrame as `X`", ask_float64),
    "sparse": ("sparse `X`", ask_sparse),
    "balanced": ('`"balanced"` class weights', ask_balanced),
    "unbiased": ("class weights balance in small batches", ask_unbiased),
    "sample_weight": ("`sample_weight` acts", ask_sample_weight),
    "batches": ("balanced batches without a copy of the rows", ask_batches),
    "focal": ("focal loss by name", ask_focal),
    "gamma": ("its gamma in `GridSearchCV`", ask_gamma),
    "proba": ("valid `predict_proba` under focal loss", ask_proba),
    "prior": ("probabilities restated after weighting", ask_prior),
    "labels": ("several labels per row, weights per label", ask_labels),
    "module": ("any torch module", ask_module),
    "stacked": ("searches or ensembles in one pass", ask_stacked),
    "file": ("saved without pickle", ask_file),
}


def short(error: Exception) -> str:
    """Return the type of an error and the beginning of its message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"


def ask(peer: Peer, feature: str) -> Answer:
    """Try one feature of one package; an exception is an answer, too."""
    try:
        return FEATURES[feature][1](peer)
    except Answered as answer:
        return answer.args
    except Exception as error:
        return "no", short(error)


def in_own_process(name: str, features: Sequence[str]) -> dict[str, Answer]:
    """Ask in a fresh process and an empty folder, since some packages leave files behind."""
    command = [sys.executable, str(Path(__file__).resolve()), "--inside", name, "--features"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, *features], cwd=folder, capture_output=True, text=True, timeout=PEER_SECONDS
        )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    answers: dict[str, Answer] = json.loads(done.stdout.splitlines()[-1])
    return answers


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    here = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            here[name] = PEERS[name].version()
    return here


def print_table(answers: dict[str, dict[str, Answer]], features: Sequence[str]) -> None:
    """Print the table in markdown, and the reasons."""
    print("| |", " | ".join(answers), "|")
    print("|---|" + "---|" * len(answers))
    for feature in features:
        marks = [answers[name][feature][0] for name in answers]
        print(f"| {FEATURES[feature][0]} |", " | ".join(marks), "|")
    for feature in features:
        print(f"\n{FEATURES[feature][0]}")
        for name in answers:
            if answers[name][feature][1]:
                print(f"- {name}: {': '.join(answers[name][feature])}")


def main(argv: Sequence[str] | None = None) -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packages", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--features", nargs="+", choices=FEATURES, default=list(FEATURES))
    parser.add_argument("--inside", choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.inside:
        warnings.simplefilter("ignore")
        asked = {name: ask(PEERS[args.inside], name) for name in args.features}
        print("\n" + json.dumps(asked))
        return
    here = versions(args.packages)
    for name in args.packages:
        print(f"{name} {here.get(name, 'is not installed')}")
    answers = {name: in_own_process(name, args.features) for name in here}
    print()
    print_table(answers, args.features)


if __name__ == "__main__":
    main()
