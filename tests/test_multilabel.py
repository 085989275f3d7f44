"""Several labels per row: fit, predict, weights, priors, and every loss with a form for them."""

import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imbtorch import MLP, DoubleCorrectionWarning, ImbalancedNetClassifier
from imbtorch.losses import BCELoss, LogitAdjustedLoss, all_losses, get_loss
from imbtorch.losses._base import BaseLoss
from imbtorch.losses._whole_batch import WholeBatchMixin
from tests.toy import parameters_of, small

SHARES = np.array([0.4, 0.15, 0.03])


def labelled(n=1500, seed=0):
    """Features, labels of three shares, and the true probability of each."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    log_odds = np.log(SHARES / (1 - SHARES)) + 1.5 * X[:, :3] - 0.5
    proba = 1 / (1 + np.exp(-log_odds))
    return X, (rng.random((n, 3)) < proba).astype(int), proba


X, Y, P = labelled()
FORMS = [
    name
    for name, cls in all_losses().items()
    if cls.per_label is not BaseLoss.per_label or issubclass(cls, WholeBatchMixin)
]


def fitted(loss="bce", X=X, Y=Y, **params):
    params = {"max_epochs": 20, "lr": 0.02, "batch_size": 64, "random_state": 0, **params}
    return ImbalancedNetClassifier(MLP((16,)), loss=loss, **params).fit(X, Y)


# -- conventions -----------------------------------------------------------------------------------


def test_shapes_and_values_follow_scikit_learn():
    clf = fitted()
    assert clf.classes_.tolist() == [0, 1, 2]
    proba, labels, scores = clf.predict_proba(X), clf.predict(X), clf.decision_function(X)
    assert proba.shape == labels.shape == scores.shape == (len(X), 3)
    assert set(np.unique(labels)) == {0, 1}
    assert labels.dtype.kind == "i"
    assert (labels == (proba > 0.5)).all()
    np.testing.assert_allclose(proba, 1 / (1 + np.exp(-scores)), rtol=1e-5)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), proba, rtol=1e-5)
    assert clf.score(X, Y) > 0.4  # the share of rows with every label right


@pytest.mark.parametrize(
    "kind", [np.asarray, np.ndarray.tolist, sparse.csr_matrix, sparse.csc_array]
)
def test_targets_of_any_kind_give_the_same_net(kind):
    given = kind(Y)
    clf = small(loss="bce", dtype="float64").fit(X, given)
    reference = small(loss="bce", dtype="float64").fit(X, Y.astype(bool))
    assert (parameters_of(clf) == parameters_of(reference)).all()


def test_sparse_rows_are_those_of_a_dense_matrix():
    rng = np.random.default_rng(0)
    dense = rng.random((400, 300)) * (rng.random((400, 300)) < 0.02)
    labels = (dense[:, :4] > 0).astype(int)
    labels[:5] = 1
    nets = [
        small(loss="focal", dtype="float64", max_epochs=3, features=None).fit(rows, labels)
        for rows in (dense, sparse.csr_matrix(dense), sparse.csr_array(dense))
    ]
    for net in nets[1:]:
        np.testing.assert_allclose(
            parameters_of(net), parameters_of(nets[0]), rtol=1e-8, atol=1e-10
        )


def test_sparse_and_dense_chunks_may_alternate():
    # sparse products want another layout of the weights, which the optimizer's memory must share
    rng = np.random.default_rng(0)
    rows = rng.random((300, 200)) * (rng.random((300, 200)) < 0.03)
    labels = (rows[:, :3] > 0).astype(int)
    labels[::50] = 1
    settings = {"loss": "bce", "dtype": "float64", "batch_size": 16, "features": None}
    for first in (0, 1):  # which chunk comes first decides the layout
        mixed, dense = small(**settings), small(**settings)
        for k in range(4):
            chunk = rows[k * 75 : (k + 1) * 75]
            given = sparse.csr_array(chunk) if k % 2 == first else chunk
            mixed.partial_fit(given, labels[k * 75 : (k + 1) * 75])
            dense.partial_fit(chunk, labels[k * 75 : (k + 1) * 75])
        np.testing.assert_allclose(parameters_of(mixed), parameters_of(dense), rtol=1e-7, atol=1e-9)


def test_one_column_is_one_label_per_row():
    with pytest.warns(UserWarning, match="column-vector"):
        clf = small().fit(X, Y[:, :1])
    assert clf.predict(X).shape == (len(X),)


@pytest.mark.matrix
@pytest.mark.parametrize("loss", FORMS)
def test_every_loss_with_a_form_for_labels_learns_to_rank(loss):
    # the absolute error alone is content with the absence of every label
    weight = "balanced" if loss == "l1" else None
    epochs = 6 if loss == "smooth_ap" else 20  # a step of smooth_ap takes long, and few are enough
    clf = fitted(loss, class_weight=weight, max_epochs=epochs)
    new_X, new_Y, _ = labelled(seed=1)
    assert roc_auc_score(new_Y, clf.decision_function(new_X), average="macro") > 0.65
    assert np.isfinite(clf.predict_proba(new_X)).all()


@pytest.mark.matrix
@pytest.mark.parametrize("loss", [name for name in FORMS if get_loss(name).name not in {"l1"}])
def test_closed_form_trains_the_net_of_autograd(loss):
    class Wrapped(torch.nn.Module):  # no chain, so that autograd does the work
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.inner = MLP((8,)).build(input_shape, n_outputs)

        def forward(self, x):
            return self.inner(x)

    plain = {"loss": loss, "dtype": "float64", "random_state": 0, "max_epochs": 2}
    # the bias of a user's module is the user's, so that both start without one
    chain = ImbalancedNetClassifier(lambda shape, n: MLP((8,)).build(shape, n), **plain)
    graph = ImbalancedNetClassifier(Wrapped, **plain)
    for net in (chain, graph):
        net.fit(X[:600], Y[:600])
    np.testing.assert_allclose(parameters_of(chain), parameters_of(graph), rtol=1e-6, atol=1e-8)


# -- weights ---------------------------------------------------------------------------------------


def test_balanced_weights_are_computed_label_by_label():
    clf = fitted(class_weight="balanced")
    positives = Y.sum(axis=0)
    expected = len(Y) / (2 * np.stack([len(Y) - positives, positives], axis=1))
    np.testing.assert_allclose(clf.class_weight_, expected)
    assert (clf.predict(X).sum(axis=0) > fitted().predict(X).sum(axis=0)).all()


def test_a_list_of_dicts_and_an_array_say_the_same():
    dicts = [{0: 1, 1: 2}, {1: 5}, {0: 0.5, 1: 20}]
    by_dicts = small(loss="bce", class_weight=dicts, dtype="float64").fit(X, Y)
    array = np.array([[1, 2], [1, 5], [0.5, 20]])
    by_array = small(loss="bce", class_weight=array, dtype="float64").fit(X, Y)
    assert (parameters_of(by_dicts) == parameters_of(by_array)).all()


def test_weights_of_positives_are_the_pos_weight_of_torch_up_to_scale():
    exact = {"dtype": "float64", "batch_size": 10_000, "optimizer": "sgd"}
    factors = [2.0, 5.0, 20.0]
    by_weight = small(MLP(()), loss="bce", class_weight=factors, lr=0.1, **exact)
    net = by_weight.set_params(max_epochs=1).fit(X, Y)
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(factors).double())
    start = small(MLP(()), loss="bce", class_weight=factors, lr=1e-30, **exact)
    before = start.set_params(max_epochs=1).fit(X, Y).module_
    value = loss(before(torch.from_numpy(X)), torch.from_numpy(Y).double()).item()
    scale = (Y * np.array(factors) + 1 - Y).mean()
    assert net.history_[0, "train_loss"] == pytest.approx(value / scale, rel=1e-10)


def test_sample_weight_of_two_is_a_row_given_twice():
    exact = {"loss": "bce", "dtype": "float64", "batch_size": 10_000}
    weight = 1 + np.arange(len(X)) % 2
    weighted = small(**exact).fit(X, Y, sample_weight=weight)
    rows = np.repeat(np.arange(len(X)), weight)
    repeated = small(**exact).fit(X[rows], Y[rows])
    np.testing.assert_allclose(parameters_of(weighted), parameters_of(repeated), rtol=1e-9)


@pytest.mark.matrix
@pytest.mark.parametrize("class_weight", [None, "balanced", "sqrt"])
@pytest.mark.parametrize(
    "loss", ["bce", "focal", "asymmetric", "distribution_balanced", "soft_fbeta"]
)
def test_a_label_without_positives_or_negatives_is_no_problem(loss, class_weight):
    labels = Y.copy()
    labels[:, 0], labels[:, 1] = 0, 1
    clf = fitted(loss, Y=labels, class_weight=class_weight, max_epochs=3)
    assert np.isfinite(clf.predict_proba(X)).all()
    assert np.isfinite(clf.history_[:, "train_loss"]).all()


def test_270_labels_most_of_which_are_rare():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 20))
    directions = rng.normal(size=(20, 270))
    scores = rows @ directions / np.sqrt(20)
    share = 0.2 * 0.98 ** np.arange(270)  # down to a row or two in a thousand
    labels = sparse.csr_array(
        (scores > np.quantile(scores, 1 - share, axis=0).diagonal()).astype(int)
    )
    clf = ImbalancedNetClassifier(
        MLP((64,)), loss=BCELoss("sqrt", max_pos_weight=10.0), random_state=0, max_epochs=15
    ).fit(rows, labels)
    proba = clf.predict_proba(rows)
    assert proba.shape == (2000, 270)
    assert average_precision_score(labels.toarray(), proba, average="micro") > 0.6


# -- priors ----------------------------------------------------------------------------------------

REMEDIES = {
    "class weights": {"loss": "bce", "class_weight": "balanced"},
    "pos_weight": {"loss": BCELoss("balanced")},
    "logit adjusted": {"loss": "logit_adjusted"},
    "focal": {"loss": "focal"},
    "focal with class weights": {"loss": "focal", "class_weight": "sqrt"},
}


@pytest.fixture(scope="module")
def error_of_plain_bce():
    rows, labels, proba = labelled(8000)
    return np.abs(fitted("bce", X=rows, Y=labels, max_epochs=10).predict_proba(rows) - proba).mean()


@pytest.mark.matrix
@pytest.mark.parametrize("name", REMEDIES)
def test_probabilities_of_the_training_population_come_back(name, error_of_plain_bce):
    rows, labels, proba = labelled(8000)
    clf = fitted(X=rows, Y=labels, max_epochs=10, target_prior="train", **REMEDIES[name])
    error = np.abs(clf.predict_proba(rows) - proba).mean()
    assert error < 1.6 * error_of_plain_bce
    np.testing.assert_allclose(clf.predict_proba(rows).mean(axis=0), labels.mean(axis=0), atol=0.02)
    if name != "focal":  # whose link acts with any population
        raw = clf.set_params(target_prior=None).predict_proba(rows)
        assert np.abs(raw - proba).mean() > 2 * error


def test_target_prior_is_one_share_for_each_label():
    clf = fitted("bce", dtype="float64")
    base = clf.set_params(target_prior="train").decision_function(X)
    clf.set_params(target_prior=[0.5, 0.5, 0.5])
    even = clf.decision_function(X)
    prior = Y.mean(axis=0)
    np.testing.assert_allclose(
        even - base, np.broadcast_to(-np.log(prior / (1 - prior)), base.shape)
    )
    np.testing.assert_allclose(clf.set_params(target_prior="uniform").decision_function(X), even)


def test_correcting_twice_warns():
    with pytest.warns(DoubleCorrectionWarning, match="class_weight.*loss"):
        fitted(LogitAdjustedLoss(), class_weight="balanced", max_epochs=1)


# -- ecosystem -------------------------------------------------------------------------------------


def test_pipeline_search_clone_and_partial_fit():
    net = small(loss="focal", max_epochs=3)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), net),
        {"imbalancednetclassifier__loss__gamma": [0.0, 2.0]},
        scoring="average_precision",
        cv=2,
    ).fit(X, Y)
    assert search.predict_proba(X).shape == (len(X), 3)
    stream = clone(net)
    for start in range(0, len(X), 500):
        stream.partial_fit(X[start : start + 500], Y[start : start + 500])
    assert stream.class_counts_.sum() == 3 * len(X)
    assert stream.predict(X).shape == (len(X), 3)


def test_early_stopping_scores_macro_average_precision():
    clf = fitted(early_stopping=True, patience=2, max_epochs=40)
    assert 0.3 < max(clf.history_[:, "valid_score"]) <= 1
    assert f1_score(Y, clf.predict(X), average="micro") > 0.3


def test_chunks_may_be_lists_and_weights_are_scaled_over_the_stream():
    settings = {"loss": "bce", "dtype": "float64", "batch_size": 10_000}
    weight = np.where(np.arange(len(X)) < 750, 1.0, 5.0)
    stream = small(**settings).partial_fit(X[:750].tolist(), Y[:750].tolist())
    before = stream.module_(torch.from_numpy(X[750:])).detach()
    stream.partial_fit(X[750:], Y[750:], sample_weight=weight[750:])
    # a chunk of rows of weight 5 after one of weight 1 counts 5 / 3, not 1
    values = torch.nn.functional.binary_cross_entropy_with_logits(
        before, torch.from_numpy(Y[750:]).double()
    )
    assert stream.history_[1, "train_loss"] == pytest.approx(5 / 3 * values.item(), rel=1e-9)


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({}, Y * 2, "0 or 1; got"),
        ({}, Y + 0.5, "Regressor"),
        ({"class_weight": [1.0, 2.0]}, Y, "2 entries, but y has 3 labels"),
        ({"class_weight": [{1: 2}] * 2}, Y, "2 entries, but y has 3 labels"),
        ({"class_weight": [1.0, -2.0, 1.0]}, Y, "finite numbers >= 0"),
        ({"class_weight": "balances"}, Y, "Unknown class_weight"),
        ({"loss": "ldam"}, Y, "no form for several labels"),
        ({"loss": BCELoss([1.0, 2.0])}, Y, "one per label"),
        ({"target_prior": [0.5, 0.5]}, Y, "one share between 0 and 1"),
        ({"loss": "asymmetric", "target_prior": "train"}, Y, "CalibratedClassifierCV"),
    ],
    ids=str,
)
def test_bad_input_is_named(params, y, message):
    with pytest.raises(ValueError, match=message):
        small(**{"loss": "bce", **params}).fit(X, y)


def test_imbalanced_learn_samplers_need_one_label_per_row():
    from imblearn.over_sampling import RandomOverSampler

    with pytest.raises(ValueError, match="one label per row"):
        small(loss="bce", sampler=RandomOverSampler()).fit(X, Y)


# -- targets that are something else ---------------------------------------------------------------


def test_one_hot_targets_are_a_warning():
    X, Y, _ = labelled(200)
    classes = Y.argmax(axis=1)
    with pytest.warns(UserWarning, match=r"exactly one of 3 labels.*y\.argmax\(axis=1\)"):
        small(loss="bce", max_epochs=1).fit(X, np.eye(3, dtype=int)[classes])


def test_labels_that_are_not_one_hot_do_not_warn():
    X, Y, _ = labelled(200)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Every row of y")
        small(loss="bce", max_epochs=1).fit(X, Y)
        small(loss="bce", max_epochs=1).fit(X, np.eye(2, dtype=int)[Y[:, 0]])


def test_lists_of_labels_are_an_error_that_shows_the_way():
    with pytest.raises(ValueError, match=r"MultiLabelBinarizer\(\)\.fit_transform"):
        small(loss="bce").fit(np.eye(4), [["a"], ["a", "b"]] * 2)
