"""skorch's callbacks inside the estimator."""

import threading

import numpy as np
import pytest
import skorch.callbacks as sc
import torch
from scipy import sparse
from sklearn.metrics import accuracy_score, roc_auc_score

from imbtorch import MLP
from tests.toy import parameters_of, plain_columns, small, table
from tests.training.helpers import Plain, WatchBatches, watched

X, Y = table()


@pytest.mark.parametrize("loss", ["focal", "logit_adjusted"])
@pytest.mark.parametrize(
    "module", [MLP((8,)), MLP((8,), dropout=0.3, normalization="batch"), Plain],
    ids=["chain", "dropout", "autograd"],
)  # fmt: skip
def test_batch_hooks_do_not_change_the_training(module, loss):
    params = {"loss": loss, "dtype": "float64", "class_weight": {0: 3}, "batch_size": 32}
    lean = small(module, **params).fit(X, Y)
    hooked = small(module, callbacks=[WatchBatches()], **params).fit(X, Y)
    np.testing.assert_allclose(parameters_of(hooked), parameters_of(lean), rtol=1e-9, atol=1e-12)
    assert hooked.history_[:, "train_loss"] == pytest.approx(lean.history_[:, "train_loss"])


def test_batch_hooks_see_every_batch_of_both_parts():
    clf = small(
        callbacks=[WatchBatches()], batch_size=50, max_epochs=2, validation_fraction=0.2
    ).fit(X, Y)
    seen = watched(clf)
    n_train = sum(n for training, n, *_ in seen if training)
    n_valid = sum(n for training, n, *_ in seen if not training)
    assert (n_train, n_valid) == (2 * 240, 2 * 60)
    assert all(shape == (n, 2) for _, n, shape, _ in seen)


def test_gradient_clipping_clips():
    params = {"optimizer": "sgd", "lr": 1.0, "weight_decay": 0.0, "max_epochs": 1}
    free = small(batch_size=1000, **params)
    clipped = small(batch_size=1000, callbacks=[sc.GradientNormClipping(1e-3)], **params)
    start = small(lr_schedule=lambda progress: 0.0, batch_size=1000, **params).fit(X, Y)
    steps = [
        np.linalg.norm(parameters_of(clf.set_params(lr_schedule="constant").fit(X, Y))
                       - parameters_of(start))
        for clf in (free, clipped)
    ]  # fmt: skip
    assert steps[0] > 1e-2
    assert steps[1] == pytest.approx(1e-3, rel=1e-3)


def test_learning_rate_scheduler_is_in_charge():
    scheduler = sc.LRScheduler("StepLR", step_size=1, gamma=0.1)
    clf = small(callbacks=[scheduler], lr=0.01, max_epochs=3).fit(X, Y)  # default: one_cycle
    assert clf.history_[:, "lr"] == pytest.approx([0.01, 0.001, 0.0001])


@pytest.mark.parametrize("caching", [True, False])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, sparse.csr_matrix])
def test_epoch_scoring_on_the_validation_part(kind, caching):
    seen = []

    def score(net, X, y=None):
        proba, y = net.predict_proba(X)[:, 1], np.asarray(y)
        seen.append((proba, y))
        return roc_auc_score(y, proba)

    options = {"lower_is_better": False, "use_caching": caching}
    clf = small(
        callbacks=[
            sc.EpochScoring("roc_auc", name="auc", **options),
            sc.EpochScoring(score, name="own", **options),
        ],
        validation_fraction=0.2,
        dtype="float64",
    ).fit(kind(X), Y)
    assert clf.history_[:, "auc"] == pytest.approx(clf.history_[:, "own"])
    proba, y = seen[-1]
    assert np.bincount(y).tolist() == [round(0.2 * n) for n in np.bincount(Y)]
    expected = clf.predict_proba(X)[:, 1]
    assert np.isclose(proba[:, None], expected[None], rtol=1e-9).any(axis=1).all()


@pytest.mark.parametrize("caching", [True, False])
def test_epoch_scoring_on_the_training_part(caching):
    scoring = sc.EpochScoring(
        "roc_auc", name="auc", lower_is_better=False, on_train=True, use_caching=caching
    )
    clf = small(callbacks=[scoring], lr_schedule=lambda progress: 0.0, dtype="float64").fit(X, Y)
    expected = roc_auc_score(Y, clf.decision_function(X))  # the net stands still
    assert clf.history_[:, "auc"] == pytest.approx([expected, expected])


def test_epoch_scoring_of_labels_that_are_strings():
    y = np.where(Y == 1, "yes", "no")
    scoring = sc.EpochScoring(
        "accuracy", name="accuracy", lower_is_better=False, on_train=True, use_caching=False
    )
    clf = small(callbacks=[scoring]).fit(X, y)
    assert clf.history_[-1, "accuracy"] == pytest.approx(accuracy_score(y, clf.predict(X)))


def test_early_stopping_of_skorch_ends_the_training_in_order():
    stop = sc.EarlyStopping(monitor="train_loss", patience=3, lower_is_better=False)
    clf = small(callbacks=[stop], max_epochs=50, loss="cross_entropy").fit(X, Y)
    assert 3 <= clf.n_iter_ < 20
    assert clf.interrupted_ is False
    assert clf.predict(X).shape == Y.shape


def test_early_stopping_of_skorch_with_its_default_monitor():
    stop = sc.EarlyStopping(patience=2, threshold=10.0)
    clf = small(callbacks=[stop], validation_fraction=0.2, max_epochs=50).fit(X, Y)
    assert clf.n_iter_ == 3
    assert all(np.isfinite(clf.history_[:, "valid_loss"]))


def test_callbacks_set_between_warm_starts_are_called():
    clf = small(warm_start=True).fit(X, Y).set_params(callbacks=[WatchBatches()]).fit(X, Y)
    assert watched(clf)


class Locked(sc.Callback):
    """Holds what cannot be copied, as a callback with an open file does."""

    def __init__(self):
        self.lock = threading.Lock()


def test_callback_that_cannot_be_copied_is_passed_through():
    assert small(callbacks=[Locked()]).fit(X, Y).n_iter_ == 2


def test_error_in_a_callback_reaches_the_user():
    class Broken(sc.Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"):
        small(callbacks=[Broken()]).fit(X, Y)


@pytest.mark.parametrize("on_train", [False, True])
def test_batch_scoring_scores_batches(on_train):
    scoring = sc.BatchScoring("accuracy", name="batch", on_train=on_train)
    clf = small(callbacks=[scoring], validation_fraction=0.2, dtype="float64").fit(X, Y)
    assert all(0 <= score <= 1 for score in clf.history_[:, "batch"])


def test_loss_of_every_batch_is_recorded_where_a_callback_wants_batches():
    clf = small(callbacks=[WatchBatches()], validation_fraction=0.2, batch_size=50).fit(X, Y)
    batches = clf.history_[-1]["batches"]
    for part, n in (("train", 240), ("valid", 60)):
        sizes = [batch[f"{part}_batch_size"] for batch in batches if f"{part}_batch_size" in batch]
        losses = [batch[f"{part}_loss"] for batch in batches if f"{part}_loss" in batch]
        assert sum(sizes) == n
        mean = np.average(losses, weights=sizes)
        assert mean == pytest.approx(clf.history_[-1, f"{part}_loss"], rel=1e-5)


@pytest.mark.parametrize(
    "callback", [("watch", WatchBatches()), WatchBatches, ("watch", WatchBatches)]
)
def test_callback_may_have_a_name_or_be_a_class(callback):
    assert watched(small(callbacks=[callback]).fit(X, Y))


def test_freezer_freezes():
    params = {"features": plain_columns(), "weight_decay": 0.0}
    frozen = small(callbacks=[sc.Freezer("0*")], **params).fit(X, Y)
    start = small(lr_schedule=lambda progress: 0.0, **params).fit(X, Y)
    pairs = list(zip(frozen.module_.parameters(), start.module_.parameters(), strict=True))
    assert [bool((one == other).all()) for one, other in pairs] == [True, True, False, False]


@pytest.mark.parametrize(
    "checkpoint",
    [
        lambda folder: sc.Checkpoint(monitor="valid_loss_best", dirname=folder),
        lambda folder: sc.TrainEndCheckpoint(dirname=folder),
    ],
    ids=["best", "last"],
)
@pytest.mark.parametrize("watch", [[], [WatchBatches()]], ids=["lean", "hooked"])
def test_checkpoint_writes_the_weights(checkpoint, watch, tmp_path):
    callbacks = [*watch, checkpoint(str(tmp_path))]
    clf = small(callbacks=callbacks, validation_fraction=0.2).fit(X, Y)
    (path,) = tmp_path.glob("*params.pt")
    stored = torch.load(path, weights_only=True)
    assert stored.keys() == clf.net_.module_.state_dict().keys()
