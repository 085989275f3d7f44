"""Tables in the estimators: what is learned belongs to the net, whatever surrounds it."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC, RandomOverSampler
from scipy import sparse
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from imbtorch import (
    MLP,
    ImbalancedNetClassifier,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    finetune_head,
)
from imbtorch.features import TableFeatures
from imbtorch.model_selection import StackedGridSearchCV
from imbtorch.modules import ModuleBuilder
from tests.features.tables import rare_buyers

FRAME, Y = rare_buyers()
NEW = rare_buyers(50, seed=1)[0].assign(town="a town that training did not have")


def classifier(**params):
    return ImbalancedNetClassifier(**{"random_state": 0, "max_epochs": 3, **params})


FITTED = classifier().fit(FRAME, Y)


def test_a_frame_as_it_comes():
    clf = classifier(max_epochs=20).fit(FRAME, Y)
    assert average_precision_score(Y, clf.predict_proba(FRAME)[:, 1]) > 2 * Y.mean()
    assert clf.feature_names_in_.tolist() == FRAME.columns.tolist()
    assert np.isfinite(clf.predict_proba(NEW)).all()


def test_the_net_is_that_behind_a_transformer():
    features = TableFeatures(numeric_embedding=None, embedding_size=None)
    inside = classifier(features=features, dtype="float64").fit(FRAME, Y)
    outside = make_pipeline(features, classifier(features=None, dtype="float64")).fit(FRAME, Y)
    np.testing.assert_allclose(
        inside.predict_proba(NEW), outside.predict_proba(NEW), rtol=0, atol=1e-12
    )


def test_what_is_learned_lies_in_the_module_and_can_be_looked_at():
    rows = torch.from_numpy(FITTED._check_X(NEW, reset=False))
    logits = FITTED.module_(rows)
    np.testing.assert_allclose(
        logits.log_softmax(1).diff(dim=1).ravel().detach(),
        FITTED.set_params(target_prior=None).net_.module_(FITTED.net_.encoder_(rows))
        .log_softmax(1).diff(dim=1).ravel().detach(),
    )  # fmt: skip
    names = FITTED.features_.get_feature_names_out()
    assert {"age", "age_missing", "job_nurse", "town"} <= set(names)
    assert FITTED.features_.transform(NEW).shape == (50, len(names))


def test_looking_at_the_module_leaves_the_modes_of_its_layers():
    clf = classifier(module=MLP((4,), dropout=0.5), max_epochs=1).fit(FRAME, Y)
    layers = clf.net_.module_.train()
    layers[-1].eval()  # as a callback that freezes layers may do
    assert clf.module_.training
    assert [layer.training for layer in layers] == [True] * (len(layers) - 1) + [False]
    layers.eval()
    assert not clf.module_.training


def test_the_training_part_alone_is_looked_at():
    frame = FRAME.assign(amount=FRAME["amount"])
    clf = classifier(early_stopping=True).fit(frame, Y)
    held = clf.set_params().features_.encoder_.centre
    assert not torch.allclose(held, FITTED.net_.encoder_.centre, rtol=1e-6)
    sampled = classifier(sampler=RandomOverSampler(random_state=0)).fit(FRAME, Y)
    torch.testing.assert_close(sampled.net_.encoder_.centre, FITTED.net_.encoder_.centre)


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_a_weight_of_two_is_a_row_given_twice(scaling):
    settings = {"dtype": "float64", "batch_size": 10**6, "features": TableFeatures(scaling=scaling)}
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, len(Y))
    order = np.repeat(np.arange(len(Y)), weights)
    weighted = classifier(**settings).fit(FRAME, Y, sample_weight=weights)
    repeated = classifier(**settings).fit(FRAME.iloc[order], Y[order])
    np.testing.assert_allclose(
        weighted.predict_proba(NEW), repeated.predict_proba(NEW), rtol=0, atol=1e-10
    )


def test_a_stacked_search_over_features_and_net_is_the_usual_one():
    grid = {"features__scaling": ["standard", "robust"], "loss__tau": [0.0, 1.0]}
    settings = {"cv": 2, "scoring": "average_precision"}
    stacked = StackedGridSearchCV(classifier(), grid, **settings).fit(FRAME, Y)
    plain = GridSearchCV(classifier(), grid, **settings).fit(FRAME, Y)
    np.testing.assert_allclose(
        stacked.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-6
    )


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}])
def test_ensembles(params):
    base = ImbalancedNetClassifier(max_epochs=2, **params)
    clf = NetEnsembleClassifier(base, n_estimators=3, random_state=0).fit(FRAME, Y)
    mean = np.mean([member.predict_proba(NEW) for member in clf.estimators_], axis=0)
    shared = {id(member.net_.encoder_) for member in clf.estimators_}
    assert (len(shared) == 1) == (not params)
    assert clf.predict_proba(NEW).shape == mean.shape
    np.testing.assert_allclose(clf.predict_proba(NEW).sum(axis=1), 1, atol=1e-6)


def test_regressor_and_labels():
    target = FRAME["amount"].to_numpy() / 1000
    reg = ImbalancedNetRegressor(random_state=0, max_epochs=2).fit(FRAME, target)
    assert np.isfinite(reg.predict(NEW)).all()
    labels = np.stack([Y, 1 - Y], axis=1)
    assert classifier().fit(FRAME, labels).predict(NEW).shape == (50, 2)


def test_second_stage():
    second = finetune_head(FITTED, FRAME, Y, max_epochs=2)
    assert not np.allclose(second.predict_proba(NEW), FITTED.predict_proba(NEW))
    before, after = FITTED.net_.module_[1].weight, second.net_.module_[1].weight
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize(
    "sampler", [SMOTENC("auto", random_state=0), SMOTEN(random_state=0), RandomOverSampler()]
)
def test_samplers_know_categories_and_see_no_gaps(sampler):
    clf = classifier(sampler=sampler).fit(FRAME, Y)
    assert np.isfinite(clf.predict_proba(NEW)).all()


def test_synthetic_rows_have_whole_categories():
    seen = []

    class Spy(SMOTENC):
        def fit_resample(self, X, y):
            made = super().fit_resample(X, y)
            seen.append((self.categorical_features, made[0]))
            return made

    classifier(sampler=Spy("auto", random_state=0)).fit(FRAME, Y)
    (positions, rows), = seen  # fmt: skip
    assert len(rows) == 2 * (Y == 0).sum()
    assert len(positions) == 5
    codes = rows[:, positions]
    np.testing.assert_array_equal(codes, np.floor(codes))


def test_smote_between_codes_is_an_error_with_the_way_out():
    with pytest.raises(ValueError, match=r"\['town'\].*SMOTENC"):
        classifier(sampler=SMOTE(random_state=0)).fit(FRAME, Y)
    wide = classifier(sampler=SMOTE(random_state=0), features=TableFeatures(embedding_size=None))
    assert wide.fit(FRAME, Y).n_iter_ == 3
    with pytest.raises(ValueError, match=r"mixes rows.*\['town'\]"):
        classifier(sampler="mixup").fit(FRAME, Y)


def test_chunks_use_the_encoder_of_the_first_one():
    clf = classifier()
    clf.partial_fit(FRAME[:300], Y[:300], classes=[0, 1])
    first = clf.net_.encoder_
    clf.partial_fit(FRAME[300:], Y[300:])
    assert clf.net_.encoder_ is first
    alone = TableFeatures().fit(FRAME[:300])
    torch.testing.assert_close(first.centre, alone.encoder_.centre)


class Rows(torch.utils.data.Dataset):
    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i], self.y[i]


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, X, y):
        self.X, self.y = X, y

    def __iter__(self):
        return iter(zip(self.X, self.y, strict=True))


def test_memory_maps_datasets_and_streams(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) * [1, 1e4, 1] + [0, 0, 1.7e9]
    X[rng.random(X.shape) < 0.1] = np.nan
    y = (np.nan_to_num(X[:, 0]) > 1).astype(int)
    np.save(tmp_path / "X.npy", X)
    expected = classifier().fit(X, y).predict_proba(X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_allclose(
        classifier().fit(mapped, y).predict_proba(mapped), expected, atol=1e-6
    )
    read = classifier().fit(Rows(X, y))
    np.testing.assert_allclose(read.predict_proba(Rows(X, y)), expected, atol=1e-6)
    counts = dict(enumerate(np.bincount(y).tolist()))
    streamed = classifier().fit(Stream(X, y), class_counts=counts)
    torch.testing.assert_close(streamed.net_.encoder_.centre, read.net_.encoder_.centre)


def test_sparse_rows():
    X = sparse.random(300, 40, 0.2, format="csr", random_state=0)
    y = (np.arange(300) % 7 == 0).astype(int)
    clf = classifier().fit(X, y)
    np.testing.assert_allclose(clf.predict_proba(X), clf.predict_proba(X.toarray()), atol=1e-6)


def test_pickles_and_checkpoints(tmp_path):
    again = pickle.loads(pickle.dumps(FITTED))
    np.testing.assert_array_equal(again.predict_proba(NEW), FITTED.predict_proba(NEW))

    def stop(net):
        return net.history[-1]["epoch"] >= 2

    folder = tmp_path / "checkpoint"
    classifier(checkpoint=folder, max_epochs=3).fit(FRAME, Y)
    resumed = classifier(checkpoint=folder).fit(FRAME, Y, resume=True)
    np.testing.assert_array_equal(resumed.predict_proba(NEW), FITTED.predict_proba(NEW))
    other = FRAME.assign(town=FRAME["town"] + "!")
    with pytest.raises(ValueError, match="categories"):
        classifier(checkpoint=folder).fit(other, Y, resume=True)


def test_scorers_of_the_users_own_get_the_rows_as_given():
    seen = []

    def score(estimator, X, y):
        seen.append(type(X))
        return float(estimator.predict_proba(X)[:, 1].mean())

    classifier(scoring=score, early_stopping=True).fit(FRAME, Y)
    assert set(seen) == {pd.DataFrame}


# -- who is encoded ------------------------------------------------------------------------------


def test_modules_of_the_users_own_get_rows_as_they_are():
    X = np.random.default_rng(0).normal(5, 1, size=(100, 3))
    y = (X[:, 0] > 6).astype(int)
    plain = classifier(module=nn.Linear(3, 2)).fit(X, y)
    assert plain.features_ is None
    with pytest.raises(ValueError, match="NaN"):
        plain.predict(np.full((1, 3), np.nan))
    asked = classifier(module=lambda shape, n: nn.Linear(*shape, n), features="table").fit(X, y)
    assert asked.features_ is not None


def test_without_features_gaps_and_text_are_errors():
    X = np.array([[1.0, np.nan], [2.0, 1.0]] * 10)
    with pytest.raises(ValueError, match="NaN"):
        classifier(features=None).fit(X, [0, 1] * 10)
    with pytest.raises(ValueError, match="features='table'"):
        classifier(module=nn.Linear(7, 2)).fit(FRAME, Y)


def test_images_are_no_tables():
    X = np.zeros((20, 4, 4))
    with pytest.raises(ValueError, match="columns of a table"):
        classifier(features="table").fit(X, [0, 1] * 10)


def test_unknown_names_and_parameters():
    with pytest.raises(ValueError, match="Unknown features 'tables'. Did you mean 'table'"):
        classifier(features="tables").fit(FRAME, Y)
    with pytest.raises(ValueError, match="scaling"):
        classifier(features=TableFeatures(scaling="minmax")).fit(FRAME, Y)


def test_a_failed_fit_leaves_the_estimator_as_it_was():
    clf = classifier().fit(FRAME, Y)
    before = clf.predict_proba(NEW)
    with pytest.raises(ValueError, match="nearly all different"):
        clf.fit(FRAME.assign(town=[f"id {i}" for i in range(len(FRAME))]), Y)
    np.testing.assert_array_equal(clf.predict_proba(NEW), before)


def test_a_first_chunk_without_any_spread_warns():
    with pytest.warns(UserWarning, match="constant in the 1 rows of the first chunk"):
        classifier(max_epochs=1).partial_fit(np.ones((1, 3)), [0], classes=[0, 1])


def test_gaps_in_images_of_a_dataset_are_an_error():
    class Flat(ModuleBuilder):
        def build(self, input_shape, n_outputs):
            return nn.Sequential(nn.Flatten(), nn.Linear(6, n_outputs))

    images = np.zeros((20, 2, 3), np.float32)
    images[7, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        classifier(module=Flat()).fit(Rows(images, np.arange(20) % 2))


def test_a_search_over_long_lists_of_categories_fits_each_of_them():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, size=(200, 120)).astype(float)
    y = (codes[:, 119] == 1).astype(int)
    chosen = [list(range(119)), list(range(120))]
    search = StackedGridSearchCV(
        classifier(max_epochs=2), {"features__categorical_features": chosen}, cv=2
    )
    search.fit(codes, y)
    plain = GridSearchCV(
        classifier(max_epochs=2), {"features__categorical_features": chosen}, cv=2
    ).fit(codes, y)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )
