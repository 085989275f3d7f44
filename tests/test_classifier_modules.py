"""Modules and losses of the user's making inside the estimator."""

import numpy as np
import pytest
import torch
from torch import nn

from imbtorch import MLP, ImbalancedNetClassifier
from imbtorch.losses import CrossEntropyLoss, FocalLoss, all_losses
from tests.toy import parameters_of, small, table

X, Y = table()


class Recurrent(nn.Module):
    """Reads ``(n, time, features)``."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.lstm = nn.LSTM(input_shape[-1], 8, batch_first=True)
        self.output = nn.Linear(8, n_outputs)

    def forward(self, x):
        return self.output(self.lstm(x)[0][:, -1])


class Convolution(nn.Module):
    """Reads ``(n, channels, height, width)``."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.features = nn.Conv2d(input_shape[0], 4, 3, padding=1)
        self.output = nn.Linear(4, n_outputs)

    def forward(self, x):
        return self.output(torch.relu(self.features(x)).amax(dim=(2, 3)))


class OneColumn(nn.Module):
    def __init__(self, input_shape):
        super().__init__()
        self.hidden = nn.Linear(input_shape[0], 6)
        self.output = nn.Linear(6, 1)

    def forward(self, x):
        return self.output(torch.tanh(self.hidden(x)))


class ZeroAndColumn(OneColumn):
    def forward(self, x):
        z = super().forward(x)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def sequences(n=240, time=10, seed=0):
    """Rare sequences hold a pulse whose sign changes half-way."""
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 0.3, size=(n, time, 3))
    y = (np.arange(n) % 6 == 0).astype(int)
    X[y == 1, : time // 2, 0] += 1
    X[y == 1, time // 2 :, 0] -= 1
    return X, np.array(["calm", "pulse"])[y]


def images(n=240, seed=0):
    """Rare images hold a bright square somewhere."""
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 0.3, size=(n, 2, 8, 8))
    y = (np.arange(n) % 6 == 0).astype(int)
    for i in np.flatnonzero(y):
        row, column = rng.integers(0, 6, 2)
        X[i, 0, row : row + 3, column : column + 3] += 2
    return X, y


@pytest.mark.parametrize(
    ("module", "data"), [(Recurrent, sequences), (Convolution, images)], ids=["LSTM", "Conv2d"]
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sequences_and_images_are_learned(module, data, early_stopping):
    X, y = data()
    clf = ImbalancedNetClassifier(
        module, lr=0.03, max_epochs=20, batch_size=32, early_stopping=early_stopping, patience=20,
        random_state=0,
    ).fit(X, y)  # fmt: skip
    assert clf.n_features_in_ == X.shape[1]
    assert clf.score(*data(seed=1)) > 0.9


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "module",
    ["mlp", MLP((4,)), lambda shape, n: nn.Linear(shape[0], n), Recurrent, nn.LazyLinear(2)],
    ids=["name", "builder", "callable", "class", "instance"],
)
def test_every_kind_of_module_trains_in_both_precisions(module, dtype):
    data = X[:, None] if module is Recurrent else X
    clf = small(module, dtype=dtype).fit(data, Y)
    assert clf.predict_proba(data).dtype == dtype
    assert {str(p.dtype) for p in clf.module_.parameters()} == {f"torch.{dtype}"}


def test_one_column_equals_the_two_columns_0_and_z():
    one = small(OneColumn, dtype="float64").fit(X, Y)
    two = small(ZeroAndColumn, dtype="float64").fit(X, Y)
    np.testing.assert_allclose(parameters_of(one), parameters_of(two), rtol=1e-10)
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), rtol=1e-10)


@pytest.mark.matrix
@pytest.mark.parametrize("loss", sorted(all_losses()))
def test_one_column_works_with_every_loss(loss):
    assert small(OneColumn, loss=loss).fit(X, Y).predict_proba(X).shape == (len(X), 2)


@pytest.mark.parametrize(("n_classes", "width"), [(2, 3), (3, 2), (3, 1), (3, 4)])
def test_wrong_width_says_both_shapes(n_classes, width):
    X, y = table(n_classes=n_classes)
    with pytest.raises(ValueError, match=rf"Linear returned \(2, {width}\).*\(2, {n_classes}\)"):
        small(nn.Linear(5, width)).fit(X, y)


@pytest.mark.parametrize(
    "forward", [lambda x: x[:, 0], lambda x: x[:, None, :2], lambda x: {"scores": x}]
)
def test_output_that_is_no_table_is_an_error(forward):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, x):
            return forward(self.layer(x))

    with pytest.raises(ValueError, match="Odd returned"):
        small(Odd()).fit(X, Y)


def test_module_that_cannot_read_the_rows_says_what_it_was_given():
    with pytest.raises(ValueError, match=r"Linear failed on a batch of shape \(2, 5\)") as caught:
        small(nn.Linear(3, 2)).fit(X[:, :5], Y)
    assert "maps (n, 5) to (n, 2)" in str(caught.value)
    assert "mat1 and mat2" in str(caught.value.__cause__)


class Softmaxed(nn.Linear):
    def forward(self, x):
        return torch.softmax(super().forward(x), dim=1)


N_FEATURES = X.shape[1]


@pytest.mark.parametrize(
    ("module", "y"),
    [
        (Softmaxed(N_FEATURES, 2), Y),
        (nn.Sequential(nn.Linear(N_FEATURES, 2), nn.Softmax(dim=1)), Y),
        (nn.Sequential(nn.Linear(N_FEATURES, 1), nn.Sigmoid()), Y),
        (nn.Sequential(nn.Linear(N_FEATURES, 2), nn.Sigmoid()), np.stack([Y, 1 - Y], axis=1)),
    ],
)
def test_module_that_returns_probabilities_warns(module, y):
    loss = "cross_entropy" if y.ndim == 1 else "bce"
    with pytest.warns(UserWarning, match="seems to return probabilities"):
        small(module, loss=loss).fit(X, y)


@pytest.mark.parametrize("last", [nn.Identity(), nn.ReLU(), nn.LogSoftmax(dim=1)])
def test_module_that_returns_logits_does_not_warn(last, recwarn):
    small(nn.Sequential(nn.Linear(N_FEATURES, 2), last), loss="cross_entropy").fit(X, Y)
    assert not [w for w in recwarn if "probabilities" in str(w.message)]


def test_module_of_the_user_is_not_trained():
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    small(module).fit(X, Y)
    after = module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert module.training
    assert all(p.grad is None for p in module.parameters())
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_training_starts_from_the_weights_of_an_instance():
    module = nn.Linear(5, 2)
    clf = small(module, lr_schedule=lambda progress: 0.0, weight_decay=0.0).fit(X, Y)
    torch.testing.assert_close(clf.module_.weight, module.weight)


@pytest.mark.parametrize(
    "loss",
    [
        FocalLoss(1.5),
        CrossEntropyLoss(weight=[1, 3]),
        nn.CrossEntropyLoss(torch.tensor([1.0, 3.0])),
    ],
    ids=["focal", "weighted", "torch"],
)
def test_loss_of_the_user_is_not_changed(loss):
    state, text = {k: v.clone() for k, v in loss.state_dict().items()}, repr(loss)
    small(loss=loss, dtype="float64").fit(X, Y)
    assert repr(loss) == text
    assert loss.state_dict().keys() == state.keys()
    assert all(torch.equal(loss.state_dict()[k], v) for k, v in state.items())
    assert all(v.dtype == torch.float32 for v in loss.state_dict().values())


def test_parameters_of_the_estimator_are_what_the_user_gave():
    module, loss = MLP((4,)), FocalLoss(1.0)
    clf = small(module, loss=loss).fit(X, Y)
    assert clf.module is module
    assert clf.loss is loss


def local_class():
    class Local(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            self.layer = nn.Linear(input_shape[0], n_outputs)
            self.act = lambda x: x

        def forward(self, x):
            return self.act(self.layer(x))

    return Local


def test_class_defined_in_a_function_can_be_trained_on():
    clf = small(local_class()).partial_fit(X, Y, classes=[0, 1]).partial_fit(X, Y)
    assert clf.n_iter_ == 2
    warm = small(local_class(), warm_start=True).fit(X, Y)
    assert warm.fit(X, Y).n_iter_ == 4


@pytest.mark.parametrize("loss", [torch.nn.L1Loss, FocalLoss, nn.BCEWithLogitsLoss()])
def test_loss_may_be_a_class_or_an_object(loss):
    assert small(loss=loss).fit(X, Y).predict(X).shape == Y.shape


def test_function_is_no_loss_and_the_known_names_are_listed():
    with pytest.raises(TypeError, match="'focal'"):
        small(loss=lambda logits, target: logits.sum()).fit(X, Y)


def test_negative_gamma_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="'gamma' parameter of FocalLoss"):
        small(loss="focal").set_params(loss__gamma=-1.0).fit(X, Y)


@pytest.mark.parametrize(("name", "known"), [("module", "'mlp'"), ("loss", "'focal'")])
def test_unknown_name_lists_the_known_ones(name, known):
    with pytest.raises(ValueError, match=f"Unknown {name} 'nothing'.*{known}"):
        ImbalancedNetClassifier(**{name: "nothing"}).fit(X, Y)


@pytest.mark.matrix
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("loss", sorted(all_losses()))
def test_every_loss_learns_with_a_class_of_very_few_rows(loss, n):
    y = np.zeros(60, dtype=int)
    y[:20], y[20 : 20 + n] = 1, 2
    clf = small(loss=loss, batch_size=8).fit(X[:60], y)
    assert clf.classes_.tolist() == [0, 1, 2]
    assert np.isfinite(clf.predict_proba(X)).all()


@pytest.mark.parametrize("n", [33, 65, 32])
def test_batch_norm_trains_whatever_the_last_batch_holds(n):
    clf = small(MLP((4,), normalization="batch"), batch_size=32).fit(X[:n], np.arange(n) % 2)
    assert np.isfinite(clf.predict_proba(X)).all()


def test_batches_without_some_class_are_no_error():
    y = np.repeat([0, 1], [290, 10])
    assert small(batch_size=2, max_epochs=1, class_weight="balanced", loss="focal").fit(X, y)
