"""Sequences of unequal length do what padded rows with a mask do, or are refused with a reason."""

import copy
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import GridSearchCV, train_test_split
from skorch.callbacks import Callback, EpochScoring
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import imbtorch
from imbtorch import ImbalancedNetClassifier, ImbalancedNetRegressor, Inputs, Sequences
from imbtorch._common.inputs import InputBatch
from imbtorch.training.data.buckets import BucketedOrder
from imbtorch.training.data.features import as_features
from imbtorch.training.data.rows import ShuffledOrder, batch_sizes
from tests.several_inputs import PLAIN, TABLE, USES, N, Y, check_stated
from tests.test_several_inputs import table_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "sequences.md"
QUICK = {"max_epochs": 2, "dtype": "float64", "random_state": 0}
CPU = torch.device("cpu")

rng = np.random.default_rng(0)
LENGTHS = rng.integers(1, 7, N)
SERIES = [rng.normal(size=(t, 2)) + y for t, y in zip(LENGTHS, Y, strict=True)]
TOKENS = [rng.integers(1, 9, t) for t in LENGTHS]
PADDED = np.zeros((N, 6, 3))  # two channels, and 1 where a step is no padding
IDS = np.zeros((N, 6), dtype=np.int64)
for i, t in enumerate(LENGTHS):
    PADDED[i, :t, :2], PADDED[i, :t, 2], IDS[i, :t] = SERIES[i], 1, TOKENS[i]
BESIDE_TABLE = {"series": SERIES, "table": TABLE}

pytestmark = pytest.mark.filterwarnings(
    "ignore::imbtorch.NotStackedWarning",
    "ignore:Training was interrupted",
    "ignore::imbtorch.DoubleCorrectionWarning",
    "ignore:max_epochs=2",
    "ignore:The PyTorch API of nested tensors",
)


def objects(rows):
    made = np.empty(len(rows), dtype=object)
    made[:] = rows
    return made


def mean_of(values, mask):
    return (values * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


class Pool(nn.Module):
    """The mean over the steps, with the mask of a padded batch."""

    def __init__(self, n_outputs):
        super().__init__()
        self.step, self.out = nn.Linear(2, 4), nn.Linear(4, n_outputs)

    def forward(self, x, mask):
        return self.out(mean_of(torch.tanh(self.step(x)), mask))


class PoolWhole(Pool):
    """The same net, whose rows hold the mask themselves."""

    def forward(self, x):
        return super().forward(x[..., :2], x[..., 2])


class Words(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.words, self.out = nn.Embedding(9, 4), nn.Linear(4, n_outputs)

    def forward(self, x, lengths):
        mask = torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)
        return self.out(mean_of(self.words(x), mask))


class WordsWhole(Words):
    def forward(self, x):
        return super().forward(x, (x > 0).sum(1))


class Both(Pool):
    """A sequence and a table."""

    def __init__(self, n_outputs):
        super().__init__(n_outputs)
        self.out = nn.Linear(7, n_outputs)

    def forward(self, series, table, series_attention_mask):
        pooled = mean_of(torch.tanh(self.step(series)), series_attention_mask)
        return self.out(torch.cat([pooled, table], dim=1))


class BothWhole(Both):
    def forward(self, x):
        steps = x[:, 3:].reshape(-1, 6, 3)
        return super().forward(steps[..., :2], x[:, :3], steps[..., 2])


# -- the table of the page: forms of X with their plain form, and what is done with them ----------

FORMS = {
    "list of arrays": (PoolWhole, PADDED, Pool, SERIES),
    "token ids": (WordsWhole, IDS, Words, TOKENS),
    "among several inputs": (
        BothWhole,
        np.hstack([TABLE, PADDED.reshape(N, -1)]),
        Both,
        BESIDE_TABLE,
    ),
}
STATED = table_of(PAGE.read_text("utf-8").split("## What works")[1])
REASONS = ("sequences of unequal length", "several inputs", "holds sequences")


def made(module, **params):
    """A net that sees all rows in one batch, so that the order of the rows makes no difference."""
    return ImbalancedNetClassifier(module, **{**QUICK, "batch_size": 2 * N, **params})


@cache
def plain(use, form):
    module, X, _, _ = FORMS[form]
    return USES[PLAIN.get(use, use)](lambda **p: made(module, **p), X)


def found(use, form):
    *_, module, X = FORMS[form]
    try:
        values = USES[use](lambda **p: made(module, **p), X)
    except ValueError as error:
        return str(error)
    return "same" if np.allclose(values, plain(use, form), rtol=0, atol=1e-5) else "other"


def test_the_page_has_all_cells():
    assert set(STATED) == {(use, form) for use in USES for form in FORMS}


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("use", "form"),
    [
        pytest.param(use, form, marks=[pytest.mark.slow] if use == "ONNX" else [])
        for use in USES
        for form in FORMS
    ],
)
def test_same_as_padded_rows_with_a_mask(use, form):
    check_stated(found(use, form), STATED[use, form], REASONS)


def fitted(module=Pool, X=SERIES, **params):
    return ImbalancedNetClassifier(module, **{**QUICK, "batch_size": 8, **params}).fit(X, Y)


@pytest.mark.parametrize("sampler", [None, "class_balanced"])
def test_sequences_of_one_length_are_trained_like_the_array(sampler):
    X = PADDED[:, :, :2]

    class OfArray(Pool):
        def forward(self, x):
            return super().forward(x, torch.ones(x.shape[:2]))

    one = fitted(OfArray, X, sampler=sampler).predict_proba(X)
    other = fitted(Pool, Sequences(X), sampler=sampler)
    np.testing.assert_allclose(other.predict_proba(X), one, rtol=0, atol=1e-12)
    np.testing.assert_allclose(other.predict_proba(list(X)), one, rtol=0, atol=1e-12)


# -- forms of X ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        objects,
        Sequences,
        lambda rows: torch.nested.nested_tensor([torch.tensor(row) for row in rows]),
        lambda rows: torch.nested.nested_tensor(
            [torch.tensor(row) for row in rows], layout=torch.jagged
        ),
        lambda rows: [torch.tensor(row) for row in rows],
        lambda rows: Inputs((rows,)),
    ],
    ids=["objects", "Sequences", "nested", "jagged", "tensors", "Inputs"],
)
def test_every_form_gives_the_same_net(form):
    expected = fitted().predict_proba(SERIES)
    X = form(SERIES)
    clf = fitted(X=X)
    assert np.array_equal(clf.predict_proba(X), expected)
    assert np.array_equal(clf.predict_proba(SERIES), expected)


def test_the_same_seed_gives_the_same_bits():
    a, b = (fitted(random_state=3, early_stopping=True).predict_proba(SERIES) for _ in range(2))
    assert np.array_equal(a, b)


def test_sequences_of_numbers_without_channels_and_a_net_without_a_mask():
    shapes = []

    class Plain(nn.Module):
        def __init__(self, input_shape, n_outputs):
            super().__init__()
            shapes.append(input_shape)
            self.gru = nn.GRU(1, 3, batch_first=True)
            self.out = nn.Linear(3, n_outputs)

        def forward(self, x):
            return self.out(self.gru(x.unsqueeze(-1))[0].mean(1))

    rows = [row[:, 0] for row in SERIES]
    assert fitted(Plain, rows, dtype="float32").predict(rows).shape == (N,)
    assert shapes == [(None,)]


def test_regressor_and_sample_weights():
    y = np.array([row.mean() for row in SERIES])
    reg = ImbalancedNetRegressor(Pool, **QUICK, batch_size=8)
    assert reg.fit(SERIES, y, sample_weight=np.linspace(0, 1, N)).predict(SERIES).shape == (N,)


def test_forward_gets_what_it_names():
    seen = {}

    class All(Pool):
        def forward(self, x, lengths, mask, attention_mask, other=None):
            seen.update(lengths=lengths, mask=mask, attention_mask=attention_mask, other=other)
            return super().forward(x, mask)

    fitted(All)
    lengths, mask = seen["lengths"], seen["mask"]
    assert lengths.dtype == torch.int64
    assert mask.dtype == torch.bool
    assert seen["attention_mask"].dtype == torch.int64
    assert torch.equal(mask.sum(1), lengths)
    assert torch.equal(seen["attention_mask"], mask.long())
    assert seen["other"] is None


def test_a_tuple_of_lists():
    class Two(Pool):
        def forward(self, a, table, mask):
            return super().forward(a, mask) + table[:, :1]

    clf = fitted(Two, (SERIES, TABLE))
    rows = [i for i in range(N) if LENGTHS[i] == 3]
    some = clf.predict_proba(([SERIES[i] for i in rows], TABLE[rows]))
    np.testing.assert_allclose(some, clf.predict_proba((SERIES, TABLE))[rows], rtol=0, atol=1e-12)


def test_two_sequences_have_masks_of_their_own():
    class Two(Pool):
        def forward(self, a, b, a_mask, b_lengths):
            assert torch.equal(a_mask.sum(1), b_lengths)
            return super().forward(a + b, a_mask)

    fitted(Two, {"a": SERIES, "b": SERIES})

    class Unclear(Pool):
        def forward(self, a, b, mask):
            return super().forward(a, mask)

    with pytest.raises(ValueError, match=r"not clear whose mask .* 'text_mask'"):
        fitted(Unclear, {"a": SERIES, "b": SERIES})


def test_an_input_of_the_user_is_not_replaced():
    weights = np.ones((N, 1))

    class Own(Pool):
        def forward(self, series, mask):
            assert mask.shape[1:] == (1,)
            return self.out(torch.tanh(self.step(series)).mean(1) * mask)

    fitted(Own, {"series": SERIES, "mask": weights})


# -- padding and buckets ------------------------------------------------------------------------


def batch(n_more=0):
    features = as_features(Inputs((Sequences(SERIES),)), {0: torch.float64}, CPU)
    x = features.slice(0, 12)
    more = torch.full((12, n_more, 2), 7.0, dtype=torch.float64)
    return InputBatch({**x.parts, 0: torch.cat([x.parts[0], more], dim=1)})


def test_a_batch_is_padded_with_zeros_on_the_right():
    x = batch().parts[0]
    assert x.shape == (12, LENGTHS[:12].max(), 2)
    for row, own in zip(x.numpy(), SERIES, strict=False):
        assert np.array_equal(row[: len(own)], own)
        assert not row[len(own) :].any()


def test_more_padding_changes_no_loss():
    net = fitted().net_
    target = torch.from_numpy(Y[:12])
    with torch.no_grad():
        losses = [net.unweighted(net.module_(batch(n)), target) for n in (0, 1, 5)]
    torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(losses[2], losses[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_rows", [1, 7, 8, 9, 300, 417])
def test_buckets_see_every_row_once_an_epoch(n_rows):
    lengths = torch.from_numpy(np.random.default_rng(1).integers(1, 1000, 500))
    rows = np.random.default_rng(2).permutation(500)[:n_rows]

    def order(seed=5):
        drawn = ShuffledOrder(rows, n_rows, seed, CPU)
        return BucketedOrder(drawn, lengths, 8)

    epochs = [order().shuffled(epoch) for epoch in range(3)]
    for seen in epochs:
        assert np.array_equal(np.sort(seen), np.sort(rows))
    again = order()
    assert all(torch.equal(again.shuffled(epoch), epochs[epoch]) for epoch in (2, 0, 1))
    if n_rows >= 300:
        assert not torch.equal(epochs[0], epochs[1])
        drawn = ShuffledOrder(rows, n_rows, 5, CPU).shuffled(0)
        assert _padding(lengths[epochs[0].long()]) < 0.3 * _padding(lengths[drawn.long()])
        longest = [int(part.max()) for part in lengths[epochs[0].long()].split(8)]
        assert longest != sorted(longest)


def test_each_epoch_visits_the_batches_in_another_order(monkeypatch):
    drawn = ShuffledOrder(None, 200, 0, CPU)
    monkeypatch.setattr(drawn, "shuffled", lambda epoch: torch.arange(200))
    order = BucketedOrder(drawn, torch.arange(200) // 2, 8)
    epochs = [order.shuffled(epoch).reshape(-1, 8) for epoch in (0, 1)]
    for batches in epochs:
        assert torch.equal(batches[:16, 0].sort().values, torch.arange(0, 128, 8))
    assert not torch.equal(*epochs)


def test_a_training_that_goes_on_sees_the_same_batches():
    def make(**params):
        return made(Pool, batch_size=8, **params)

    expected = make().fit(SERIES, Y).predict_proba(SERIES)
    assert np.array_equal(USES["checkpoint, resumed"](make, SERIES), expected)


def _padding(lengths):
    parts = lengths.split(batch_sizes(len(lengths), 8))
    return sum(int((part.max() - part).sum()) for part in parts)


def test_a_sampler_decides_which_rows_a_batch_holds():
    drawn = ShuffledOrder(None, 80, 0, CPU)
    order = BucketedOrder(drawn, torch.from_numpy(LENGTHS), 8)
    plan = np.random.default_rng(0).permutation(80)
    assert np.array_equal(order.chosen(plan), plan)


def test_training_uses_buckets_but_for_losses_of_the_whole_batch():
    widths = []

    class Noting(Callback):
        def on_batch_begin(self, net, batch, training, **kwargs):
            widths.append(batch[0].parts["0:lengths"].tolist())

    fitted(callbacks=[Noting()], max_epochs=1)
    assert sorted(sum(widths, [])) == sorted(LENGTHS.tolist())
    assert all(max(w) - min(w) <= 2 for w in widths)
    widths.clear()
    fitted(callbacks=[Noting()], max_epochs=1, loss="auc_margin")
    assert max(max(w) - min(w) for w in widths) > 2


def test_predictions_come_in_the_order_given():
    clf = fitted()
    alone = np.concatenate([clf.predict_proba([row]) for row in SERIES])
    np.testing.assert_allclose(clf.predict_proba(SERIES), alone, rtol=0, atol=1e-12)
    backwards = clf.predict_proba(SERIES[::-1])
    np.testing.assert_allclose(backwards, alone[::-1], rtol=0, atol=1e-12)


# -- around the net -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", [list, objects, Sequences], ids=["list", "objects", "Sequences"])
def test_searches_and_splitters_take_rows(form):
    X_train, X_test, y_train, _ = train_test_split(form(SERIES), Y, random_state=0)
    search = GridSearchCV(made(Pool), {"lr": [0.01, 0.1]}, cv=2, error_score="raise")
    assert search.fit(X_train, y_train).predict_proba(X_test).shape == (20, 2)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_predict_the_same(copied):
    clf = fitted()
    assert np.array_equal(copied(clf).predict_proba(SERIES), clf.predict_proba(SERIES))


def test_files_of_tokens_and_further_training(tmp_path):
    clf = fitted(Words, TOKENS)
    clf.save(tmp_path / "net")
    again = imbtorch.load(tmp_path / "net", module=Words)
    assert np.array_equal(again.predict_proba(TOKENS), clf.predict_proba(TOKENS))
    assert "sequences of unequal length" in clf.model_card()
    again.set_params(warm_start=True).fit(TOKENS, Y)


def test_chunks_of_one_length_follow():
    clf = made(Pool).partial_fit(SERIES, Y, classes=[0, 1])
    chunk = [row for row in SERIES if len(row) == 3]
    clf.partial_fit(chunk, np.arange(len(chunk)) % 2)


def test_validation_rows_of_one_length():
    rows = [row for row in SERIES if len(row) == 3]
    labels = np.arange(len(rows)) % 2
    made(Pool).fit(SERIES, Y, X_val=rows, y_val=labels)
    made(Pool).fit(rows, labels, X_val=SERIES, y_val=Y)


@pytest.mark.parametrize("form", [SERIES, BESIDE_TABLE], ids=["alone", "among"])
@pytest.mark.parametrize("use_caching", [True, False])
def test_callbacks_see_padded_batches(form, use_caching):
    scoring = EpochScoring("neg_log_loss", name="score", use_caching=use_caching)
    module = Both if isinstance(form, dict) else Pool
    clf = fitted(module, form, validation_fraction=0.2, callbacks=[scoring], scoring="neg_log_loss")
    scores = clf.history_[:, ("score", "valid_score")]
    np.testing.assert_allclose(*np.transpose(scores), rtol=0, atol=1e-9)


def test_batches_that_are_split_where_memory_ends():
    np.testing.assert_allclose(
        fitted(on_oom="split").predict_proba(SERIES), fitted().predict_proba(SERIES), atol=1e-12
    )


# -- errors ---------------------------------------------------------------------------------------


def changed(i, row):
    return [*SERIES[:i], row, *SERIES[i + 1 :]]


BAD_ROWS = {
    "empty": (np.zeros((0, 2)), r"one step or more, but row 3 has the shape \(0, 2\)"),
    "dtype": (SERIES[3].astype(np.float32), r"row 0 is float64, but row 3 is float32"),
    "channels": (np.zeros((4, 3)), r"row 0 has the shape .* row 3 has \(4, 3\)"),
    "dimensions": (np.zeros((4, 2, 2)), r"row 3 has the shape \(4, 2, 2\)"),
    "one dimension less": (np.zeros(4), r"row 0 has the shape .* row 3 has \(4,\)"),
    "0-dimensional": (np.array(1.0), r"row 3 has the shape \(\)"),
    "scalar": (3.5, "row 3 is of type float"),
    "list": ([[1.0, 2.0]], "row 3 is of type list"),
    "frame": (pd.DataFrame(SERIES[3]), "row 3 is of type DataFrame"),
    "words": (np.array([["a", "b"]]), "row 3 has the dtype <U1"),
    "bfloat16": (torch.ones(2, 2, dtype=torch.bfloat16), r"row\.float\(\)"),
    "NaN": (np.array([[1, 2], [np.nan, 1]]), "Row 3 holds NaN or infinity at step 1"),
    "infinity": (np.array([[np.inf, 2]]), "Row 3 holds NaN or infinity at step 0"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named(case):
    row, message = BAD_ROWS[case]
    clf = made(Pool)
    with pytest.raises(ValueError, match=message):
        clf.fit(changed(3, row), Y)
    assert not hasattr(clf, "net_")
    clf.fit(SERIES, Y)
    with pytest.raises(ValueError, match=message):
        clf.predict(changed(3, row))
    with pytest.raises(ValueError, match=r"X\['series'\] is not valid: .*" + message):
        made(Both).fit({"series": changed(3, row), "table": TABLE}, Y)


LISTS = [[1.0, 2.0][: 1 + i % 2] for i in range(N)]


@pytest.mark.parametrize(
    ("module", "X", "message"),
    [
        (Pool, LISTS, r"give each one as an array: X = \[np\.asarray"),
        ("mlp", SERIES, r"module=MLP\(\) takes rows of one length"),
        (Pool, [np.zeros((2, 2))] * N, r"give imbtorch\.Sequences\(X\)"),
        (Pool, SERIES[:-1], "79 sequences, but y has 80"),
        (nn.Linear(2, 2), {"a": SERIES}, "takes"),
        (Words, [row - 1 for row in TOKENS], None),
        (Words, [row + 1 for row in TOKENS], r"the steps of X.*the embedding 'words'|words"),
    ],
    ids=["lists", "mlp", "one length", "rows", "argument", "ids", "large ids"],
)
def test_what_a_fit_refuses(module, X, message):
    if message is None:
        made(module).fit(X, Y)
        return
    with pytest.raises(ValueError, match=message):
        made(module).fit(X, Y)


def test_what_prediction_refuses():
    clf = fitted()
    with pytest.raises(ValueError, match=r"steps of shape \(3,\), but .* steps of shape \(2,\)"):
        clf.predict([np.zeros((2, 3)), np.zeros((1, 3))])
    plain_clf = made(PoolWhole).fit(PADDED, Y)
    with pytest.raises(
        ValueError, match=r"X has sequences with steps of shape \(3,\), but .*one a"
    ):
        plain_clf.predict([np.zeros((2, 3)), np.zeros((1, 3))])
    words = made(Words).fit(TOKENS, Y)
    with pytest.raises(ValueError, match=r"steps of X.* identifiers from 1 to 11"):
        words.predict([np.array([1]), np.array([9, 11])])
    with pytest.raises(ValueError, match=r"steps of X.* identifiers from 1 to 11"):
        words.predict([np.array([1, 2]), np.array([9, 11])])


def test_tools_for_tables_refuse_sequences():
    with pytest.raises(ValueError, match="strategies of this package take a table"):
        imbtorch.compare_strategies(SERIES, Y, cv=2)
    with pytest.raises(ValueError, match="X holds sequences of unequal length"):
        imbtorch.NetPortfolioClassifier(cv=2).fit(SERIES, Y)


def test_sequences_are_no_array():
    with pytest.raises(TypeError, match="no single array"):
        np.asarray(Sequences(SERIES))


def test_sequences_hold_one_step_or_more():
    with pytest.raises(ValueError, match="all rows have the length 0"):
        Sequences(np.zeros((4, 0, 2)))
    with pytest.raises(ValueError, match="X holds no sequence"):
        Sequences([])


@pytest.mark.parametrize(
    "rows", [slice(2, 5), slice(None, None, 3), [4, 4, 0], LENGTHS > 3, [], np.array([-1])]
)
def test_rows_are_taken(rows):
    X = Sequences(SERIES)
    taken = X[rows]
    expected = [SERIES[i] for i in np.arange(N)[rows if len_of(rows) else []].tolist()]
    assert len(taken) == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(taken, expected, strict=True))


def len_of(rows):
    return 1 if isinstance(rows, slice) else len(rows)


def test_arrays_and_lists_of_one_length_are_rows():
    rows = [np.array([float(i), 1.0]) if i % 2 else [float(i), 1.0] for i in range(20)]
    clf = ImbalancedNetClassifier("mlp", max_epochs=1, random_state=0)
    y = np.arange(20) % 2
    expected = clf.fit(np.array(rows), y).predict_proba(np.array(rows))
    np.testing.assert_array_equal(clf.fit(rows, y).predict_proba(rows), expected)


def test_no_sequence_is_an_error_at_prediction():
    clf = made(Pool).fit(SERIES, Y)
    with pytest.raises(ValueError, match="holds no sequence"):
        clf.predict(Sequences(SERIES)[:0])


def test_a_module_that_hides_its_arguments_is_warned_of():
    class Hidden(Pool):
        def forward(self, *args, **kwargs):
            return super().forward(*args, torch.ones(args[0].shape[:2]), **kwargs)

    with pytest.warns(UserWarning, match=r"has \*\*kwargs, but names none of"):
        made(Hidden).fit(SERIES, Y)


def test_steps_of_several_batches_are_those_of_large_batches():
    rng = np.random.default_rng(0)
    y = np.arange(96) % 3 == 0
    X = [
        rng.normal(size=(t, 2)) + label for t, label in zip(rng.integers(1, 30, 96), y, strict=True)
    ]
    options = {"dtype": "float64", "max_epochs": 3, "random_state": 0}
    large, small = (
        ImbalancedNetClassifier(Pool, batch_size=32 // n, accumulate=n, **options).fit(X, y)
        for n in (1, 4)
    )
    np.testing.assert_allclose(small.predict_proba(X), large.predict_proba(X), rtol=1e-9)


# -- ONNX -----------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """The last state, or the mean over the steps, of recurrent layers."""

    def __init__(self, n_outputs, kind="GRU", packed=True, layer=None):
        super().__init__()
        settings = {"batch_first": True, **(layer or {})}
        self.layer = getattr(nn, kind)(2, 3, **settings)
        self.packed, self.first = packed, settings["batch_first"]
        width = 6 if settings.get("bidirectional") else 3
        self.out, self.last = nn.Linear(width, n_outputs), nn.Linear(3, n_outputs)

    def forward(self, x, lengths, mask):
        rows = x if self.first else x.transpose(0, 1)
        if not self.packed:
            steps, state = self.layer(rows)
            steps = steps if self.first else steps.transpose(0, 1)
            last = (lengths - 1).reshape(-1, 1, 1).expand(-1, 1, steps.shape[2])
            return self.out(steps.gather(1, last).squeeze(1))
        packed = pack_padded_sequence(rows, lengths.cpu(), self.first, enforce_sorted=False)
        steps, state = self.layer(packed)
        state = state[0] if isinstance(state, tuple) else state
        steps, _ = pad_packed_sequence(steps, True, total_length=x.shape[1])
        return self.out(mean_of(steps, mask)) + self.last(state[-1])


class Attention(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.step, self.out = nn.Linear(2, 4), nn.Linear(4, n_outputs)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x, mask):
        return self.out(mean_of(self.layers(self.step(x), src_key_padding_mask=~mask), mask))


def check_session(path, clf, rows):
    """Compare a file with the estimator, for batches of several sizes and lengths."""
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    assert [value.name for value in session.get_inputs()] == ["X", "lengths"]
    shortest = [i for i in range(N) if len(rows[i]) == 1][:1]
    for chosen in ([0], shortest, range(7), range(N)):
        few = [rows[i] for i in chosen]
        lengths = np.array([len(row) for row in few])
        for further in (0, 2):  # padding counts for nothing, whatever it holds
            shape = (len(few), lengths.max() + further, *few[0].shape[1:])
            padded = np.full(shape, 3, dtype=few[0].dtype)
            for row, filled in zip(few, padded, strict=True):
                filled[: len(row)] = row
            got = session.run(["probabilities"], {"X": padded, "lengths": lengths})[0]
            expected = clf.predict_proba(Sequences(few))
            np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "GRU"},
        {"kind": "LSTM", "layer": {"num_layers": 2, "bidirectional": True}},
        {"kind": "RNN", "layer": {"nonlinearity": "relu", "bias": False}},
        {"kind": "GRU", "packed": False, "layer": {"batch_first": False}},
        {"kind": "LSTM", "packed": False},
    ],
    ids=["GRU", "LSTM", "RNN", "GRU of padded rows", "LSTM of padded rows"],
)
def test_onnx_of_recurrent_layers(settings, tmp_path):
    rows = [row.astype(np.float32) for row in SERIES]
    clf = made(Recurrent, dtype="float32").set_params(
        **{f"module__{name}": value for name, value in settings.items()}
    )
    clf.fit(rows, Y).to_onnx(tmp_path / "net.onnx")
    assert "check_forward_args" not in vars(clf.module_.layer)  # a copy was changed
    check_session(tmp_path / "net.onnx", clf, rows)


@pytest.mark.slow
def test_onnx_of_attention_and_of_tokens(tmp_path):
    rows = [row.astype(np.float32) for row in SERIES]
    for module, X in ((Attention, rows), (Words, TOKENS)):
        clf = made(module, dtype="float32").fit(X, Y)
        clf.to_onnx(tmp_path / "net.onnx")
        check_session(tmp_path / "net.onnx", clf, X)


def test_onnx_without_lengths_and_with_the_name_of_an_input(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    rows = [row.astype(np.float32) for row in SERIES]

    class Sum(nn.Module):  # zeros at the end change nothing
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(2, 2)

        def forward(self, x):
            return self.out(x.sum(1))

    clf = made(Sum, dtype="float32").fit(rows, Y)
    clf.to_onnx(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert [value.name for value in session.get_inputs()] == ["X"]
    padded = PADDED[..., :2].astype(np.float32)
    got = session.run(["probabilities"], {"X": padded})[0]
    np.testing.assert_allclose(got, clf.predict_proba(rows), atol=1e-5)

    class Named(Sum):
        def forward(self, x, x_lengths, lengths):
            return self.out(x.sum(1) / lengths.unsqueeze(1)) + x_lengths.reshape(-1, 1)

    X = {"x": rows, "x_lengths": LENGTHS}
    clf = made(Named, dtype="float32").fit(X, Y)
    with pytest.raises(ValueError, match="the name of another input, 'x_lengths'"):
        clf.to_onnx(tmp_path / "net.onnx")


def test_onnx_of_what_cannot_be_traced(tmp_path):
    class Projected(Recurrent):
        def __init__(self, n_outputs):
            super().__init__(n_outputs, "LSTM", False, {"proj_size": 2})
            self.out = nn.Linear(2, n_outputs)

    clf = made(Projected).fit(SERIES, Y)
    with pytest.raises(RuntimeError, match="torch cannot export") as caught:
        clf.to_onnx(tmp_path / "net.onnx")
    assert "projections" in str(caught.value.__cause__)
    assert not (tmp_path / "net.onnx").exists()
