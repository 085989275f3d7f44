"""Labels that are not known, NaN among several labels of a row: they count for nothing."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import average_precision_score, make_scorer
from sklearn.model_selection import KFold, cross_val_score
from torch import nn
from torch.utils.data import TensorDataset

from imbtorch import ImbalancedNetClassifier, NetEnsembleClassifier
from imbtorch._data.targets import encode_label_matrix, rarest_label, split_unknown
from imbtorch._tasks.labels import Labels, _mean_label_precision
from imbtorch.losses import BaseLoss, all_losses, get_loss
from imbtorch.losses._whole_batch import WholeBatchMixin
from imbtorch.metrics import mean_average_precision
from imbtorch.model_selection import StackedGridSearchCV, TunedDecisionClassifierCV
from imbtorch.samplers import BootstrapSampler, Mixup, RepeatFactorSampler
from imbtorch.weights import class_counts, class_weight_from_counts, label_weights
from tests.test_torch_datasets import Passing
from tests.toy import parameters_of, small
from tests.training.stacked import check

N = 240
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5))
FULL = (X[:, :3] + RNG.normal(size=(N, 3)) > [0.2, 0.8, 1.2]).astype(float)
KNOWN = RNG.random((N, 3)) > [0.1, 0.3, 0.5]
Y = np.where(KNOWN, FULL, np.nan)
WEIGHT = RNG.random(N) + 0.5
FORMS = [
    name
    for name, cls in all_losses().items()
    if cls.per_label is not BaseLoss.per_label or issubclass(cls, WholeBatchMixin)
]


def linear(*rows, width=3):
    """A linear net of given weights; ``rows`` are the outputs that it has."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(width, 5, generator=generator, dtype=torch.float64)
    module = nn.Linear(5, len(rows) or width, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(weight[list(rows)] if rows else weight)
        module.bias.zero_()
    return module


def one_step(module, X, Y, weight=None, **params):
    """Train for one step of plain gradient descent on all rows."""
    settings = {
        "loss": "bce",
        "optimizer": "sgd",
        "lr": 0.1,
        "weight_decay": 0.0,
        "lr_schedule": "constant",
        "max_epochs": 1,
        "batch_size": 10_000,
        "dtype": "float64",
        **params,
    }
    return small(module, **settings).fit(X, Y, weight)


def change(clf, module):
    return clf.module_.weight.detach().numpy() - module.weight.detach().numpy()


# -- input -----------------------------------------------------------------------------------------


def as_nullable(Y):
    frame = pd.DataFrame(Y).astype("Int64")
    frame[1] = frame[1].astype("boolean")
    return frame


def with_stored_nan(Y):
    return sparse.csr_matrix(Y)


@pytest.mark.parametrize(
    "kind",
    [
        lambda Y: [[None if v != v else int(v) for v in row] for row in Y.tolist()],
        lambda Y: np.array([[None if v != v else v for v in row] for row in Y], dtype=object),
        with_stored_nan,
        sparse.coo_array,
        pd.DataFrame,
        as_nullable,
        torch.from_numpy,
    ],
    ids=["lists", "objects", "csr", "coo", "frame", "nullable", "tensor"],
)
def test_every_kind_of_targets_gives_the_same_net(kind):
    reference = small(loss="bce", dtype="float64").fit(X, Y)
    clf = small(loss="bce", dtype="float64").fit(X, kind(Y))
    assert (parameters_of(clf) == parameters_of(reference)).all()


def test_items_of_a_dataset_may_have_unknown_labels():
    reference = small(loss="bce").fit(X.astype(np.float32), Y)
    data = TensorDataset(torch.from_numpy(X).float(), torch.from_numpy(Y))
    np.testing.assert_array_equal(
        parameters_of(small(loss="bce").fit(data)), parameters_of(reference)
    )


@pytest.mark.parametrize("odd", [-1, -100, 2, np.inf])
def test_other_numbers_are_still_errors(odd):
    wrong = Y.copy()
    wrong[0, 0] = odd
    with pytest.raises(ValueError, match="0 or 1|infinity"):
        small(loss="bce").fit(X, wrong)


def test_words_are_still_errors():
    with pytest.raises(ValueError, match="0 or 1|Unknown label type"):
        small(loss="bce").fit(X, np.where(KNOWN, "yes", None))


def test_one_label_per_row_has_no_unknown_labels():
    with pytest.raises(ValueError, match="NaN"):
        small().fit(X, Y[:, 0])


def test_known_labels_are_stored_as_before():
    assert encode_label_matrix(FULL).dtype == np.uint8
    assert split_unknown(FULL) is None
    assert split_unknown(sparse.csr_array(FULL)) is None
    unknown = encode_label_matrix(Y)
    assert unknown.dtype == np.int8
    np.testing.assert_array_equal(unknown.toarray(), np.where(KNOWN, FULL, -1))


def test_targets_are_not_written():
    given = Y.copy()
    small(loss="bce", validation_fraction=0.2).fit(X, given)
    np.testing.assert_array_equal(given, Y)


# -- counts and weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_counts_are_those_of_the_known_rows(weight):
    w = np.ones(N) if weight is None else weight
    present = np.nansum(Y * w[:, None], axis=0)
    known = (KNOWN * w[:, None]).sum(axis=0)
    expected = np.stack([known - present, present], axis=1)
    clf = small(loss="bce").fit(X, Y, weight)
    np.testing.assert_allclose(clf.class_counts_, expected)
    np.testing.assert_allclose(clf.class_prior_, present / known)
    np.testing.assert_allclose(class_counts(Y, weight).counts, expected)
    np.testing.assert_allclose(class_counts(sparse.csr_array(Y), weight).counts, expected)
    parts = [class_counts(Y[i::3], None if weight is None else weight[i::3]) for i in range(3)]
    np.testing.assert_allclose(sum(parts).counts, expected)
    np.testing.assert_allclose(class_counts(as_nullable(Y), weight).counts, expected)


def test_balanced_weights_are_those_of_the_known_rows():
    clf = small(loss="bce", class_weight="balanced").fit(X, Y)
    known = [FULL[KNOWN[:, j], j] for j in range(3)]
    counts = np.array([[np.sum(y == 0), np.sum(y == 1)] for y in known])
    np.testing.assert_allclose(clf.class_weight_, label_weights("balanced", counts))
    np.testing.assert_allclose(
        class_weight_from_counts(class_counts(Y)), label_weights("balanced", counts)
    )


def test_a_label_that_no_row_knows_has_equal_weights():
    assert label_weights("balanced", [[0, 0], [3, 1]])[0].tolist() == [1, 1]


# -- the loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_batch_loss_is_the_mean_over_its_known_terms(weight, class_weight):
    module = linear()
    clf = one_step(module, X, Y, weight, class_weight=class_weight)
    w = np.ones(N) if weight is None else weight
    logits = X @ module.weight.detach().numpy().T
    error = np.where(KNOWN, 1 / (1 + np.exp(-logits)) - FULL, 0.0)
    terms = KNOWN * w[:, None] * np.where(FULL == 1, *clf.class_weight_.T[::-1])
    gradient = (terms * error).T @ X / terms.sum()
    np.testing.assert_allclose(change(clf, module), -0.1 * gradient, rtol=1e-9)


def test_unknown_rows_of_a_label_are_like_rows_left_out():
    rows = KNOWN[:, 2]
    part = np.where([True, True, False], FULL, Y)
    module = linear()
    unknown = change(one_step(module, X, part), module)[2]
    without = change(one_step(module, X[rows], FULL[rows]), module)[2]
    ratio = unknown / without
    np.testing.assert_allclose(ratio, 3 * rows.sum() / (2 * N + rows.sum()), rtol=1e-9)


@pytest.mark.parametrize("loss", ["soft_fbeta", "pairwise_logistic"])
def test_losses_of_a_whole_batch_equal_those_of_the_known_rows(loss):
    # in them a weight of 0 is a row left out, so that even the size of the gradient is the same
    part = np.where([True, True, False], FULL, Y)
    rows, module = KNOWN[:, 2], linear()
    unknown = change(one_step(module, X, part, loss=loss), module)[2]
    without = change(one_step(module, X[rows], FULL[rows], loss=loss), module)[2]
    np.testing.assert_allclose(unknown, without, rtol=1e-9)


def test_a_label_that_no_row_knows_is_not_trained_and_named():
    hidden = np.where([True, False, True], Y, np.nan)
    module = linear()
    with pytest.warns(UserWarning, match="1 of 3 labels are not known in any row .*: 1, counted"):
        clf = one_step(module, X, hidden, max_epochs=4, batch_size=50)
    assert (change(clf, module)[1] == 0).all()
    assert clf.class_counts_[1].tolist() == [0, 0]
    two = one_step(linear(0, 2), X, hidden[:, [0, 2]], max_epochs=4, batch_size=50)
    np.testing.assert_allclose(
        clf.decision_function(X)[:, [0, 2]], two.decision_function(X), rtol=1e-9
    )


def test_a_label_that_no_row_knows_is_predicted_absent():
    hidden = np.where([True, False, True], Y, np.nan)
    for loss in ("bce", "logit_adjusted"):
        with pytest.warns(UserWarning, match="not known in any row"):
            clf = small(loss=loss, class_weight="balanced", max_epochs=5).fit(X, hidden)
        assert clf.predict(X)[:, 1].mean() < 0.1
        assert np.isfinite(clf.predict_proba(X)).all()


def test_no_known_label_at_all_is_an_error():
    with pytest.raises(ValueError, match="No label of y is known"):
        small(loss="bce").fit(X, np.full((N, 3), np.nan))


@pytest.mark.matrix
@pytest.mark.parametrize("loss", FORMS)
def test_every_loss_leaves_out_terms(loss):
    prepared = get_loss(loss).prepare(class_counts(Y).counts)
    target = torch.from_numpy(np.nan_to_num(Y[:40]))
    share = torch.from_numpy(KNOWN[:40] / target.numel())
    logits = torch.from_numpy(X[:40, :3].copy()).requires_grad_()
    prepared.batch_loss(logits, target, share).backward()
    assert (logits.grad.numpy()[~KNOWN[:40]] == 0).all()
    assert (logits.grad.numpy()[KNOWN[:40]] != 0).any()
    clf = small(loss=loss, max_epochs=1, batch_size=32).fit(X[:64], Y[:64])
    assert np.isfinite(clf.predict_proba(X)).all()


class Softmax(BaseLoss):
    """A ranking of the labels of a row, which cannot leave one out."""

    has_posterior = False

    def per_label(self, logits, target):
        return -target * torch.log_softmax(logits, dim=1)


def test_losses_that_couple_labels_are_an_error_that_names_them():
    small(loss=Softmax(), max_epochs=1).fit(X, FULL)
    with pytest.raises(ValueError, match=r"loss=Softmax\(\) cannot leave out single labels"):
        small(loss=Softmax(), max_epochs=1).fit(X, Y)


def test_mixtures_leave_out_what_either_row_does_not_know():
    module = linear()
    hidden = np.where([True, True, False], FULL, np.nan)
    with pytest.warns(UserWarning, match="not known in any row"):
        clf = one_step(module, X, hidden, sampler=Mixup(), batch_size=50)
    assert (change(clf, module)[2] == 0).all()
    assert (change(clf, module)[:2] != 0).all()


# -- every way to train ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stack_equals_single_fits():
    labels = np.where(RNG.random((140, 3)) < 0.3, np.nan, RNG.integers(0, 2, (140, 3)))
    check(loss="bce", y=labels, grid=[{}, {"class_weight": "balanced"}])
    check(loss="focal", y=labels, weight=RNG.random(140) + 0.5)
    check(loss="soft_fbeta", y=labels)
    check(loss="bce", y=labels, grid=[{"sampler": "repeat_factor"}])


def test_members_of_an_ensemble():
    net = small(loss="bce", max_epochs=3)
    for subset in ("all", "bootstrap"):
        clf = NetEnsembleClassifier(net, n_estimators=3, subset=subset, random_state=0)
        clf.fit(X, Y)
        alone = clf.estimators_[0]
        again = ImbalancedNetClassifier(**alone.get_params(deep=False)).fit(X, Y)
        np.testing.assert_allclose(again.predict_proba(X), alone.predict_proba(X), rtol=1e-4)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_a_stream_equals_arrays(weight):
    columns = (X, Y) if weight is None else (X, Y, weight)
    settings = {"loss": "bce", "class_weight": [1.0, 2.0, 3.0], "lr_schedule": "constant"}
    settings |= {"max_epochs": 1, "dtype": "float64"}
    data = Passing(*columns)
    stream = small(**settings).fit(data, class_counts=class_counts(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arrays = small(**settings).partial_fit(X, Y, sample_weight=weight, shuffle=False)
    np.testing.assert_allclose(stream.class_counts_, arrays.class_counts_)
    np.testing.assert_allclose(parameters_of(stream), parameters_of(arrays), rtol=1e-9)


def test_a_stream_that_was_counted_without_unknown_labels_is_an_error():
    with pytest.raises(ValueError, match="class_counts says that all labels are known"):
        small(loss="bce").fit(Passing(X, Y), class_counts=class_counts(FULL))


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_a_chunk_equals_one_epoch(weight):
    settings = {"loss": "bce", "lr_schedule": "constant", "dtype": "float64", "max_epochs": 1}
    whole = small(**settings).fit(X, Y, weight)
    chunk = small(**settings).partial_fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(parameters_of(chunk), parameters_of(whole), rtol=1e-9)
    np.testing.assert_allclose(chunk.class_counts_, whole.class_counts_)


def test_chunks_add_up():
    clf = small(loss="bce", class_weight=[1.0, 2.0, 3.0])
    for rows in (slice(0, 100), slice(100, 160), slice(160, N)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clf.partial_fit(X[rows], Y[rows])
    np.testing.assert_allclose(clf.class_counts_, class_counts(Y).counts)


def test_counts_of_chunks_with_unknown_labels_show_the_way():
    with pytest.raises(ValueError, match="class_weight_from_counts"):
        small(loss="bce").partial_fit(X, Y, class_counts=class_counts(Y))


# -- rows that are held out or sampled -------------------------------------------------------------


def test_the_default_score_of_held_out_rows_is_that_of_the_known_ones():
    clf = small(loss="bce", validation_fraction=0.3, max_epochs=1).fit(X, Y)
    _, targets = Labels.encode(Y)
    _, valid = Labels(3).hold_out(targets, 0.3, _seed_of_hold_out(clf))
    expected = mean_average_precision(Y[valid], clf.decision_function(X[valid]))
    assert clf.history_[-1]["valid_score"] == pytest.approx(expected, abs=1e-6)


def _seed_of_hold_out(clf):
    from imbtorch._common.seed import draw_seeds

    return dict(zip(clf._seed_names, draw_seeds(0, len(clf._seed_names)), strict=True))["hold_out"]


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_precision_of_labels_counts_known_rows_only(weight):
    scores = RNG.normal(size=(N, 3)).round(1)
    expected = np.mean([
        average_precision_score(
            FULL[rows, j], scores[rows, j], sample_weight=None if weight is None else weight[rows]
        )
        for j, rows in enumerate(KNOWN.T)
    ])  # fmt: skip
    coded = encode_label_matrix(Y).toarray()
    assert _mean_label_precision(coded, scores, weight) == pytest.approx(expected)
    assert mean_average_precision(Y, scores, weight) == pytest.approx(expected)


def test_the_metric_of_labels_checks_its_input():
    assert np.isnan(mean_average_precision(np.zeros((3, 2)), np.zeros((3, 2))))
    with pytest.raises(ValueError, match="shape"):
        mean_average_precision(Y, X)
    with pytest.raises(ValueError, match="0 or 1"):
        mean_average_precision(Y + 1, X[:, :3])


def test_scorers_of_scikit_learn_are_refused_before_the_training():
    with pytest.raises(ValueError, match="scoring='f1_macro'.*scoring=None"):
        small(loss="bce", early_stopping=True, scoring="f1_macro").fit(X, Y)
    small(loss="bce", early_stopping=True, scoring="f1_macro").fit(X, FULL)
    seen = []

    def score(clf, X, y):
        seen.append(np.isnan(y).any())
        return 0.5

    small(loss="bce", validation_fraction=0.2, scoring=score).fit(X, Y)
    assert all(seen)


def test_rows_are_grouped_as_if_unknown_labels_were_absent():
    filled = encode_label_matrix(np.nan_to_num(Y))
    found = rarest_label(encode_label_matrix(Y))
    for one, other in zip(found, rarest_label(filled), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sampler", [RepeatFactorSampler(0.9), BootstrapSampler(), Mixup()])
def test_samplers_take_unknown_labels_for_absent_but_do_not_count_them(sampler):
    coded = encode_label_matrix(Y)
    plan = sampler.plan(coded, 3, batch_size=32, seed=0)
    filled = sampler.plan(encode_label_matrix(np.nan_to_num(Y)), 3, batch_size=32, seed=0)
    np.testing.assert_array_equal(plan.order(0, 5), filled.order(0, 5))
    drawn = np.mean([Labels(3).counts(coded[plan.order(e, 5)], None) for e in range(200)], axis=0)
    np.testing.assert_allclose(plan.expected_counts(), drawn, rtol=0.02)
    small(loss="logit_adjusted", sampler=sampler, max_epochs=1).fit(X, Y)


def test_the_validation_loss_leaves_out_unknown_labels():
    from skorch.callbacks import Callback

    clf = small(loss="bce", validation_fraction=0.3, max_epochs=1, callbacks=[Callback()])
    clf.fit(X, Y)
    _, targets = Labels.encode(Y)
    _, valid = Labels(3).hold_out(targets, 0.3, _seed_of_hold_out(clf))
    z, known = clf.decision_function(X[valid]), KNOWN[valid]
    terms = np.log1p(np.exp(-np.where(FULL[valid] == 1, z, -z)))
    expected = (terms * known).sum() / known.size
    assert clf.history_[-1]["valid_loss"] == pytest.approx(expected, rel=1e-5)


# -- searches and decisions ------------------------------------------------------------------------


@pytest.mark.slow
def test_searches_and_cross_validation_with_a_splitter():
    scorer = make_scorer(mean_average_precision, response_method="decision_function")
    folds = KFold(3, shuffle=True, random_state=0)
    net = small(loss="bce", max_epochs=3)
    search = StackedGridSearchCV(net, {"lr": [0.001, 0.01]}, scoring=scorer, cv=folds).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.isfinite(cross_val_score(net, X, Y, scoring=scorer, cv=folds)).all()


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are the features."""

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.arange(y.shape[1])
        return self

    def predict(self, X):
        return (X > 0.5).astype(int)

    def predict_proba(self, X):
        return X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags


@pytest.mark.slow
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_thresholds_are_tuned_on_the_known_rows(weight):
    proba = 1 / (1 + np.exp(-X[:, :3]))
    part = np.where([True, True, False], FULL, Y)
    rows = KNOWN[:, 2]

    def offsets(P, labels, w):
        tuned = TunedDecisionClassifierCV(Given(), scoring="f1_macro", cv=3, n_resamples=20)
        return tuned._tune(P, labels, w, tuned._predictions(P, labels, w))

    found, score = offsets(proba, part, weight)
    whole, _ = offsets(proba, FULL, weight)
    alone, _ = offsets(proba[rows], FULL[rows], None if weight is None else weight[rows])
    np.testing.assert_allclose(found[:2], whole[:2])
    np.testing.assert_allclose(found[2], alone[2])
    assert 0 < score < 1


@pytest.mark.slow
def test_decisions_of_a_net_with_unknown_labels():
    tuned = TunedDecisionClassifierCV(small(loss="bce", max_epochs=4), scoring="f1_macro", cv=3)
    tuned.fit(X, np.where([True, True, False], Y, Y))
    assert set(np.unique(tuned.predict(X))) <= {0, 1}
    assert tuned.predict(X).shape == (N, 3)
    with pytest.raises(ValueError, match="0 or 1"):
        tuned.fit(X, Y + 1)


@pytest.mark.slow
def test_a_label_that_no_row_knows_keeps_its_threshold():
    hidden = np.where([True, False, True], Y, np.nan)
    tuned = TunedDecisionClassifierCV(Given(), scoring="f1_macro", cv=3, n_resamples=20)
    proba = 1 / (1 + np.exp(-X[:, :3]))
    offsets, _ = tuned._tune(proba, hidden, None, tuned._predictions(proba, hidden, None))
    assert offsets[1] == 0
