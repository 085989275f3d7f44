"""Losses that a module returns beside its logits, or that are computed of what it returns."""

import pickle
from collections import namedtuple
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import IterableDataset

import imbtorch
from imbtorch import (
    DivergenceError,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NotStackedWarning,
    finetune_head,
)
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.training.single import engine
from imbtorch.training.single.chain import Chain
from imbtorch.weights import class_counts
from tests.test_structured_outputs import RETURNED
from tests.toy import parameters_of, table
from tests.training.helpers import WatchBatches
from tests.training.resume import cut_short

X, Y = table(120)
WEIGHT = np.random.default_rng(0).uniform(0.1, 3, len(X))
LABELS = np.stack([Y, X[:, 0] > 0.5], axis=1).astype(float)
QUICK = {"max_epochs": 2, "dtype": "float64", "random_state": 0, "batch_size": 32, "lr": 0.03}
Named = namedtuple("Named", "logits rows batch")


def rows_of(output, target):
    return output["rows"]


KINDS = {
    "mapping": lambda **parts: parts,
    "object": lambda **parts: SimpleNamespace(**parts),
    "namedtuple": lambda **parts: Named(**parts),
}


class Autoencoder(nn.Module):
    """Logits and a reconstruction of the rows, as a value per row and as one number."""

    def __init__(self, input_shape, n_outputs, kind="mapping", only_in_training=False, factor=1.0):
        super().__init__()
        self.encoder = nn.Linear(*input_shape, 4)
        self.decoder = nn.Linear(4, *input_shape)
        self.out = nn.Linear(4, n_outputs)
        self.kind, self.only_in_training, self.factor = kind, only_in_training, factor

    def forward(self, x):
        code = torch.tanh(self.encoder(x))
        if self.only_in_training and not self.training:
            return self.out(code)
        rows = self.factor * ((self.decoder(code) - x) ** 2).mean(dim=1)
        return KINDS[self.kind](logits=self.out(code), rows=rows, batch=rows.mean())


def net(aux_loss, estimator=ImbalancedNetClassifier, module=None, **params):
    ours = {k: params.pop(k) for k in ("kind", "only_in_training", "factor") if k in params}
    made = estimator(module or Autoencoder, aux_loss=aux_loss, **{**QUICK, **params})
    return made.set_params(**{f"module__{name}": value for name, value in ours.items()})


def assert_same(one, other, rtol=1e-9, keys=("train_loss", "aux_loss")):
    np.testing.assert_allclose(parameters_of(one), parameters_of(other), rtol=rtol, atol=1e-10)
    for key in keys:
        values = (est.history_[:, key] for est in (one, other))
        np.testing.assert_allclose(*values, rtol=rtol, err_msg=key)


def descent(params, lr, weight_decay):
    return torch.optim.SGD(params, lr=lr)


def by_hand(weight, per_row, class_weight=(1.0, 1.0)):
    """Gradient descent on the loss and the reconstruction, written out."""
    clf = net(None, optimizer=descent, max_epochs=1, lr=1e-15).fit(X, Y)  # initial weights
    module = Autoencoder((X.shape[1],), 2).double()
    module.load_state_dict(clf.module_.state_dict())
    x, y, totals = torch.tensor(X), torch.tensor(Y).long(), []
    w = torch.tensor(weight * np.asarray(class_weight)[Y])
    w = w / w.mean()
    for _ in range(2):
        output = module(x)
        losses = F.cross_entropy(output["logits"], y, reduction="none")
        aux = (w * output["rows"]).mean() if per_row else output["rows"].mean()
        loss = (w * losses).mean() + 0.5 * aux
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        with torch.no_grad():
            for p, g in zip(module.parameters(), gradients, strict=True):
                p -= 0.1 * g
        totals.append((float(loss.detach()), 0.5 * float(aux.detach())))
    return module, np.array(totals)


# -- what is added -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows", "batch"])
@pytest.mark.parametrize("class_weight", [None, {0: 1.0, 1: 5.0}])
def test_equals_gradient_descent_on_the_sum(name, class_weight):
    params = {"optimizer": descent, "lr": 0.1, "lr_schedule": "constant", "batch_size": 200}
    clf = net(
        {name: 0.5}, loss="cross_entropy", class_weight=class_weight, weight_decay=0.0, **params
    )
    clf.fit(X, Y, WEIGHT)
    weights = (1.0, 1.0) if class_weight is None else (1.0, 5.0)
    module, totals = by_hand(WEIGHT, name == "rows", weights)
    expected = torch.cat([p.detach().ravel() for p in module.parameters()])
    found = torch.cat([p.detach().ravel() for p in clf.module_.parameters()])
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(clf.history_[:, ("train_loss", "aux_loss")], totals, rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("only_in_training", [False, True])
def test_names_in_every_kind_of_output(kind, only_in_training):
    expected = net({"rows": 1.0}).fit(X, Y)
    found = net("rows", kind=kind, only_in_training=only_in_training).fit(X, Y)
    assert_same(found, expected)
    assert abs(parameters_of(found) - parameters_of(net(None).fit(X, Y))).max() > 1e-3


def test_several_names_and_factors():
    both = net({"rows": 0.25, "batch": 0.5}).fit(X, Y)
    assert_same(both, net("rows", factor=0.75).fit(X, Y))
    without = [net(a, weight_decay=0.0).fit(X, Y) for a in ({"rows": 0.0}, None)]
    assert_same(*without, keys=["train_loss"])


def test_a_function_gets_everything_and_the_codes():
    seen = []

    def function(output, target):
        seen.append((sorted(output), target.dtype, target.shape))
        return output["rows"]

    labels = np.array(["no", "yes"])[Y.astype(int)]
    assert_same(net(function).fit(X, labels), net("rows").fit(X, Y))
    assert seen[0] == (["batch", "logits", "rows"], torch.int64, (32,))


def test_a_plain_module_with_a_function():
    """An entropy that is added to a perceptron, which has no graph else, equals one by a class."""

    def confidence(logits, target):
        return 0.3 * logits.log_softmax(1).exp().square().sum(1)

    class Own(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.net = imbtorch.MLP((8,)).build(input_shape, n_outputs)

        def forward(self, x):
            z = self.net(x)
            return {"logits": z, "extra": confidence(z, None)}

    plain = net(confidence, module=imbtorch.MLP((8,)), features=None)
    bias = net(None, module=imbtorch.MLP((8,)), features=None).fit(X, Y)
    assert not np.allclose(plain.fit(X, Y).predict_proba(X), bias.predict_proba(X))
    own = net("extra", module=Own).fit(X, Y)
    assert_same(
        net(confidence, module=lambda *sizes: nn.Sequential(Own(*sizes).net)).fit(X, Y), own
    )


def test_a_table_with_embeddings_in_front():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": X[:, 0], "b": np.where(X[:, 1] > 0, "u", "v")})
    features = imbtorch.features.TableFeatures(max_one_hot=0, numeric_embedding="periodic")
    clf = net("rows", features=features).fit(frame, Y)
    assert (clf.history_[:, "aux_loss"] > np.zeros(2)).all()
    assert isinstance(clf.module_(torch.zeros(1, 2).double()), torch.Tensor)


def test_the_last_module_of_a_sequential():
    def build(input_shape, n_outputs):
        return nn.Sequential(nn.Identity(), Autoencoder(input_shape, n_outputs))

    assert_same(net("rows", module=build).fit(X, Y), net("rows").fit(X, Y))


def test_several_members():
    class Members(Autoencoder):
        n_members = 3

        def forward(self, x):
            output = super().forward(x)
            z = output["logits"]
            return {**output, "logits": torch.stack([z, 2 * z, 3 * z], dim=1)}

    clf = net("rows", module=Members).fit(X, Y)
    assert_same(clf, net("rows", module=Members, accumulate=2, batch_size=16).fit(X, Y))


@pytest.mark.parametrize("name", ["rows", "batch"])
def test_weights_of_rows(name):
    """A row of weight 0 is no row, and one of weight 2 is two, for values per row."""
    params = {"batch_size": 400, "loss": "cross_entropy", "max_epochs": 3}
    weight = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    weighted = net(name, **params).fit(X, Y, weight)
    repeated = net(name, **params).fit(*(np.repeat(a, weight.astype(int), axis=0) for a in (X, Y)))
    equal = np.allclose(parameters_of(weighted), parameters_of(repeated), rtol=1e-6, atol=1e-9)
    assert equal == (name == "rows")


def test_rows_whose_label_is_ignored():
    params = {"batch_size": 400, "loss": nn.CrossEntropyLoss(ignore_index=-1), "max_epochs": 3}
    known = np.arange(len(X)) % 3 > 0
    ignored = net("rows", **params).fit(X, np.where(known, Y, -1))
    assert_same(ignored, net("rows", **params).fit(X[known], Y[known]))


@pytest.mark.parametrize("unknown", [False, True])
def test_labels_of_several_kinds(unknown):
    y = np.where(np.arange(len(X))[:, None] % 7 == [1, 3], np.nan, LABELS) if unknown else LABELS
    clf = net("rows", loss="bce", weight_decay=0.0).fit(X, y, WEIGHT)
    assert_same(
        clf,
        net("rows", loss="bce", weight_decay=0.0, batch_size=16, accumulate=2).fit(X, y, WEIGHT),
    )
    even = net("rows", loss="bce", batch_size=200, max_epochs=1).fit(X, LABELS)
    batch = net("batch", loss="bce", batch_size=200, max_epochs=1).fit(X, LABELS)
    assert_same(even, batch)


def test_regressors():
    y, seen = 1000 + 50 * X[:, 0], []

    def function(output, target):
        seen.append(target)
        return output["rows"]

    found = net(function, ImbalancedNetRegressor).fit(X, y)
    assert_same(found, net("rows", ImbalancedNetRegressor).fit(X, y))
    assert abs(torch.cat(seen[:4]).mean()) < 1e-6  # standardised


# -- the rest of a training ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"accumulate": 4, "batch_size": 8},
        {"on_oom": "split"},
        {"callbacks": [WatchBatches()]},
        {"sharpness": 0.05},
        {"sharpness": 0.05, "accumulate": 4, "batch_size": 8},
        {"sharpness": 0.05, "callbacks": [WatchBatches()]},
    ],
    ids=lambda params: "-".join(params),
)
def test_ways_to_compute_a_step(params):
    aside = {"sharpness": params["sharpness"]} if "sharpness" in params else {}
    assert_same(net("rows", **params).fit(X, Y, WEIGHT), net("rows", **aside).fit(X, Y, WEIGHT))


def test_parts_after_memory_ran_out():
    class Large(Autoencoder):
        def forward(self, x):
            if len(x) > 10:
                raise MemoryError
            return super().forward(x)

    with pytest.warns(UserWarning, match="in 4 parts"):
        found = net("rows", module=Large, on_oom="split").fit(X, Y)
    assert_same(found, net("rows").fit(X, Y))


@pytest.mark.parametrize(
    "params",
    [
        {"averaging": "ema", "gradient_clipping": 0.1},
        {"loss": "logit_adjusted", "sampler": "class_balanced"},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"sampler": "mixup"},
        {"loss": "auc_margin"},
        {"param_groups": {"encoder.*": {"frozen": 0.5}}},
    ],
    ids=str,
)
def test_works_with(params):
    clf = net("rows", **params).fit(X, Y)
    assert np.isfinite(clf.history_[:, "aux_loss"]).all()
    plain = net(None, **params).fit(X, Y)
    difference = np.array(clf.history_[:, "train_loss"]) - clf.history_[:, "aux_loss"]
    np.testing.assert_allclose(difference[0], plain.history_[0, "train_loss"], rtol=0.2)
    assert "aux_loss" not in plain.history_[0]


def test_a_mixed_row_weighs_as_its_two_targets_together():
    found, expected = (net(name, sampler="mixup").fit(X, Y) for name in ("rows", "batch"))
    assert_same(found, expected)


@pytest.mark.slow
def test_compiled_and_traced_modules():
    def compiled(shape, n):
        return torch.compile(Autoencoder(shape, n), backend="eager")

    def traced(shape, n):
        return torch.fx.symbolic_trace(Autoencoder(shape, n))

    expected = net("rows").fit(X, Y)
    for module in (compiled, traced):
        assert_same(net("rows", module=module).fit(X, Y), expected)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.filterwarnings("ignore:precision=")
def test_half_precision_computes_losses_in_single(precision):
    kinds = []

    def function(output, target):
        kinds.append({value.dtype for value in vars(output).values()})
        return ((output.logits - 1000) ** 2).mean(1)  # more than float16 holds

    params = {"dtype": "float32", "precision": precision, "max_epochs": 1, "kind": "object"}
    clf = net(function, **params).fit(X, Y)
    assert kinds[0] == {torch.float32}
    assert 9e5 < clf.history_[0, "aux_loss"] < 1.1e6
    by_name = net("rows", **params).fit(X, Y).history_[0, "aux_loss"]
    expected = net("rows", **{**params, "precision": None}).fit(X, Y).history_[0, "aux_loss"]
    assert by_name == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("returned", RETURNED)
def test_half_precision_keeps_the_form_of_the_output(returned):
    class Net(nn.Linear):
        def forward(self, x):
            return RETURNED[returned](super().forward(x), x)

    forms = []
    for precision in (None, "bfloat16"):
        net(
            lambda output, target: (forms.append(type(output)), torch.zeros(()))[1],
            module=lambda shape, n: Net(*shape, n),
            **{"dtype": "float32", "precision": precision, "max_epochs": 1, "batch_size": 200},
        ).fit(X, Y)
    assert forms[0] == forms[1]


@pytest.mark.parametrize("aux_loss", ["rows", {"batch": 0.3}, rows_of])
def test_checkpoints(tmp_path, aux_loss):
    def make(folder):
        return net(aux_loss, max_epochs=4, checkpoint=folder)

    cut_short(lambda: make(tmp_path).fit(X, Y), 2)
    whole = net(aux_loss, max_epochs=4).fit(X, Y)
    assert_same(make(tmp_path).fit(X, Y, resume=True), whole, rtol=0)
    with pytest.raises(ValueError, match="aux_loss"):
        net(None, max_epochs=4, checkpoint=tmp_path).fit(X, Y, resume=True)


def test_chunks_streams_and_further_training():
    class Stream(IterableDataset):
        def __iter__(self):
            return zip(X, Y, strict=True)

    params = {"max_epochs": 1, "lr_schedule": "constant"}
    stream = net("rows", **params).fit(Stream(), class_counts=class_counts(Stream()))
    chunk = net("rows", **params).partial_fit(X, Y, classes=[0, 1], shuffle=False)
    assert_same(stream, chunk)
    again = net("rows", warm_start=True).fit(X, Y).set_params(aux_loss=None).fit(X, Y)
    assert ["aux_loss" in record for record in again.history_] == [True, True, False, False]


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.net = Autoencoder((5,), n_outputs)

        def forward(self, left, right):
            return self.net(torch.cat([left, right], dim=1))

    inputs = {"left": X[:, :2], "right": X[:, 2:]}
    assert_same(net("rows", module=Two).fit(inputs, Y), net("rows").fit(X, Y))


# -- around a training -----------------------------------------------------------------------------


def test_clones_pickles_and_files(tmp_path):
    for aux_loss in ("rows", {"rows": 0.5, "batch": 1.0}):
        clf = net(aux_loss)
        assert clone(clf).get_params()["aux_loss"] == aux_loss
        clf.fit(X, Y).save(tmp_path / "net")
        loaded = imbtorch.load(tmp_path / "net", module=clf.module)
        assert loaded.aux_loss == aux_loss
        assert list(loaded.history_[:, "aux_loss"]) == list(clf.history_[:, "aux_loss"])
        for again in (loaded, pickle.loads(pickle.dumps(clf))):
            np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
        assert_same(loaded.fit(X, Y), clf)
    clf = net(rows_of).fit(X, Y)
    assert clone(clf).aux_loss is rows_of
    with pytest.raises(ValueError, match=r"aux_loss=.*set_params\(aux_loss=None\)"):
        clf.save(tmp_path / "function")
    text = clf.model_card()
    assert "aux_loss of the last epoch" in text


def test_searches_and_ensembles_train_one_by_one():
    grid = {"aux_loss": [None, "rows", {"rows": 10.0}]}
    with pytest.warns(NotStackedWarning, match="aux_loss looks at everything"):
        found = StackedGridSearchCV(net(None), grid, cv=2, scoring="neg_log_loss").fit(X, Y)
    expected = GridSearchCV(net(None), grid, cv=2, scoring="neg_log_loss").fit(X, Y)
    scores = [search.cv_results_["mean_test_score"] for search in (found, expected)]
    np.testing.assert_allclose(*scores, rtol=1e-7)
    assert len(set(scores[0].round(8))) == 3
    with pytest.warns(NotStackedWarning, match="aux_loss"):
        ensemble = NetEnsembleClassifier(net("rows"), 2, random_state=0).fit(X, Y)
    assert all("aux_loss" in member.history_[-1] for member in ensemble.estimators_)


def test_an_automatic_length():
    with pytest.warns(NotStackedWarning, match="aux_loss"):
        clf = net("rows", max_epochs="auto", loss="cross_entropy", lr=0.1).fit(X, Y)
    assert "aux_loss" in clf.history_[-1]


def test_a_second_stage_trains_the_head_alone():
    clf = net("rows", loss="cross_entropy").fit(X, Y)
    second = finetune_head(clf, X, Y, max_epochs=1)
    assert second.aux_loss == "rows"
    assert "aux_loss" not in second.history_[-1]


def test_the_module_keeps_no_hook_and_no_tensor():
    clf = net("rows").fit(X, Y)
    assert len(clf.module_._forward_hooks) == 1  # what leaves the logits alone
    with pytest.raises(DivergenceError):
        clf.set_params(aux_loss=lambda output, target: output["rows"] * np.nan).fit(X, Y)
    assert len(clf.module_._forward_hooks) == 1


def test_a_plain_module_without_it_is_trained_as_a_chain():
    with mock.patch.object(engine, "auxiliary_of", side_effect=AssertionError):
        clf = net(None, module=imbtorch.MLP((8,))).fit(X, Y)
    assert "aux_loss" not in clf.history_[0]
    with mock.patch.object(Chain, "gradients", side_effect=AssertionError):
        net(lambda z, y: z.square().mean(1), module=imbtorch.MLP((8,))).fit(X, Y)


# -- what is refused -----------------------------------------------------------------------------


def refused(aux_loss, match, error=ValueError, **params):
    clf = net(None).fit(X, Y)
    before = clf.predict_proba(X)
    clf.set_params(aux_loss=aux_loss, **params)
    with pytest.raises(error, match=match):
        clf.fit(X, Y)
    np.testing.assert_array_equal(clf.set_params(module=Autoencoder).predict_proba(X), before)


def test_names_that_the_output_lacks():
    refused("row", "returns a dict in which it is missing or None; there are 'logits', 'rows'")
    for kind in ("object", "namedtuple"):
        with pytest.raises(ValueError, match="missing or None; there are .*'batch'.*'logits'|rows"):
            net("row", kind=kind).fit(X, Y)
    for returned, name in (("tensor", "Tensor"), ("tuple", "tuple"), ("list", "list")):

        class Net(nn.Linear):
            def forward(self, x, returned=returned):
                return RETURNED[returned](super().forward(x), x)

        refused(
            "rows",
            f"returns a {name}, which has no names. In training it must return a mapping",
            module=lambda shape, n, Net=Net: Net(*shape, n),
        )
    refused("rows", "Sequential|Linear returns a Tensor, which has no names", module="mlp")
    refused("grad", "returns a Tensor, which has no names", module="mlp")


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (lambda z, y: 0.0, "must be a tensor of floats, one number, or one value .*; got 0.0"),
        (lambda z, y: None, "got None"),
        (lambda z, y: y, "got a tensor of torch.int64"),
        (lambda z, y: z["logits"], r"has shape \(32, 2\), but must be one number, or .*\(32,\)"),
        (lambda z, y: z["rows"][:5], r"has shape \(5,\)"),
        (lambda z, y: z["rows"][:, None], r"has shape \(32, 1\).*Take the mean"),
        ("logits", r"aux_loss='logits' has shape \(32, 2\)"),
        ({"rows": 1.0, "logits": 0.0}, r"aux_loss='logits' has shape \(32, 2\)"),
    ],
    ids=range(8),
)
def test_values_of_another_form(value, match):
    refused(value, match)


@pytest.mark.parametrize("params", [{"accumulate": 2}, {"on_oom": "split"}], ids=str)
def test_one_number_for_parts_of_a_batch(params):
    setting = "accumulate=2" if "accumulate" in params else 'on_oom="split"'
    match = f"one number for a whole batch, but {setting} .* or leave out {setting}"
    refused("batch", match, **params)


def test_functions_of_mixed_targets():
    refused(rows_of, "mixes two targets.*aux_loss='name'", sampler="mixup")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite(value):
    refused(
        lambda output, target: output["rows"] * value,
        "diverged in epoch 1: train loss (nan|inf) .aux_loss (nan|inf).",
        DivergenceError,
    )
    with pytest.warns(UserWarning, match="weights of the last finite epoch were restored"):
        clf = net(lambda output, target: output["rows"] * value, on_divergence="restore").fit(X, Y)
    assert np.isfinite(parameters_of(clf)).all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_return_a_tensor_alone():
    def scripted(shape, n):
        return torch.jit.script(nn.Sequential(nn.Linear(*shape, 3), nn.ReLU(), nn.Linear(3, n)))

    def plain(shape, n):
        return nn.Sequential(nn.Linear(*shape, 3), nn.ReLU(), nn.Linear(3, n))

    def square(z, y):
        return z.square().mean(1)

    assert_same(net(square, module=scripted).fit(X, Y), net(square, module=plain).fit(X, Y))
    refused("rows", "which has no names", module=scripted)
