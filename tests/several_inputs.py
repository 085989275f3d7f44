"""Data in several forms, and what is done with them, for the table of docs/several_inputs.md.

Each form holds the columns of one plain array. A net whose ``forward`` takes the parts must do with
them what the same net does with the array, from which it cuts the parts out itself.
"""

import tempfile

import numpy as np
import pandas as pd
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV, cross_val_predict
from sklearn.utils import _safe_indexing
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import Dataset

import imbtorch
from imbtorch import DatasetRows, ImbalancedNetClassifier, Inputs, NetEnsembleClassifier, Sequences
from imbtorch._common.inputs import given_form
from imbtorch.features import TableFeatures
from imbtorch.model_selection import (
    StackedGridSearchCV,
    TunedDecisionClassifierCV,
    cross_fit,
)
from imbtorch.priors import PriorShiftClassifier

N, QUICK = 80, {"max_epochs": 2, "batch_size": 16, "dtype": "float64", "random_state": 0}
rng = np.random.default_rng(0)
IMAGE, TABLE = rng.normal(size=(N, 1, 2, 2)), rng.normal(size=(N, 3))
IDS = rng.integers(0, 7, (N, 2))
Y = (TABLE[:, 0] + IMAGE[:, 0, 0, 0] + rng.normal(size=N) > 1.2).astype(int)
COLUMNS = np.hstack([IMAGE.reshape(N, -1), TABLE, IDS])


class Parts(nn.Module):
    """A net with two or three inputs."""

    def __init__(self, n_outputs, with_ids=False):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2)
        self.words = nn.Embedding(7, 2) if with_ids else None
        self.out = nn.Sequential(nn.Linear(5 + 4 * with_ids, 4), nn.Tanh(), nn.Linear(4, n_outputs))

    def forward(self, image, table, ids=None):
        parts = [self.conv(image).flatten(1), table]
        if self.words is not None:
            parts.append(self.words(ids).flatten(1))
        return self.out(torch.cat(parts, dim=1))


class Whole(Parts):
    """The same net, which cuts one array into the parts itself."""

    def forward(self, x):
        ids = None if self.words is None else x[:, 7:].long()
        return super().forward(x[:, :4].reshape(-1, 1, 2, 2), x[:, 4:7], ids)


class Items(Dataset):
    """Items ``(x, y)`` of any X that is indexed by slices."""

    def __init__(self, X, of_parts):
        self.X, self.of_parts = X, of_parts

    def __len__(self):
        return N

    def __getitem__(self, i):
        if not self.of_parts:
            return self.X[i], Y[i]
        return {key: part[i] for key, part in self.X.items()}, Y[i]


class EncodedWhole(nn.Module):
    """A net on an encoded table: numbers, gaps, colours and kinds."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.out = nn.Sequential(nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, n_outputs))
        shapes = input_shape if isinstance(input_shape, dict) else {"frame": input_shape}
        assert shapes["frame"] == (6,) if "kind" in shapes else (9,)

    def forward(self, x):
        return self.out(x)


class EncodedParts(EncodedWhole):
    """The same net, which gets the kinds as an input of their own."""

    def forward(self, kind, frame):
        kinds = nn.functional.one_hot(kind, 3).to(frame.dtype)
        return super().forward(torch.cat([frame, kinds], dim=1))


# -- forms: (plain X, X in parts, whether there are integer ids) -------------------------------

KIND = np.arange(N) % 3
FRAME = pd.DataFrame(
    {
        "amount": np.where(rng.random(N) < 0.3, np.nan, 100 * TABLE[:, 0]),
        "size": 5 + TABLE[:, 1],
        "colour": rng.choice(["blue", "green", "red"], N),
    }
)
PLAIN_TABLE = TableFeatures(numeric_embedding=None)

MAPPING = {"table": TABLE, "image": IMAGE}
FORMS = {
    "mapping": (COLUMNS[:, :7], MAPPING, False),
    "tuple": (COLUMNS[:, :7], (IMAGE, TABLE), False),
    "integer ids": (COLUMNS, {**MAPPING, "ids": IDS}, True),
    "Dataset": (Items(COLUMNS[:, :7], False), Items(MAPPING, True), False),
    "encoded table": (
        FRAME.assign(kind=pd.Categorical(KIND)),
        {"kind": KIND, "frame": FRAME},
        False,
    ),
}


def estimator(module, with_ids, **params):
    net = ImbalancedNetClassifier(module, **{**QUICK, **params})
    return net.set_params(module__with_ids=with_ids)


def maker(form, *, whole):
    """What makes the net of a form, of one array or of its parts, from further parameters."""
    if form == "encoded table":
        features = PLAIN_TABLE if whole else {"frame": PLAIN_TABLE}
        module = EncodedWhole if whole else EncodedParts
        return lambda **p: ImbalancedNetClassifier(module, **{**QUICK, "features": features, **p})
    return lambda **p: estimator(Whole if whole else Parts, FORMS[form][2], **p)


def divisible(X):
    """X as the tools of this package take it that divide rows."""
    return DatasetRows(X) if isinstance(X, Dataset) else X


def rows_of(X):
    """X as searches of scikit-learn take it."""
    if isinstance(X, list):
        return Sequences(X)
    if isinstance(X, Dataset):
        return DatasetRows(X)
    return Inputs(X) if isinstance(X, dict | tuple) else X


def fitted(clf, X):
    return clf.fit(X) if isinstance(X, Dataset) else clf.fit(X, Y)


def proba(clf, X):
    return fitted(clf, X).predict_proba(X)


def set_and_fit(**params):
    return lambda make, X: proba(make(**params), X)


# -- uses: (estimator, X) -> numbers ------------------------------------------------------------


def with_sample_weight(make, X):
    rows = divisible(X)
    return make().fit(rows, Y, sample_weight=np.linspace(0, 2, N)).predict_proba(rows)


def with_sampler_of_imblearn(make, X):
    from imblearn.over_sampling import RandomOverSampler

    return proba(make(sampler=RandomOverSampler(random_state=0)), X)


def with_smote(make, X):
    from imblearn.over_sampling import SMOTE

    return proba(make(sampler=SMOTE(random_state=0)), X)


def with_validation_rows(make, X):
    val = _safe_indexing(rows_of(X), np.arange(20))
    return make().fit(divisible(X), Y, X_val=val, y_val=Y[:20]).history_[:, "valid_score"]


def with_chunks(make, X):
    rows, clf = rows_of(X), make()
    for part in (np.arange(40), np.arange(40, N)):
        chunk = _safe_indexing(rows, part)
        chunk = given_form(chunk.parts) if isinstance(chunk, Inputs) else chunk
        clf.partial_fit(chunk, Y[part], classes=[0, 1])
    return clf.predict_proba(X)


def in_a_search(make, X):
    search = GridSearchCV(make(), {"lr": [0.01, 0.1]}, cv=2, error_score="raise")
    search.fit(rows_of(X), Y)
    return np.append(search.cv_results_["mean_test_score"], search.predict_proba(X))


def in_a_stacked_search(make, X):
    X = divisible(X)
    search = StackedGridSearchCV(make(), {"lr": [0.01, 0.1]}, cv=2, error_score="raise")
    search.fit(X, Y)
    return np.append(search.cv_results_["mean_test_score"], search.predict_proba(X))


def in_cross_validation(make, X):
    return cross_val_predict(make(), rows_of(X), Y, cv=3, method="predict_proba")


def cross_fitted(make, X):
    return cross_fit(make(), divisible(X), Y, cv=2).oof_predict_proba_


def in_an_ensemble(make, X):
    X = divisible(X)
    return NetEnsembleClassifier(make(), n_estimators=2, random_state=0).fit(X, Y).predict_proba(X)


def as_members_of_folds(make, X):
    ensemble = NetEnsembleClassifier(make(), n_estimators=2, subset="folds", random_state=0)
    return ensemble.fit(divisible(X), Y).predict_proba(X)


def with_tuned_decisions(make, X):
    return TunedDecisionClassifierCV(make(), cv=2).fit(divisible(X), Y).predict(X)


def with_tools_of_scikit_learn(make, X):
    rows = rows_of(X)
    calibrated = CalibratedClassifierCV(make(), cv=2).fit(rows, Y).predict_proba(rows)
    tuned = TunedThresholdClassifierCV(make(), cv=2).fit(rows, Y).predict(rows)
    return np.append(calibrated, tuned)


def with_shifted_prior(make, X):
    shifted = PriorShiftClassifier(make(), target_prior={0: 0.5, 1: 0.5})
    return shifted.fit(divisible(X), Y).predict_proba(X)


class Interrupt(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def resumed(make, X):
    y = None if isinstance(X, Dataset) else Y
    with tempfile.TemporaryDirectory() as folder:
        make(
            checkpoint=folder, checkpoint_interval=1, callbacks=[Interrupt()], on_interrupt="keep"
        ).fit(X, y)
        clf = make(checkpoint=folder, checkpoint_interval=1).fit(X, y, resume=True)
        assert len(clf.history_) == 2
        return clf.predict_proba(X)


def saved(make, X):
    clf = fitted(make(), X)
    with tempfile.TemporaryDirectory() as folder:
        clf.save(f"{folder}/net")
        return imbtorch.load(f"{folder}/net", module=clf.module).predict_proba(X)


def exported(make, X):
    import onnxruntime

    clf = fitted(make(), X)
    with tempfile.TemporaryDirectory() as folder:
        clf.to_onnx(f"{folder}/net.onnx")
        session = onnxruntime.InferenceSession(f"{folder}/net.onnx")
    return session.run(["probabilities"], fed(session, X.X if isinstance(X, Dataset) else X))[0]


def fed(session, X):
    """What a session of onnxruntime gets of X: padded sequences, and columns of tables."""
    parts = X if isinstance(X, dict) else {"X": X}
    parts = {f"X{i}": part for i, part in enumerate(X)} if isinstance(X, tuple) else parts
    named = {}
    for key, part in parts.items():
        if isinstance(part, pd.DataFrame):
            named |= {f"{key}.{name}": part[[name]].to_numpy() for name in part}
        elif isinstance(part, list):
            lengths = np.array([len(row) for row in part])
            rows = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(row) for row in part], True)
            named |= {"lengths" if key == "X" else f"{key}_lengths": lengths, key: rows.numpy()}
        else:
            named[key] = part
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(string)": object}
    return {i.name: named[i.name].astype(kinds[i.type]) for i in session.get_inputs()}


def with_an_encoder_of_one_input(make, X):
    """Encode the table of several inputs in the fit; in one array, encode its columns before."""
    of_table = {"scaling": "robust", "numeric_embedding": None}
    if isinstance(X, pd.DataFrame):
        return proba(make(features=TableFeatures(**of_table)), X)
    if isinstance(X, Dataset):
        return fitted(make(features={"table": TableFeatures()}), X)
    if isinstance(X, np.ndarray):
        X, place = X.copy(), slice(4, 7) if X.shape[1] < 10 else slice(3)
        X[:, place] = TableFeatures(**of_table).fit_transform(X[:, place])
        return proba(make(), X)
    key = 1 if isinstance(X, tuple) else "table"
    key = "frame" if isinstance(X, dict) and "frame" in X else key
    return proba(make(features={key: TableFeatures(**of_table)}), X)


USES = {
    "`fit` and `predict_proba`": set_and_fit(),
    "class weights": set_and_fit(class_weight="balanced"),
    "sample weights": with_sample_weight,
    "focal loss": set_and_fit(loss="focal"),
    "logit adjustment": set_and_fit(loss="logit_adjusted"),
    "`target_prior`": set_and_fit(target_prior="train"),
    "sampler of imbtorch": set_and_fit(sampler="class_balanced"),
    "`RandomOverSampler`": with_sampler_of_imblearn,
    "`SMOTE`": with_smote,
    "`Mixup`": set_and_fit(sampler="mixup"),
    "early stopping": set_and_fit(early_stopping=True),
    "`X_val`": with_validation_rows,
    "`partial_fit`": with_chunks,
    '`features="table"`': set_and_fit(features="table"),
    '`features={"table": ...}`': with_an_encoder_of_one_input,
    "search of scikit-learn": in_a_search,
    "stacked search": in_a_stacked_search,
    "`cross_val_predict`": in_cross_validation,
    "`cross_fit`": cross_fitted,
    "ensemble": in_an_ensemble,
    "ensemble of folds": as_members_of_folds,
    "calibration and thresholds of scikit-learn": with_tools_of_scikit_learn,
    "tuned decisions": with_tuned_decisions,
    "`PriorShiftClassifier`": with_shifted_prior,
    "checkpoint, resumed": resumed,
    "`save` and `load`": saved,
    "ONNX": exported,
}
# uses whose result must be that of another use of the plain array
PLAIN = dict.fromkeys(
    ("ONNX", "checkpoint, resumed", "`save` and `load`"), "`fit` and `predict_proba`"
)


def check_stated(outcome, stated, reasons):
    """Check what was found of a use against what the page says of it."""
    if stated == "same":
        assert outcome == "same"
    else:
        assert stated == "refused"
        assert any(reason in outcome for reason in reasons), outcome
