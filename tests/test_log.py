"""The logger of the package: what it says of a training, and that it is silent by default."""

import logging
import subprocess
import sys

import numpy as np
import pytest
from skorch.callbacks import EpochTimer

import imbtorch
from imbtorch import NetEnsembleClassifier
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.training.single import engine
from tests.limits import PROCESS_SECONDS
from tests.toy import small, table

X, Y = table()


@pytest.fixture
def said(caplog):
    """Return messages of a level and above, as ``(level, message)``."""

    def messages(level=logging.DEBUG):
        return [
            (record.levelname, record.getMessage())
            for record in caplog.records
            if record.name == "imbtorch" and record.levelno >= level
        ]

    caplog.set_level(logging.DEBUG, logger="imbtorch")
    return messages


def test_a_fit_says_when_it_begins_and_ends(said):
    small(max_epochs=3, batch_size=32, loss="focal", device="cpu").fit(X, Y)
    assert said(logging.INFO) == [
        (
            "INFO",
            "Training begins: 1 net(s), 300 rows, at most 3 epochs, 32 rows per step, FocalLoss on "
            "cpu",
        ),
        ("INFO", "Training ends: 1 net(s), after 3 epochs"),
    ]


def test_each_epoch_is_a_message_for_debugging(said):
    clf = small(max_epochs=2, validation_fraction=0.2).fit(X, Y)
    epochs = [text for level, text in said() if text.startswith("Epoch") and level == "DEBUG"]
    assert len(epochs) == 2
    last = clf.history_[-1]
    assert epochs[1].startswith("Epoch 2: ")
    for key in ("train_loss", "valid_score", "lr"):
        assert f"{key} {last[key]:.4g}" in epochs[1]


def test_nets_of_a_stack_share_the_messages_of_its_training(said):
    NetEnsembleClassifier(small(), 3, random_state=0).fit(X, Y)
    begin, end = (text for _, text in said(logging.INFO))
    assert begin.startswith("Training begins: 3 net(s), ")
    assert end == "Training ends: 3 net(s), after 2 epochs"
    assert [text[:17] for _, text in said() if text.startswith("Epoch 2")] == [
        f"Epoch 2 of net {number}:" for number in range(3)
    ]


def test_an_error_is_named_where_it_ends_a_training(said):
    with pytest.raises(ValueError, match="diverged"):
        small(lr=1e25).fit(X, Y)
    stopped = said(logging.INFO)[-2][1]
    assert stopped.startswith("Training stopped by DivergenceError: Training diverged in epoch 1")


def test_early_stopping_shows_in_the_number_of_epochs(said):
    clf = small(max_epochs=50, early_stopping=True, patience=1).fit(X, Y)
    assert clf.n_iter_ < 50
    assert said(logging.INFO)[-1][1] == f"Training ends: 1 net(s), after {clf.n_iter_} epochs"


@pytest.mark.filterwarnings("ignore:Nets are trained one by one")
def test_the_reason_is_logged_why_nets_are_not_stacked(said):
    search = StackedGridSearchCV(small(), {"lr": [0.1, 0.01]}, cv=2).fit(X, Y)
    assert not [text for _, text in said() if text.startswith("Nets are trained")]
    search.set_params(estimator=small(callbacks=[EpochTimer()])).fit(X, Y)
    assert any(text.startswith("Nets are trained one by one: ") for _, text in said(logging.INFO))


@pytest.mark.filterwarnings("ignore:Memory ran out")
def test_lack_of_memory_is_logged(said, monkeypatch):
    backward = engine.SingleEngine._gradients_of

    def scarce(self, *args, **options):
        gradients = backward(self, *args, **options)

        def limited(x, codes, share):
            if len(x) > 100:
                raise MemoryError
            return gradients(x, codes, share)

        return limited

    monkeypatch.setattr(engine.SingleEngine, "_gradients_of", scarce)
    small(on_oom="split", batch_size=300, max_epochs=1).fit(X, Y)
    parts = [text for _, text in said(logging.INFO) if text.startswith("Memory")]
    assert parts == [
        "Memory ran out: batches are computed in 2 parts",
        "Memory ran out: batches are computed in 4 parts",
    ]


def test_checkpoints_and_files_are_logged(said, tmp_path):
    folder, path = tmp_path / "training", tmp_path / "model.imbtorch"
    small(checkpoint=folder).fit(X, Y)
    written = [text for _, text in said() if text.startswith("Checkpoint written")]
    assert [text[:33] for text in written] == [
        "Checkpoint written after epoch 1:",
        "Checkpoint written after epoch 2:",
    ]
    clf = small(checkpoint=folder).fit(X, Y, resume=True)
    assert any(text.startswith("Training goes on after epoch 2: ") for _, text in said())
    imbtorch.save(clf, path)
    assert said(logging.INFO)[-1][1] == f"ImbalancedNetClassifier written to {path}"
    imbtorch.load(path)
    assert said()[-1] == ("DEBUG", f"ImbalancedNetClassifier loaded from {path}")


@pytest.mark.slow
def test_the_number_of_epochs_that_folds_find_is_logged(said):
    clf = small(max_epochs="auto").fit(X[:60], Y[:60])
    assert ("INFO", f"Folds find a training of {clf.n_epochs_} epochs") in said()


def test_messages_do_not_change_the_training(caplog):
    plain = small().fit(X, Y).predict_proba(X)
    with caplog.at_level(logging.DEBUG, logger="imbtorch"):
        np.testing.assert_array_equal(small().fit(X, Y).predict_proba(X), plain)


@pytest.mark.slow
def test_nothing_is_printed_by_default():
    code = (
        "import logging; from tests.toy import small, table; small().fit(*table());"
        "logging.getLogger('imbtorch').warning('heard by nobody')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PROCESS_SECONDS
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
