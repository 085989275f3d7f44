"""Callbacks that track a training: skorch's loggers, and the pruning of Optuna."""

import contextlib
import sys
import threading
import types

import pytest
import skorch.callbacks as sc
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier, load
from imbtorch.training.skorch_callbacks import batch_hooks
from tests.test_docs import ROOT, python_blocks
from tests.toy import small, table

X, Y = table()


class Writer:
    """Keeps what TensorBoard is given; like a SummaryWriter, it cannot be copied."""

    def __init__(self):
        self.scalars, self.lock, self.is_open = {}, threading.Lock(), True

    def add_scalar(self, tag, scalar_value, global_step):
        self.scalars[tag, global_step] = scalar_value

    def close(self):
        self.is_open = False


class WandbRun:
    """Keeps what Weights & Biases is given."""

    def __init__(self, folder):
        self.dir, self.logged, self.watched = str(folder), [], []

    def watch(self, module):
        self.watched.append(module)

    def log(self, values):
        self.logged.append(values)


class PerBatch(sc.TensorBoard):
    def on_batch_end(self, net, **kwargs):
        super().on_batch_end(net, **kwargs)


def test_tensorboard_gets_the_numbers_of_each_epoch():
    writer = Writer()
    clf = small(callbacks=[sc.TensorBoard(writer)], validation_fraction=0.2).fit(X, Y)
    for epoch in (1, 2):
        record = clf.history_[epoch - 1]
        assert writer.scalars["Loss/train_loss", epoch] == record["train_loss"]
        assert writer.scalars["Loss/valid_score", epoch] == record["valid_score"]
        assert writer.scalars["lr", epoch] == record["lr"]
    assert not writer.is_open


@pytest.mark.parametrize(
    ("callback", "hooks"),
    [
        (sc.TensorBoard(None), set()),
        (PerBatch(None), {"on_batch_end"}),
        (sc.MlflowLogger(None, None), set()),
        (sc.MlflowLogger(None, None, log_on_batch_end=True), {"on_batch_end"}),
        (sc.SacredLogger(None), set()),
        (sc.SacredLogger(None, log_on_batch_end=True), {"on_batch_end"}),
        (sc.EpochTimer(), set()),
        (sc.GradientNormClipping(1.0), {"on_grad_computed"}),
    ],
    ids=lambda value: "-".join(sorted(value)) if isinstance(value, set) else type(value).__name__,
)
def test_loggers_see_batches_only_if_they_log_them(callback, hooks):
    assert batch_hooks([("it", callback)]) == hooks


def test_wandb_logs_epochs_and_saves_the_best_weights(tmp_path):
    run = WandbRun(tmp_path)
    clf = small(callbacks=[sc.WandbLogger(run)], validation_fraction=0.2).fit(X, Y)
    assert [values["valid_score"] for values in run.logged] == clf.history_[:, "valid_score"]
    assert [values["train_loss"] for values in run.logged] == clf.history_[:, "train_loss"]
    assert run.watched == [clf.net_.module_]
    assert (tmp_path / "best_model.pth").exists()


def test_wandb_without_validation_rows_says_what_to_do(tmp_path):
    run = WandbRun(tmp_path)
    with pytest.raises(ValueError, match=r"WandbLogger monitors .* save_model=False"):
        small(callbacks=[sc.WandbLogger(run)]).fit(X, Y)
    assert not run.watched
    small(callbacks=[sc.WandbLogger(run, save_model=False)]).fit(X, Y)
    assert len(run.logged) == 2


@pytest.mark.slow
def test_code_of_the_page_runs_with_a_stand_in_for_wandb(tmp_path, monkeypatch):
    pytest.importorskip("pandas")  # the data of the page are a frame
    blocks = [code for _, code in python_blocks((ROOT / "docs/tracking.md").read_text("utf-8"))]
    (shown,) = (code for code in blocks if "import wandb" in code)
    run, wandb, given = WandbRun(tmp_path), types.ModuleType("wandb"), {}
    run.config = {}

    @contextlib.contextmanager
    def init(**settings):
        given.update(settings)
        yield run

    wandb.init = init
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    namespace = {}
    exec(blocks[0] + shown, namespace)
    clf = namespace["clf"]
    assert given == {"project": "payments", "mode": "offline"}
    assert run.config == {"loss": clf.loss, "lr": clf.lr}
    assert [values["valid_score"] for values in run.logged] == clf.history_[:, "valid_score"]
    assert load(tmp_path / "payments.imbtorch").classes_.tolist() == clf.classes_.tolist()


@pytest.mark.parametrize(
    "callback",
    [sc.Checkpoint(dirname="unused"), sc.EarlyStopping(monitor="valid_score")],
    ids=["Checkpoint", "EarlyStopping"],
)
def test_what_monitors_validation_rows_needs_some(callback):
    with pytest.raises(ValueError, match=r"monitors 'valid_.*validation_fraction=0\.1"):
        small(callbacks=[callback]).fit(X, Y)


def test_a_callback_may_monitor_what_another_one_records():
    scoring = sc.EpochScoring("accuracy", name="valid_score", on_train=True, lower_is_better=False)
    stop = sc.EarlyStopping(monitor="valid_score", lower_is_better=False)
    assert small(callbacks=[scoring, stop]).fit(X, Y).n_iter_ == 2


@pytest.mark.parametrize(
    "fit",
    [
        clone,
        lambda clf: cross_val_score(clf, X, Y, cv=2),
        lambda clf: NetEnsembleClassifier(clf, 2).fit(X, Y),
    ],
    ids=["clone", "cross-validation", "ensemble"],
)
def test_a_callback_that_cannot_be_copied_is_named(fit):
    clf = small(callbacks=[sc.EpochTimer(), ("board", sc.TensorBoard(Writer()))])
    with pytest.raises(TypeError, match=r"callback TensorBoard cannot be copied.*on_train_begin"):
        fit(clf)


def test_other_errors_of_a_clone_are_passed_on():
    class Stubborn:
        def __deepcopy__(self, memo):
            raise RuntimeError("not me")

    with pytest.raises(RuntimeError, match="not me"):
        clone(small(callbacks=[sc.EpochTimer()], scoring=Stubborn()))


@pytest.mark.slow
def test_folds_that_find_the_length_call_no_callbacks():
    writer = Writer()
    clf = small(max_epochs="auto", callbacks=[sc.TensorBoard(writer)]).fit(X[:60], Y[:60])
    steps = {step for tag, step in writer.scalars if tag == "lr"}
    assert steps == set(range(1, clf.n_epochs_ + 1))


@pytest.mark.skipif(
    not hasattr(ImbalancedNetClassifier, "set_callbacks"),
    reason="callbacks came with scikit-learn 1.9",
)
@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_callbacks_of_scikit_learn_see_no_folds_that_find_the_length():
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="average_precision")
    clf = small(max_epochs="auto").set_callbacks(monitor).fit(X[:60], Y[:60])
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == clf.n_epochs_


def pruned(monitor, stop):
    """Fit with a trial that is to be pruned in an epoch; return its reports and the error."""
    integration = pytest.importorskip("optuna_integration")
    optuna = pytest.importorskip("optuna")

    class Pruner(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.last_step >= stop

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", pruner=Pruner())
    trial = study.ask()
    clf = small(
        max_epochs=5,
        callbacks=[integration.SkorchPruningCallback(trial, monitor)],
        validation_fraction=0.2,
    )
    with pytest.raises(optuna.TrialPruned):
        clf.fit(X, Y)
    return clf, study.get_trials()[0].intermediate_values


def test_a_callback_with_an_end_of_epoch_of_its_own_needs_none():
    class Counting(sc.EarlyStopping):
        def on_epoch_end(self, net, **kwargs):
            self.seen = len(net.history)

    clf = small(callbacks=[counting := Counting()]).fit(X, Y)
    assert clf.n_iter_ == 2
    assert counting.monitor == "valid_loss"


def test_optuna_prunes_a_training():
    clf, reports = pruned("valid_score", stop=1)
    assert list(reports) == [0, 1]
    assert not hasattr(clf, "net_")


def test_optuna_needs_validation_rows_for_their_score():
    integration = pytest.importorskip("optuna_integration")
    optuna = pytest.importorskip("optuna")
    trial = optuna.create_study().ask()
    callback = integration.SkorchPruningCallback(trial, "valid_score")
    with pytest.raises(ValueError, match="SkorchPruningCallback monitors 'valid_score'"):
        small(callbacks=[callback]).fit(X, Y)
