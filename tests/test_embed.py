"""``embed``: the inputs of the last layer, for any module whose head can be found."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from imbtorch import (
    MLP,
    ImbalancedNetRegressor,
    NetEnsembleClassifier,
    embed,
    finetune_head,
    tau_normalize,
)
from imbtorch.modules import TabM
from tests.test_classifier_modules import Convolution, Recurrent, images, sequences
from tests.test_structured_outputs import RETURNED
from tests.toy import parameters_of, small, table

X, Y = table(200, n_classes=3, n_features=8)
PLAIN = {"loss": "cross_entropy"}


class Net(nn.Module):
    """A backbone and a head, called as ``head(features)``."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(input_shape[0], 6), nn.Dropout(0.5), nn.Tanh())
        self.head = nn.Linear(6, n_outputs)

    def forward(self, x):
        return self.head(self.backbone(x))


class ByKeyword(Net):
    def forward(self, x):
        return self.head(input=self.backbone(x))


def returning(kind):
    class Returning(Net):
        def forward(self, x):
            return RETURNED[kind](super().forward(x), x)

    return Returning


class ManyHeads(nn.Module):
    """A head that returns more than its logits."""

    def __init__(self, n_outputs, kind):
        super().__init__()
        self.fc, self.kind = nn.Linear(6, n_outputs), kind

    def forward(self, x, scale=None):
        z = self.fc(x)
        return RETURNED[self.kind](z if scale is None else z * scale, x)


def with_head(kind, scale=None):
    class WithHead(Net):
        def __init__(self, input_shape, n_outputs):
            super().__init__(input_shape, n_outputs)
            self.head = ManyHeads(n_outputs, kind)

        def forward(self, x):
            return self.head(self.backbone(x), scale=scale)

    return WithHead


def by_hand(clf, X=X):
    with torch.no_grad():
        return clf.module_.backbone(torch.as_tensor(X, dtype=clf.net_.dtype)).numpy()


MODULES = {"plain": Net, "keyword": ByKeyword}
MODULES |= {f"module returns {kind}": returning(kind) for kind in RETURNED}
MODULES |= {f"head returns {kind}": with_head(kind) for kind in RETURNED}
each_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
each_head = pytest.mark.parametrize("head", [None, "head"])


@each_head
@each_module
def test_inputs_of_the_head(module, head):
    clf = small(module, **PLAIN).fit(X, Y)
    found = embed(clf, X, head=head)
    assert found.shape == (len(X), 6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(clf), atol=1e-6)


@each_head
@each_module
def test_any_such_head_is_trained_again(module, head):
    clf = small(module, **PLAIN).fit(X, Y)
    second = finetune_head(clf, X, Y, head=head)
    np.testing.assert_array_equal(embed(second, X, head=head), embed(clf, X, head=head))
    assert (second.decision_function(X) != clf.decision_function(X)).any()


def test_estimator_stays_as_it_was():
    clf = small(Net, **PLAIN).fit(X, Y)
    module, before, proba = clf.net_.module_, parameters_of(clf), clf.predict_proba(X)
    embed(clf, X)
    assert clf.net_.module_ is module
    layers = list(module.modules())
    assert not any(layer._forward_pre_hooks for layer in layers)
    assert not any(layer._forward_hooks for layer in layers[1:])
    np.testing.assert_array_equal(parameters_of(clf), before)
    np.testing.assert_array_equal(clf.predict_proba(X), proba)


LATER = []


class Busy(Net):
    """Something else happens after the head was called, as in another thread."""

    def forward(self, x):
        z = super().forward(x)
        while LATER:
            LATER.pop()()
        return z


def test_predictions_of_other_threads_do_not_disturb():
    clf = small(Busy, **PLAIN).fit(X, Y)
    clf.predict(X)
    LATER.append(lambda: clf.predict(X[50:100]))  # during the trial that finds the head
    assert embed(clf, X[:50]).shape == (50, 6)
    found, calls = [], []

    def between():
        calls.append(clf.predict(X[50:100]))
        found.append(embed(clf, X[100:150]))

    LATER.append(between)
    found.append(embed(clf, X[:50]))
    assert len(calls) == 1
    np.testing.assert_allclose(found[0], by_hand(clf, X[100:150]), atol=1e-6)
    np.testing.assert_allclose(found[1], by_hand(clf, X[:50]), atol=1e-6)
    assert not LATER


def test_labels_values_and_both_dtypes():
    labels = np.stack([Y == 1, Y == 2], axis=1).astype(int)
    for dtype in ("float32", "float64"):
        for fitted in (
            small(Net, dtype=dtype, **PLAIN).fit(X, labels),
            ImbalancedNetRegressor(Net, max_epochs=1, dtype=dtype).fit(X, X[:, 0]),
            small(Net, dtype=dtype, **PLAIN).fit(X, Y == 1),
        ):
            found = embed(fitted, X)
            assert found.dtype == dtype
            np.testing.assert_allclose(found, by_hand(fitted), atol=1e-6)


def test_tables_sparse_rows_and_more_dimensions():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"size": X[:, 0], "town": np.where(Y, "A", "B")})
    assert embed(small().fit(frame, Y), frame).shape == (200, 8)
    rows = sparse.csr_matrix(np.where(X > 0.5, X, 0))
    clf = small(MLP((8,)), features=None).fit(rows, Y)
    np.testing.assert_allclose(embed(clf, rows), embed(clf, rows.toarray()), atol=1e-6)
    for module, made in ((Recurrent, sequences), (Convolution, images)):
        several, y = made()
        clf = small(module, **PLAIN).fit(several, y)
        width = clf.module_.output.in_features
        assert embed(clf, several).shape == (len(y), width)


def test_many_rows_come_in_chunks():
    many = np.repeat(X, 50, axis=0)
    clf = small(Net, **PLAIN).fit(X, Y)
    np.testing.assert_allclose(embed(clf, many), np.repeat(embed(clf, X), 50, axis=0), atol=1e-6)


def test_member_of_an_ensemble():
    ensemble = NetEnsembleClassifier(small(Net, **PLAIN), n_estimators=2, random_state=0).fit(X, Y)
    expected = [by_hand(member) for member in ensemble.estimators_]
    found = [embed(member, X) for member in ensemble.estimators_]
    np.testing.assert_allclose(found, expected, atol=1e-6)


# -- bad input ------------------------------------------------------------------------------------


def test_bad_estimators():
    with pytest.raises(NotFittedError):
        embed(small(), X)
    pipeline = make_pipeline(StandardScaler(), small()).fit(X, Y)
    for other in (MLP(), pipeline, NetEnsembleClassifier(small())):
        with pytest.raises(
            TypeError, match="ImbalancedNetClassifier or ImbalancedNetRegressor; got"
        ):
            embed(other, X)


def test_bad_rows_and_names():
    clf = small(Net, **PLAIN).fit(X, Y)
    with pytest.raises(ValueError, match="7 features"):
        embed(clf, X[:, :7])
    with pytest.raises(ValueError, match=r"no layer 'fc'; it has \['backbone', 'backbone.0', 'he"):
        embed(clf, X, head="fc")
    with pytest.raises(ValueError, match="'backbone' is not"):
        embed(clf, X, head="backbone")


def test_head_that_gets_more_than_one_tensor_is_no_head():
    """A second stage would train it without the rest."""
    clf = small(with_head("tensor", scale=torch.tensor(2.0)), **PLAIN).fit(X, Y)
    for second_stage in (embed, lambda *given, **kw: finetune_head(*given, Y, **kw)):
        with pytest.raises(ValueError, match="called with one tensor.*'head' is not"):
            second_stage(clf, X, head="head")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_layers_cannot_be_looked_at():
    def scripted(input_shape, n_outputs):
        return torch.jit.script(nn.Sequential(nn.Linear(*input_shape, 6), nn.Linear(6, n_outputs)))

    def scripted_below(input_shape, n_outputs):
        return nn.Sequential(torch.jit.script(nn.Linear(*input_shape, 6)), nn.Linear(6, n_outputs))

    for second_stage in (lambda clf: embed(clf, X), tau_normalize):
        with pytest.raises(ValueError, match="not scripted"):
            second_stage(small(scripted, **PLAIN).fit(X, Y))
    assert embed(small(scripted_below, **PLAIN).fit(X, Y), X).shape == (200, 6)


def test_members_stand_side_by_side():
    clf = small(TabM((6,), k=3), **PLAIN).fit(X, Y)
    found = embed(clf, X)
    assert found.shape == (len(Y), 3 * 6)
    members = torch.from_numpy(found).reshape(-1, 3, 6).transpose(0, 1)
    proba = clf.module_[-1](members).detach().softmax(dim=2).mean(dim=1)
    np.testing.assert_allclose(proba, clf.predict_proba(X), rtol=1e-5)
