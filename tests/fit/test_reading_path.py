"""How many files somebody has to read who follows a fit: the files that a fit enters.

The data are one batch, for one epoch, so that the path is counted and not its repetition. Five of
the files and 14 of the changes belong to the table, whose columns are scaled: they are looked at
twice, when they are read and when they are learned, and the rows are encoded. The net is an MLP
behind plain columns. Each further kind of layer of the default net (embeddings of numbers, layers
of members, layer normalisation) adds a file of its own to these, such as that of its gradients.
torch has one thread, whatever the machine has: several add the two files that limit their number.
"""

import re
import sys
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

import imbtorch
from imbtorch import ImbalancedNetClassifier
from imbtorch._fit import table
from imbtorch.features import TableFeatures

PACKAGE = Path(imbtorch.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"


def files_of(clf, n_threads=1):
    """Return the files of the package in the order in which a fit enters their functions."""
    X = np.random.default_rng(0).normal(size=(64, 20))
    y = np.arange(64) % 8 == 0
    files = []

    def record(frame, event, arg):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            files.append(path.relative_to(PACKAGE).as_posix())

    threads = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    before = sys.getprofile()
    sys.setprofile(record)
    try:
        clf.fit(X, y)
    finally:
        sys.setprofile(before)
        torch.set_num_threads(threads)
    return files


def files_of_perceptron(n_threads=1):
    """Return the files that the fit of a perceptron on plain columns enters."""
    clf = ImbalancedNetClassifier(module="mlp", max_epochs=1)
    # features="auto" with plain columns; an object in its place would be checked as well
    plain = partial(TableFeatures, numeric_embedding=None)
    with mock.patch.object(table, "TableFeatures", plain):
        files = files_of(clf, n_threads)
    assert not clf.net_.encoder_.periodic
    return files


@pytest.fixture(scope="module")
def entered():
    """Files that the fit of a perceptron enters where torch has one thread."""
    return files_of_perceptron()


def test_few_files_are_entered(entered):
    assert len(set(entered)) <= 29, sorted(set(entered))


def test_the_reader_rarely_changes_the_file(entered):
    assert sum(a != b for a, b in zip(entered, entered[1:], strict=False)) <= 160


def test_several_threads_add_the_rule_and_the_limit(entered):
    files = files_of_perceptron(n_threads=2)
    assert set(files) - set(entered) == {"training/threads.py", "_common/threads.py"}
    assert sum(a != b for a, b in zip(files, files[1:], strict=False)) <= 163


def test_the_default_net_adds_its_layers_and_their_gradients(entered):
    files = files_of(ImbalancedNetClassifier(max_epochs=1))
    further = set(files) - set(entered)
    assert len(further) <= 9, sorted(further)
    allowed = ("modules/", "losses/_members", "losses/_shapes", "training/single/")
    assert all(file.startswith(allowed) for file in further), further
    assert sum(a != b for a, b in zip(files, files[1:], strict=False)) <= 201


def test_the_page_names_files_that_a_fit_enters(entered):
    section = PAGE.read_text("utf-8").split("## How to read `fit`")[1].split("###")[0]
    recipe, *others = re.findall(r"^\d\. `([\w/]+\.py)`", section, re.MULTILINE)
    assert recipe == "_fit/fit.py"
    assert 4 <= len(others) <= 8
    assert set(others) <= set(entered)
