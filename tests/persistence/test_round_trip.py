"""What is saved and loaded predicts the same bits, and is a full estimator."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from imblearn.over_sampling import RandomOverSampler
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochTimer
from torch import nn

from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    finetune_head,
    load,
    tau_normalize,
)
from imbtorch.feature_smoothing import FeatureSmoothing
from imbtorch.losses import BaseLoss, FocalLoss, TorchLoss, all_losses
from imbtorch.losses.regression import BalancedMSELoss, all_regression_losses
from imbtorch.samplers import PowerSampler, all_samplers
from tests.toy import small, table

X, Y = table(120)
X3, Y3 = table(150, n_classes=3, rate=0.3)
LABELS = (np.random.default_rng(0).random((120, 3)) < [0.1, 0.3, 0.5]).astype(int)
VALUES = X[:, 0] + np.random.default_rng(0).normal(size=120)
N = {"classes": (X, Y), "several classes": (X3, Y3), "labels": (X, LABELS)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def reg(**params):
    return ImbalancedNetRegressor(MLP((8,)), **{"max_epochs": 2, "random_state": 0, **params})


def plain(value):
    """The same value in a form that ``==`` compares by content."""
    if isinstance(value, type):
        return value
    if isinstance(value, torch.Tensor):
        return value.dtype, value.tolist()
    if isinstance(value, np.ndarray):
        return value.dtype, value.tolist()
    if isinstance(value, np.random.RandomState):
        return [plain(part) for part in value.get_state()]
    if hasattr(value, "get_params"):
        return type(value), plain(value.get_params())
    if isinstance(value, nn.Module):
        return repr(value), {key: plain(item) for key, item in value.state_dict().items()}
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return type(value), repr(value) if isinstance(value, float) else value


def _without_addresses(text):
    return re.sub(r"at 0x\w+", "", text)


def again(estimator, path, X, **how):
    """Save, load, and compare everything that can be compared."""
    estimator.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin = load(path, **how)
    assert type(twin) is type(estimator)
    assert _without_addresses(repr(twin)) == _without_addresses(repr(estimator))
    given = "module" in how
    drop = [key for key in estimator.get_params() if given and "module" in key]
    before, after = (
        {key: value for key, value in e.get_params().items() if key not in drop}
        for e in (estimator, twin)
    )
    assert plain(after) == plain(before)
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(estimator, method):
            there, here = getattr(estimator, method)(X), getattr(twin, method)(X)
            assert here.dtype == there.dtype
            np.testing.assert_array_equal(here, there)
    for name, value in vars(estimator).items():
        if name.endswith("_") and isinstance(value, np.ndarray):
            assert vars(twin)[name].dtype == value.dtype
            np.testing.assert_array_equal(vars(twin)[name], value)
    return twin


def same_net(twin, estimator):
    assert twin.history_ == estimator.history_
    assert type(twin.history_) is type(estimator.history_)
    assert twin.n_iter_ == estimator.n_iter_
    for part in ("module_", "loss_"):
        there, here = getattr(estimator, part).state_dict(), getattr(twin, part).state_dict()
        assert there.keys() == here.keys()
        for key, value in there.items():
            assert here[key].dtype == value.dtype
            assert here[key].is_contiguous() == value.is_contiguous()
            assert torch.equal(here[key], value)
        there, here = (getattr(e, part) for e in (estimator, twin))
        assert repr(here) == repr(there)
        assert [p.requires_grad for p in here.parameters()] == [
            p.requires_grad for p in there.parameters()
        ]


# -- losses ----------------------------------------------------------------------------------------


@pytest.mark.matrix
@pytest.mark.parametrize("name", all_losses())
def test_every_loss(name, path):
    saved = []
    for kind, (features, targets) in N.items():
        clf = small(loss=name, max_epochs=1)
        try:
            clf.fit(features, targets)
        except ValueError:  # has no form for these
            assert kind != "classes"
            continue
        same_net(again(clf, path, features), clf)
        saved.append(kind)
    assert len(saved) > 1


@pytest.mark.parametrize("params", [{}, {"kind": "gai"}, {"kind": "bni", "learn_noise": False}])
def test_balanced_mse_keeps_what_it_learned(params, path):
    model = reg(loss=BalancedMSELoss(**params), lr=0.1).fit(X, VALUES)
    twin = again(model, path, X)
    same_net(twin, model)
    assert (model.loss_.log_scale.item() != 0) == params.get("learn_noise", True)


@pytest.mark.parametrize("name", all_regression_losses())
@pytest.mark.parametrize("targets", [VALUES, X[:, :2]], ids=["vector", "matrix"])
def test_every_regression_loss(name, targets, path):
    model = reg(loss=name).fit(X, targets)
    same_net(again(model, path, X), model)


TORCH_LOSSES = [
    nn.L1Loss(),
    nn.L1Loss,
    nn.HuberLoss(delta=0.3),
    nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0]), label_smoothing=0.1),
    nn.NLLLoss(),
    nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0])),
    nn.MultiMarginLoss(p=2, margin=0.5),
    nn.KLDivLoss(reduction="batchmean"),
    TorchLoss(nn.SmoothL1Loss(beta=2.0), weight=[1, 3]),
    FocalLoss,
]


@pytest.mark.parametrize("loss", TORCH_LOSSES, ids=repr)
def test_losses_of_torch(loss, path):
    clf = small(loss=loss).fit(X, Y)
    same_net(again(clf, path, X), clf)


def test_losses_of_torch_for_values(path):
    model = reg(loss=nn.SmoothL1Loss(beta=0.3)).fit(X, VALUES)
    same_net(again(model, path, X), model)


def test_the_fitted_loss_is_saved_whatever_the_parameter_says(path):
    clf = small(loss=FocalLoss(3.0), loss_schedule=None).fit(X, Y)
    clf.set_params(loss="hinge")
    twin = again(clf, path, X)
    assert twin.loss_.gamma == 3.0


# -- parameters ------------------------------------------------------------------------------------

PARAMS = [
    {"class_weight": {1: 5}},
    {"class_weight": "balanced"},
    {"class_weight": np.array([1.0, 3.0])},
    {"class_weight": [1, 3], "dtype": "float64"},
    {"class_weight": {np.int64(1): np.float32(5)}},
    {"target_prior": "train"},
    {"target_prior": {0: 0.3, 1: 0.7}},
    {"target_prior": (0.25, 0.75)},
    {"sampler": "class_balanced", "loss": "cross_entropy"},
    {"sampler": PowerSampler(0.25), "sampler_schedule": 0.5},
    {"random_state": np.random.RandomState(3)},
    {"random_state": None},
    {"device": torch.device("cpu")},
    {"module": MLP((4, 3), activation="relu", dropout=0.3, normalization="batch", head="cosine")},
    {"module": MLP(np.array([5])), "averaging": "ema", "max_epochs": 3},
    {"module": MLP(()), "optimizer": "sgd"},
    {"module": MLP},
    {"module": "mlp", "module__hidden_sizes": [6]},
    {"early_stopping": True, "scoring": "roc_auc", "validation_fraction": 0.3},
    {"callbacks": []},
    {"lr": 1e-300, "weight_decay": 0, "gradient_clipping": 1.5, "class_weight_schedule": None},
]


@pytest.mark.matrix
@pytest.mark.filterwarnings("ignore::imbtorch.DoubleCorrectionWarning")
@pytest.mark.parametrize("params", PARAMS, ids=" ".join)
def test_parameters(params, path):
    nested = {key: value for key, value in params.items() if "__" in key}
    params = {key: value for key, value in params.items() if key not in nested}
    clf = small(**params).set_params(**nested).fit(X, Y)
    twin = again(clf, path, X)
    same_net(twin, clf)
    again(clone(twin).fit(X, Y), path, X)


@pytest.mark.parametrize("name", all_samplers())
def test_every_sampler_of_ours(name, path):
    clf = small(sampler=all_samplers()[name](), loss="cross_entropy", max_epochs=1).fit(X, Y)
    again(clf, path, X)


@pytest.mark.parametrize(
    "density_weight",
    ["lds", ("dense_weight", {"alpha": 0.5}), np.abs(VALUES) / 10],
    ids=["name", "parameters", "relevance"],
)
def test_density_weights(density_weight, path):
    again(reg(density_weight=density_weight).fit(X, VALUES), path, X)


# -- labels and features ---------------------------------------------------------------------------

NAMES = {
    "str": np.array(["no", "yes"]),
    "wide str": np.array(["no", "yes"], dtype="U40"),
    "objects": np.array(["no", "été"], dtype=object),
    "bool": np.array([False, True]),
    "float": np.array([-1.0, 1.0]),
    "int8": np.array([3, 7], dtype=np.int8),
    "uint64": np.array([3, 2**63 + 1], dtype=np.uint64),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_labels(names, path):
    clf = small().fit(X, names[Y])
    twin = again(clf, path, X)
    assert twin.classes_.dtype == clf.classes_.dtype


def test_names_of_features(path):
    frame = pd.DataFrame(X, columns=[f"Spalte {i} ü" for i in range(X.shape[1])])
    clf = small().fit(frame, Y)
    twin = again(clf, path, frame)
    assert twin.feature_names_in_.tolist() == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        twin.predict(frame[frame.columns[::-1]])
    with pytest.warns(UserWarning, match="feature names"):
        twin.predict(X)


def test_sparse_rows_leave_a_first_layer_by_feature(path):
    rows = sparse.csr_array(sparse.random(120, 200, density=0.05, random_state=0))
    clf = small().fit(rows, Y)
    assert not clf.net_.module_[0].weight.is_contiguous()
    same_net(again(clf, path, rows), clf)


def test_folder_of_checkpoints_stays_here(path, tmp_path):
    clf = small(checkpoint=tmp_path / "training", checkpoint_interval=2).fit(X, Y)
    clf.save(path)
    twin = load(path)
    assert (twin.checkpoint, twin.checkpoint_interval) == (None, 2)
    np.testing.assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))


def test_interrupted_and_partial_fit(path):
    clf = small().partial_fit(X[:50], Y[:50], classes=[0, 1, 2])
    clf.interrupted_ = True
    twin = again(clf, path, X)
    assert twin.interrupted_
    assert twin._n_rows_seen == 50
    twin.partial_fit(X[50:], Y[50:])
    assert twin.class_counts_.sum() == 120


def test_history_of_uneven_records_with_nan(path):
    clf = small(warm_start=True, callbacks=[]).fit(X, Y)
    clf.set_params(validation_fraction=0.3).fit(X, Y)
    clf.net_.history_.record("extra", float("nan"))
    clf.net_.history_.record("text", ["a", (1, None)])
    clf.save(path)
    there, here = clf.history_[:], load(path).history_[:]
    assert repr(here) == repr(there)


def test_two_stage(path):
    clf = small(loss="cross_entropy").fit(X3, Y3)
    second = [finetune_head(clf, X3, Y3, method=method) for method in ("crt", "lws")]
    for changed in (tau_normalize(clf), *second):
        twin = again(changed, path, X3)
        same_net(twin, changed)


# -- ensembles, pipelines --------------------------------------------------------------------------


@pytest.mark.parametrize("subset", ["balanced", "all"])
@pytest.mark.parametrize("prior", [None, "train"])
def test_ensemble(subset, prior, path):
    base = small(target_prior=prior, loss="cross_entropy")
    clf = NetEnsembleClassifier(base, 3, subset=subset, random_state=0).fit(X, Y)
    twin = again(clf, path, X)
    np.testing.assert_array_equal(twin.predict_std(X), clf.predict_std(X))
    for there, here in zip(clf.estimators_, twin.estimators_, strict=True):
        same_net(here, there)
    assert pickle.loads(pickle.dumps(twin)).fit(X, Y).classes_.tolist() == [0, 1]


def test_ensemble_of_labels_and_of_default_members(path):
    frame = pd.DataFrame(X).rename(columns=str)
    base = small(loss="bce")
    clf = NetEnsembleClassifier(base, 2, subset="all", random_state=0).fit(frame, LABELS)
    again(clf, path, frame)
    base = NetEnsembleClassifier(n_estimators=2, random_state=0).fit(X, Y)
    again(base, path, X)


def test_last_step_of_a_pipeline(path):
    pipeline = make_pipeline(StandardScaler(), small()).fit(X, Y)
    pipeline[-1].save(path)
    pipeline.steps[-1] = ("net", load(path))
    assert pipeline.predict_proba(X).shape == (len(X), 2)


# -- a full estimator ------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_loaded_estimator_trains_on_with_a_new_optimizer(optimizer, path):
    clf = small(warm_start=True, optimizer=optimizer).fit(X, Y)
    twin = again(clf, path, X)
    assert not twin.net_.optimizer_.state
    clf.net_.initialize_optimizer()
    np.testing.assert_array_equal(clf.fit(X, Y).predict_proba(X), twin.fit(X, Y).predict_proba(X))
    assert twin.n_iter_ == 4
    again(twin, path, X)


def test_loaded_regressor_trains_on(path):
    model = reg(loss="balanced_mse", warm_start=True).fit(X, VALUES)
    twin = again(model, path, X)
    model.net_.initialize_optimizer()
    np.testing.assert_array_equal(model.fit(X, VALUES).predict(X), twin.fit(X, VALUES).predict(X))
    twin.partial_fit(X, VALUES)


def test_loaded_estimator_is_like_any_other(path):
    state = torch.get_rng_state()
    clf = small(loss=FocalLoss(1.5)).fit(X, Y)
    twin = again(clf, path, X)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(clone(twin).fit(X, Y).predict(X), clf.predict(X))
    np.testing.assert_array_equal(twin.fit(X, Y).predict(X), clf.predict(X))
    copied = pickle.loads(pickle.dumps(twin))
    np.testing.assert_array_equal(copied.predict_proba(X), clf.predict_proba(X))
    assert not any(parameter.is_meta for parameter in twin.module_.parameters())
    assert not twin.module_.training


def test_tensors_have_memory_of_their_own(path):
    small(MLP((50, 50))).fit(X, Y).save(path)
    for parameter in load(path).module_.parameters():
        assert parameter.untyped_storage().nbytes() == parameter.nbytes


def test_frozen_parameters_stay_frozen(path):
    clf = small().fit(X, Y)
    clf.net_.module_[0].weight.requires_grad_(False)
    same_net(again(clf, path, X), clf)


# -- modules of the user's making ------------------------------------------------------------------


class Tied(nn.Module):
    """Two layers share a weight; a buffer has an infinite entry; another is not saved."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        n = input_shape[0]
        self.first, self.second = nn.Linear(n, n), nn.Linear(n, n)
        self.second.weight = self.first.weight
        self.head = nn.LazyLinear(n_outputs)
        self.register_buffer("mask", torch.full((n,), -torch.inf))
        self.register_buffer("ones", torch.ones(n), persistent=False)

    def forward(self, x):
        return self.head(torch.maximum(self.second(self.first(x).relu()), self.mask) * self.ones)


def build(input_shape, n_outputs):
    return nn.Sequential(nn.Linear(input_shape[0], 4), nn.Tanh(), nn.Linear(4, n_outputs))


class Builder:
    def build(self, input_shape, n_outputs):
        return build(input_shape, n_outputs)


GIVEN = {
    "class": Tied,
    "function": build,
    "builder": Builder(),
    "instance": build((5,), 2),
    "one column": build((5,), 1),
}


@pytest.mark.parametrize("module", GIVEN.values(), ids=GIVEN)
def test_modules_of_the_user(module, path):
    clf = small(module).fit(X, Y)
    state = torch.get_rng_state()
    twin = again(clf, path, X, module=module)
    assert torch.equal(torch.get_rng_state(), state)
    same_net(twin, clf)
    assert twin.module is module
    if module is Tied:
        assert twin.module_.first.weight is twin.module_.second.weight
    np.testing.assert_array_equal(
        clone(twin).fit(X, Y).predict_proba(X), clone(clf).fit(X, Y).predict_proba(X)
    )


def test_ensemble_of_the_users_modules(path):
    clf = NetEnsembleClassifier(small(build), 2, random_state=0).fit(X, Y)
    twin = again(clf, path, X, module=build)
    assert twin.estimator.module is build
    first, second = (member.module_[0].weight for member in twin.estimators_)
    assert first.data_ptr() != second.data_ptr()


def test_layer_that_smooths_features(path):
    def smoothing(input_shape, n_outputs):
        return nn.Sequential(
            nn.Linear(input_shape[0], 3), FeatureSmoothing(3, n_bins=4), nn.Linear(3, n_outputs)
        )

    model = ImbalancedNetRegressor(smoothing, max_epochs=2).fit(X, VALUES)
    same_net(again(model, path, X, module=smoothing), model)


def test_module_of_the_user_must_be_given(path):
    small(Tied).fit(X, Y).save(path)
    with pytest.raises(ValueError, match=r"tests\.persistence\.test_round_trip\.Tied.*module="):
        load(path)
    with pytest.raises(ValueError, match="module=build does not fit"):
        load(path, module=build)
    with pytest.raises(ValueError, match="does not fit"):
        load(path, module=lambda s, n: build(s, n).double())
    with pytest.raises(TypeError, match="module must be"):
        load(path, module=3)
    small().fit(X, Y).save(path)
    with pytest.raises(ValueError, match="without module="):
        load(path, module=Tied)


def test_module_of_the_user_with_another_type(path):
    small(build).fit(X, Y).save(path)

    class Half(nn.Sequential):
        def to(self, *args, **kwargs):
            return super().to(torch.bfloat16)

    with pytest.raises(ValueError, match="bfloat16"):
        load(path, module=lambda s, n: Half(*build(s, n)))


# -- what cannot be saved --------------------------------------------------------------------------


class Nameless(BaseLoss):
    def per_sample(self, logits, target):
        return torch.nn.functional.cross_entropy(logits, target, reduction="none")


def nothing(*args):
    return 1.0


REFUSED = {
    "callbacks": ([EpochTimer()], "callbacks=None"),
    "scoring": (lambda estimator, X, y: 1.0, "scoring=None"),
    "optimizer": (torch.optim.Adam, "optimizer='adamw'"),
    "lr_schedule": (nothing, "lr_schedule='one_cycle'"),
    "class_weight": (lambda counts: counts, "class_weight=None"),
    "loss_schedule": ({"tau": lambda t: t}, "loss_schedule=None"),
    "class_weight_schedule": (nothing, "class_weight_schedule=None"),
    "sampler": (RandomOverSampler(), "sampler=None"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_code_is_refused_by_name_and_can_be_taken_out(name, path):
    value, advice = REFUSED[name]
    extra = {"validation_fraction": 0.2} if name == "scoring" else {}
    extra |= {"class_weight": [1, 2]} if name == "class_weight_schedule" else {}
    clf = small(**{name: value}, **extra).fit(X, Y)
    with pytest.raises(ValueError, match=rf"^{name}.*cannot be written.*set_params\({advice}\)"):
        clf.save(path)
    assert not path.exists()
    default = {"optimizer": "adamw", "lr_schedule": "one_cycle"}.get(name)
    clf.set_params(**{name: default})
    again(clf, path, X)


def test_loss_without_a_name(path):
    clf = small(loss=Nameless()).fit(X, Y)
    with pytest.raises(ValueError, match="set_params.loss='logit_adjusted'"):
        clf.save(path)
    clf.set_params(loss="focal")
    with pytest.raises(ValueError, match="loss_=Nameless.*`name`"):
        clf.save(path)


def test_subclass_of_an_estimator(path):
    class Mine(ImbalancedNetClassifier):
        pass

    with pytest.raises(ValueError, match="Mine is not one of imbtorch's own"):
        Mine(max_epochs=1).fit(X, Y).save(path)


def test_unfitted_estimators(path):
    for estimator in (small(), reg(), NetEnsembleClassifier()):
        with pytest.raises(NotFittedError):
            estimator.save(path)
    assert not path.exists()


def test_changed_module_is_not_saved_under_a_wrong_name(path):
    clf = small(MLP((8,), activation="relu")).fit(X, Y)
    clf.set_params(module__activation="tanh")
    with pytest.raises(ValueError, match="has been changed since the fit"):
        clf.save(path)


def test_invalid_parameters_and_weights_are_not_saved(path):
    clf = small().fit(X, Y)
    with pytest.raises(ValueError, match="lr"):
        clf.set_params(lr=-1.0).save(path)
    clf.set_params(lr=1.0)
    with torch.no_grad():
        clf.net_.module_[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        clf.save(path)


def test_files_know_every_attribute_that_fit_sets(path):
    clf = small().fit(X, Y)
    clf.new_ = 1
    with pytest.raises(ValueError, match="new_"):
        clf.save(path)


def test_module_state_that_is_no_tensor(path):
    class Extra(nn.Sequential):
        def _save_to_state_dict(self, destination, prefix, keep_vars):
            destination[prefix + "code"] = {"a": 1}

    clf = small(lambda s, n: Extra(nn.Linear(5, 2))).fit(X, Y)
    with pytest.raises(ValueError, match="module_.code, which is not a tensor but a dict"):
        clf.save(path)


def test_module_state_that_is_sparse(path):
    class Sparse(nn.Linear):
        def __init__(self, input_shape, n_outputs):
            super().__init__(input_shape[0], n_outputs)
            self.register_buffer("mask", torch.eye(2).to_sparse())

    clf = small(Sparse).fit(X, Y)
    with pytest.raises(ValueError, match=r"module_\.mask has the layout torch.sparse_coo"):
        clf.save(path)


# -- versions and devices --------------------------------------------------------------------------


def test_another_minor_version_warns(path, monkeypatch):
    clf = small().fit(X, Y)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.99.7")
        clf.save(path)
    with pytest.warns(UserWarning, match=r"torch 0\.99\.7"):
        load(path)


def test_device(path):
    small().fit(X, Y).save(path)
    assert load(path, device="auto").device_ in ("cpu", "cuda:0", "cuda")
    with pytest.raises(ValueError, match="not a device"):
        load(path, device="abacus")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_files_travel_between_devices(path):
    clf = small(device="cuda").fit(X, Y)
    clf.save(path)
    np.testing.assert_array_equal(load(path, device="cuda").predict_proba(X), clf.predict_proba(X))
    here = load(path)
    assert here.device_ == "cpu"
    np.testing.assert_allclose(here.predict_proba(X), clf.predict_proba(X), rtol=1e-4)
    here.save(path)
    assert load(path, device="cuda").device_.startswith("cuda")


def test_counts_of_a_stream_are_loaded(tmp_path):
    X, y = table(120)
    counts = {0: 1000, 1: 20}
    clf = small(class_weight="balanced").partial_fit(X, y, class_counts=counts)
    clf.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.partial_fit(X, y).class_counts_.tolist() == [1000, 20]
    with pytest.raises(ValueError, match="not the same as on the first call"):
        loaded.partial_fit(X, y, class_counts={0: 1, 1: 1})
