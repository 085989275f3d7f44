"""TabM: its layers, and what an estimator does with it."""

import pickle
import warnings
from unittest import mock

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import estimator_checks_generator
from torch import nn

import imbtorch
from imbtorch import (
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    NotStackedWarning,
)
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.modules import CategoryEmbeddings, TabM, build_module, members_of, set_output_bias
from imbtorch.modules._member_layers import BatchEnsembleLinear, MemberHeads
from imbtorch.training.single.chain import Chain, plain_layers
from imbtorch.training.single.engine import SingleEngine
from tests.toy import overlapping, parameters_of, table
from tests.training.resume import cut_short

X, Y = table(200)
PLAIN = {"module__normalization": None}  # the chain of layers without an autograd graph
SMALL = {
    "module__hidden_sizes": (8, 6),
    "module__k": 3,
    **PLAIN,
    "max_epochs": 2,
    "random_state": 0,
}


def tabm(estimator=ImbalancedNetClassifier, **params):
    """Return an estimator that trains a tiny TabM for two epochs."""
    params = {**SMALL, **params}
    return estimator("tabm").set_params(**params)


def drawn(module):
    """Draw all parameters at random, so that the members differ in everything."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def member(module, i):
    """Member ``i`` of a TabM, made of plain layers."""
    layers = []
    for layer in module:
        if isinstance(layer, BatchEnsembleLinear):
            plain = nn.Linear(layer.in_features, layer.out_features, dtype=layer.weight.dtype)
            factors = layer.scale_out[i][:, None] * layer.scale_in[i]
            weight, bias = layer.weight * factors, layer.bias[i]
        elif isinstance(layer, MemberHeads):
            plain = nn.Linear(layer.in_features, layer.out_features, dtype=layer.weight.dtype)
            weight, bias = layer.weight[i].t(), layer.bias[i]
        else:
            layers.append(layer)
            continue
        with torch.no_grad():
            plain.weight.copy_(weight)
            plain.bias.copy_(bias)
        layers.append(plain)
    return nn.Sequential(*layers)


# -- layers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalization", [None, "layer"])
@pytest.mark.parametrize("sizes", [(), (7,), (7, 4, 6)])
def test_outputs_are_those_of_k_plain_nets(sizes, normalization):
    module = drawn(TabM(sizes, k=4, normalization=normalization).build((5,), 3).double())
    x = torch.randn(9, 5, dtype=torch.float64)
    expected = torch.stack([member(module, i)(x) for i in range(4)], dim=1)
    assert expected.shape == (9, 4, 3)
    torch.testing.assert_close(module(x), expected)


def test_a_layer_is_the_formula_of_the_paper():
    layer = drawn(BatchEnsembleLinear(5, 3, 2))
    x = torch.randn(2, 9, 5)
    for i in range(2):
        expected = ((x[i] * layer.scale_in[i]) @ layer.weight.t()) * layer.scale_out[i]
        torch.testing.assert_close(layer(x)[i], expected + layer.bias[i])


def test_members_start_equal_up_to_the_signs_of_the_first_layer_and_their_heads():
    first, _, second, _, last = TabM((64, 16), k=5, normalization=None).build((40,), 2)
    assert set(first.scale_in.unique().tolist()) == {-1.0, 1.0}
    assert not (first.scale_in[0] == first.scale_in[1]).all()
    for factors in (first.scale_out, second.scale_in, second.scale_out):
        assert (factors == 1).all()
    for layer, bound in ((first, 40**-0.5), (second, 64**-0.5), (last, 16**-0.5)):
        assert layer.weight.abs().max() <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.2)
        assert layer.bias.abs().max() <= bound
    for layer in (first, second):
        assert (layer.bias == layer.bias[0]).all()
        assert layer.bias[0].std() > 0
    assert not torch.equal(last.weight[0], last.weight[1])


def test_dropout_hides_units_of_each_member_for_itself():
    module = TabM((64,), k=3, dropout=0.5).build((4,), 2)
    kept = module[:3].train()(torch.randn(1, 4)) != 0
    assert kept.shape == (3, 1, 64)
    assert not torch.equal(kept[0], kept[1])


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"k": 0}, "k"),
        ({"k": 2.0}, "k"),
        ({"dropout": 1.0}, "dropout"),
        ({"hidden_sizes": (0,)}, "hidden_sizes"),
        ({"normalization": "batch"}, "normalization"),
    ],
)
def test_parameter_out_of_range_is_named(params, name):
    with pytest.raises(ValueError, match=name):
        TabM(**params).build((5,), 2)


def test_rows_of_more_dimensions_say_how_to_flatten():
    with pytest.raises(ValueError, match=r"TabM works on tables.*reshape\(len\(X\), 12\)"):
        TabM().build((3, 4), 2)


def test_every_head_starts_at_the_prior():
    module = build_module("tabm", (4,), 2)
    set_output_bias("tabm", module, torch.tensor([-0.1, -2.0]))
    assert members_of(module) == TabM().k
    assert (module[-1].bias == torch.tensor([-0.1, -2.0])).all()
    clf = tabm(lr=1e-12, target_prior="train", loss="cross_entropy").fit(X, Y)
    np.testing.assert_allclose(
        clf.module_[-1].bias.softmax(1)[:, 1].tolist(), [Y.mean()] * 3, rtol=1e-5
    )


# -- the chain ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"batch_size": 32},  # the last batch has fewer rows
        {"module__hidden_sizes": ()},
        {"module__dropout": 0.3},
        {"module__normalization": "layer"},
        {"sharpness": 0.05},
        {"on_oom": "split"},
        {"loss": "smooth_ap"},
        {"features": None},
    ],
    ids=lambda params: "-".join(params),
)
@pytest.mark.parametrize("rows", ["numbers", "embeddings"])
def test_the_chain_computes_what_autograd_computes(params, rows):
    given = X
    if rows == "embeddings":
        if "features" in params:
            pytest.skip("embeddings need an encoder")
        given = mixed_table()
    by_chain = tabm(dtype="float64", **params).fit(given, Y)
    assert Chain.of(by_chain.net_.module_) is not None
    with mock.patch.object(SingleEngine, "_chain", return_value=None):
        by_autograd = tabm(dtype="float64", **params).fit(given, Y)
    np.testing.assert_allclose(
        parameters_of(by_chain), parameters_of(by_autograd), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("change", ["hook", "frozen", "gelu", "tied", "another head"])
def test_modules_that_do_anything_else_go_through_autograd(change):
    module = TabM((6, 6), k=2, normalization=None).build((6,), 2)
    assert Chain.of(module) is not None
    assert plain_layers(module) is None
    if change == "hook":
        module[2].register_forward_hook(lambda *args: None)
    elif change == "frozen":
        module[0].bias.requires_grad_(False)
    elif change == "gelu":
        module[1] = nn.GELU()
    elif change == "tied":
        module[2].weight = module[0].weight
    else:
        module[4] = nn.Sequential(module[4])
    assert Chain.of(module) is None


@pytest.mark.parametrize("layer", [nn.ReLU(inplace=True), BatchEnsembleLinear(4, 4, 2)])
def test_plain_nets_with_other_layers_go_through_autograd_as_before(layer):
    module = nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, 2))
    assert plain_layers(module) is None
    assert Chain.of(module) is None


# -- in estimators ------------------------------------------------------------------------------


def test_probabilities_are_the_mean_of_the_restated_ones_of_plain_nets():
    clf = tabm(loss="focal", class_weight="balanced", target_prior="train", features=None).fit(X, Y)
    ratio = torch.from_numpy(clf.class_prior_ / clf.effective_prior_)
    with torch.no_grad():
        x = torch.from_numpy(X).float()
        each = [clf.loss_.log_posterior(member(clf.module_, i)(x)).exp() * ratio for i in range(3)]
    expected = torch.stack([p / p.sum(1, keepdim=True) for p in each]).mean(0).numpy()
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-6)


@pytest.mark.parametrize(
    "params",
    [
        {"loss": "cross_entropy"},
        {"loss": "focal", "class_weight": "balanced"},
        {"loss": "logit_adjusted"},
        {"loss": "cross_entropy", "sampler": "class_balanced", "max_epochs": 6},
        {"loss": "logit_adjusted", "module__normalization": "layer"},
    ],
    ids=["plain", "focal", "logit_adjusted", "sampler", "normalised"],
)
def test_the_posterior_is_recovered(params):
    X, y = overlapping(4000, 0.05)
    clf = tabm(**{"target_prior": "train", "max_epochs": 15, "batch_size": 128, **params}).fit(X, y)
    proba = clf.predict_proba(X)[:, 1]
    truth = 1 / (1 + np.exp(-(np.log(0.05 / 0.95) + X[:, :2].sum(1) - 1)))
    assert proba.mean() == pytest.approx(y.mean(), rel=0.15)
    assert np.abs(proba - truth).mean() < 0.015


def mixed_table():
    rng = np.random.default_rng(0)
    town = rng.choice([f"town {i}" for i in range(60)], len(Y))
    return pd.DataFrame(
        {"size": X[:, 0], "town": town, "gap": np.where(X[:, 1] > 1, np.nan, X[:, 1])}
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", ["classes", "labels", "values", "table", "normalised"])
def test_files_pickles_and_onnx_keep_the_predictions(case, tmp_path):
    kind = ImbalancedNetRegressor if case == "values" else ImbalancedNetClassifier
    rows = mixed_table() if case == "table" else X.astype(np.float32)
    y = {"labels": np.stack([Y, X[:, 0] > 0], 1).astype(int), "values": X[:, 0]}.get(case, Y)
    prior = {} if case == "values" else {"target_prior": "train"}
    own = {"labels": {"loss": "bce"}, "normalised": {"module__normalization": "layer"}}
    est = tabm(kind, **prior, **own.get(case, {})).fit(rows, y)
    if case == "table":
        assert isinstance(est.net_.module_[0], CategoryEmbeddings)
    predict = "predict" if case == "values" else "predict_proba"
    expected = getattr(est, predict)(rows)
    imbtorch.save(est, tmp_path / "model.imbtorch")
    for again in (imbtorch.load(tmp_path / "model.imbtorch"), pickle.loads(pickle.dumps(est))):
        np.testing.assert_array_equal(getattr(again, predict)(rows), expected)
    imbtorch.to_onnx(est, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for n in (1, 50):
        if case == "table":
            given = {
                name: rows[name].to_numpy(object if name == "town" else np.float32)[:n, None]
                for name in rows
            }
        else:
            given = {"X": rows[:n]}
        found = session.run(None, given)[0]
        np.testing.assert_allclose(found, expected[:n], atol=1e-5, rtol=1e-4)


def test_smallest_size_is_a_lower_bound_that_grows():
    for params in TabM._test_params:
        state = TabM(**params).build((1,), 3).state_dict()
        n_tensors, n_numbers = TabM(**params).smallest_size(3)
        assert n_tensors == len(state)
        assert n_numbers <= sum(tensor.numel() for tensor in state.values())
    assert TabM((10**6,), k=10**6).smallest_size(2)[1] > 10**12


def test_a_resumed_training_ends_in_the_same_bits(tmp_path):
    params = {"max_epochs": 4, "averaging": "ema", "module__dropout": 0.2}
    first, second = (tabm(checkpoint=tmp_path, **params) for _ in range(2))
    whole = tabm(**params).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cut_short(lambda: first.fit(X, Y), 2)
        second.fit(X, Y, resume=True)
    np.testing.assert_array_equal(parameters_of(second), parameters_of(whole))


@pytest.mark.slow
def test_chunks_early_stopping_and_a_length_that_is_found():
    clf = tabm(max_epochs=20)
    for start in (0, 100):
        clf.partial_fit(X[start : start + 100], Y[start : start + 100], classes=[0, 1])
    assert np.isfinite(clf.predict_proba(X)).all()
    stopped = tabm(early_stopping=True, validation_fraction=0.3, max_epochs=30, patience=2).fit(
        X, Y
    )
    assert "valid_score" in stopped.history_[-1]
    found = tabm(max_epochs="auto", batch_size=64, lr=0.05).fit(X, Y)
    assert found.n_epochs_ == found.training_length_.n_epochs == found.n_iter_


def test_ensembles_and_searches_train_as_stacks():
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotStackedWarning)
        clf = NetEnsembleClassifier(tabm(), n_estimators=3, random_state=0).fit(X, Y)
        grid = {"loss": ["focal", "cross_entropy"], "module__normalization": [None, "layer"]}
        search = StackedGridSearchCV(tabm(), grid, cv=2).fit(X, Y)
    assert clf.predict_std(X).max() > 0
    alone = clone(search.best_estimator_).fit(X, Y)
    np.testing.assert_allclose(alone.predict_proba(X), search.predict_proba(X), rtol=1e-5)
    assert len(search.cv_results_["params"]) == 4


def test_a_search_scores_what_single_fits_score():
    search = StackedGridSearchCV(
        tabm(), {"lr": [1e-3, 1e-2]}, cv=3, scoring="neg_log_loss", refit=False
    ).fit(X, Y)
    for lr, score in zip((1e-3, 1e-2), search.cv_results_["mean_test_score"], strict=True):
        alone = cross_val_score(tabm(lr=lr), X, Y, cv=3, scoring="neg_log_loss")
        assert score == pytest.approx(alone.mean(), rel=1e-4)


# -- scikit-learn -------------------------------------------------------------------------------

CHECKS = {
    "check_classifiers_train",
    "check_classifiers_classes",
    "check_classifiers_one_label",
    "check_dont_overwrite_attributes",
    "check_dict_unchanged",
    "check_estimators_dtypes",
    "check_estimators_nan_inf",
    "check_estimators_partial_fit_n_features",
    "check_estimators_pickle",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_regressors_train",
    "check_sample_weight_equivalence_on_dense_data",
}


def common_checks():
    for kind in (ImbalancedNetClassifier, ImbalancedNetRegressor):
        estimator = kind(TabM((64,), k=3), dtype="float64")
        for est, check in estimator_checks_generator(estimator):
            if check.func.__name__ in CHECKS:
                yield pytest.param(est, check, id=f"{kind.__name__}-{check.func.__name__}")


@pytest.mark.parametrize(("estimator", "check"), [*common_checks()])
def test_common_check(estimator, check):
    check(estimator)
