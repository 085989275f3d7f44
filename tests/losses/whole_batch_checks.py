"""What losses of the whole batch must satisfy: one value per column; see ``checks.py``.

What a loss remembers of earlier batches is tested in ``test_top_ranking.py``; here it ranks within
the batch.
"""

import functools

import torch
from sklearn.base import clone
from torch.testing import assert_close

from imbtorch.losses import CrossEntropyLoss, SmoothAPLoss
from tests.losses.inputs import CLASS_WEIGHT, COUNTS, batch, extreme, labels, value_and_gradient
from tests.losses.inputs import prepared as prepared_with_memory

RANKS_COUNT_TIES_HALF = (SmoothAPLoss,)  # so that a row given twice has another rank


def forgetful(loss):
    """Copy of the loss that remembers no batch."""
    loss = clone(loss)
    return loss.set_params(queue_size=0) if hasattr(loss, "queue_size") else loss


def without_memory(check):
    """Make a check of the losses per row fit for those that remember."""
    return functools.wraps(check)(lambda loss: check(forgetful(loss)))


def prepared(loss, counts=COUNTS, **params):
    return prepared_with_memory(forgetful(loss), counts, **params)


def forms(n=12):
    """Logits and target of two classes, of three, and of three labels."""
    return [batch(n, 2), batch(n), labels(n)]


def assert_teaches_nothing(loss, logits, target, weight=None):
    value, grad = value_and_gradient(lambda z: loss(z, target, weight), logits)
    assert (value == 0).all()
    assert (grad == 0).all()


# -- values and gradients ------------------------------------------------------------------------


def check_batch_value(loss):
    """One number, or one per column, in the dtype and on the device of the logits."""
    for dtype in (torch.float64, torch.float32):
        for (logits, target), n_columns in zip(forms(), (1, 3, 3), strict=True):
            logits = logits.to(dtype)
            for reduction, shape in (("mean", ()), ("none", (n_columns,))):
                ready = prepared(loss, reduction=reduction)
                value, grad = value_and_gradient(lambda z, f=ready, y=target: f(z, y), logits)
                assert (value.shape, value.dtype) == (shape, dtype)
                assert (value.isfinite() & (value > 0)).all()
                assert grad.isfinite().all()
                assert (grad != 0).any()


def check_batch_forms_of_two_classes(loss):
    """Two columns are one logit, their difference."""
    logits, target = batch(n_classes=2)
    loss = prepared(loss)
    one = value_and_gradient(lambda z: loss(z[:, 1] - z[:, 0], target), logits)
    assert_close(value_and_gradient(lambda z: loss(z, target), logits), one)


def check_batch_gradient(loss):
    """Autograd agrees with finite differences."""
    for logits, target in forms(8):
        ready = prepared(loss, reduction="none")
        assert torch.autograd.gradcheck(
            lambda z, f=ready, y=target: f(z, y), logits.requires_grad_(), raise_exception=False
        )


def check_batch_extreme_logits(loss):
    """An early step with a large learning rate must not end in NaN."""
    loss = prepared(loss)
    inputs = [extreme(2), extreme(3)]
    logits, target = extreme(2)
    inputs.append((logits, torch.stack([target, 1 - target], 1)))
    for logits, target in inputs:
        for scale in (1.0, 0.01):
            value, grad = value_and_gradient(lambda z, y=target: loss(z, y), scale * logits)
            assert value.isfinite()
            assert grad.isfinite().all()


def check_batch_float32(loss):
    """Rounding does not turn a gradient into 0 or into an explosion."""
    for logits, target in forms(30):
        ready = prepared(loss)
        double = value_and_gradient(lambda z, f=ready, y=target: f(z, y), logits)
        single = value_and_gradient(lambda z, f=ready, y=target: f(z, y), logits.float())
        for actual, expected in zip(single, double, strict=True):
            assert_close(actual.double(), expected, rtol=1e-4, atol=1e-6)


def check_batch_half_precision(loss):
    """Logits of a half-precision module are computed with in single precision."""
    loss = prepared(loss)
    for dtype in (torch.bfloat16, torch.float16):
        logits, target = batch(dtype=dtype)
        value = loss(logits, target)
        assert value.dtype == torch.float32
        assert_close(value, loss(logits.float(), target))
        far, target = extreme(3, dtype)
        value, grad = value_and_gradient(lambda z, y=target: loss(z, y), far)
        assert value.isfinite()
        assert grad.isfinite().all()


# -- order ---------------------------------------------------------------------------------------


def check_batch_permuted_rows(loss):
    """The order of the rows carries no information."""
    for logits, target in forms():
        order = torch.randperm(len(target), generator=torch.Generator().manual_seed(2))
        ready = prepared(loss)
        assert_close(ready(logits[order], target[order]), ready(logits, target))


def check_batch_permuted_columns(loss):
    """Nor does the order of the columns: labels and weights move together."""
    order = torch.tensor([2, 0, 1])  # new column j holds the old one order[j]
    weight = torch.tensor(CLASS_WEIGHT)
    before = prepared(loss, weight=weight, reduction="none")
    after = prepared(loss, weight=weight[order], reduction="none")
    logits, target = batch()
    assert_close(after(logits[:, order], order.argsort()[target]), before(logits, target)[order])
    logits, target = labels()
    assert_close(after(logits[:, order], target[:, order]), before(logits, target)[order])


# -- batches that hold too little ----------------------------------------------------------------


def check_batch_without_positives(loss):
    """It has no rank and no overlap: it teaches nothing, rather than something wrong."""
    for reduction in ("mean", "sum", "none"):
        ready = prepared(loss, reduction=reduction)
        for scale in (1.0, 1e4):
            logits = scale * batch(n_classes=2)[0]
            assert_teaches_nothing(ready, logits, torch.zeros(12).long())
            assert_teaches_nothing(ready, logits, torch.zeros(12, 2))


def check_batch_without_negatives(loss):
    """Losses that compare have nothing to compare with; the others stay finite."""
    ready = prepared(loss)
    for scale in (1.0, 1e4):
        logits = scale * batch(n_classes=2)[0]
        for target in (torch.ones(12).long(), torch.ones(12, 2)):
            if loss._compares:
                assert_teaches_nothing(ready, logits, target)
            value, grad = value_and_gradient(lambda z, y=target: ready(z, y), logits)
            assert value.isfinite()
            assert grad.isfinite().all()


def check_batch_of_weight_zero(loss):
    """Rows that all weigh nothing are no rows; 0 / 0 must not reach the parameters."""
    for logits, target in forms():
        ready = prepared(loss)
        assert_teaches_nothing(ready, logits, target, torch.zeros(12))
        n_classes = logits.shape[1]
        ready = prepared(loss, COUNTS[:n_classes], weight=[0.0] * n_classes)
        assert_teaches_nothing(ready, logits, target)
    ignored = torch.full((12,), -100)
    assert_teaches_nothing(prepared(loss), batch()[0], ignored)


def check_columns_without_positives(loss):
    """They count neither in the mean over the columns nor in the sum."""
    logits, target = batch()
    few = labels()[1].clone()
    few[:, 2] = 0
    for scores, positive in ((logits, target.clamp_max(1)), (logits[: len(few)], few)):
        columns = prepared(loss, reduction="none")(scores, positive)
        assert columns[2] == 0
        assert (columns[:2] > 0).all()
        assert_close(prepared(loss)(scores, positive), columns[:2].mean())
        assert_close(prepared(loss, reduction="sum")(scores, positive), columns.sum())


# -- weights -------------------------------------------------------------------------------------


def check_weight_zero_is_no_row(loss):
    """Value and gradient are those of the batch without the row."""
    for logits, target in forms(20):
        kept = torch.arange(20) % 5 != 3
        ready = prepared(loss)
        value, grad = value_and_gradient(lambda z, f=ready, y=target, k=kept: f(z, y, k), logits)
        expected = value_and_gradient(lambda z, f=ready, y=target[kept]: f(z, y), logits[kept])
        assert_close((value, grad[kept]), expected)
        assert (grad[~kept] == 0).all()


def check_batch_weights_are_repeats(loss):
    """Weight k is the row k times."""
    if isinstance(loss, RANKS_COUNT_TIES_HALF):
        return
    for logits, target in forms():
        repeats = torch.arange(len(target)) % 3
        ready = prepared(loss)
        weighted = value_and_gradient(lambda z, f=ready, y=target, k=repeats: f(z, y, k), logits)
        repeated = value_and_gradient(
            lambda z, f=ready, y=target, k=repeats: f(
                z.repeat_interleave(k, 0), y.repeat_interleave(k, 0)
            ),
            logits,
        )
        assert_close(weighted, repeated)


def check_weights_scale_out(loss):
    """Values are means: twice the weight of all rows changes nothing but smoothing."""
    if getattr(loss, "smooth", 0):
        return
    for logits, target in forms():
        ready = prepared(loss)
        weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
        assert_close(ready(logits, target, 7 * weight), ready(logits, target, weight))
        assert_close(ready(logits, target, torch.tensor(7.0)), ready(logits, target))


def check_class_weights(loss):
    """They are weights of rows; where pairs of the classes are compared they cancel."""
    logits, target = batch()
    weight = torch.tensor(CLASS_WEIGHT, dtype=logits.dtype)
    row_weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
    actual = prepared(loss, weight=CLASS_WEIGHT)(logits, target, row_weight)
    assert_close(actual, prepared(loss)(logits, target, weight[target] * row_weight))
    assert (actual - prepared(loss)(logits, target, row_weight)).abs() > 1e-6
    logits, target = batch(n_classes=2)
    actual = prepared(loss, COUNTS[:2], weight=(1.0, 7.0))(logits, target)
    plain = prepared(loss)(logits, target)
    if loss._compares:
        assert_close(actual, plain)


# -- shapes --------------------------------------------------------------------------------------


def check_batch_ignore_index(loss):
    """Ignored rows are no rows."""
    logits, target = batch(20)
    for ignored in (-100, 1):
        index = torch.where(torch.arange(20) % 5 == 3, ignored, target)
        kept = index != ignored
        ready = prepared(loss, ignore_index=ignored)
        value, grad = value_and_gradient(lambda z, f=ready, y=index: f(z, y), logits)
        expected = value_and_gradient(lambda z, f=ready, y=index[kept]: f(z, y), logits[kept])
        assert_close((value, grad[kept]), expected)
        assert (grad[~kept] == 0).all()


def check_batch_extra_dimensions(loss):
    """Pixels and time steps are rows of one batch."""
    for logits, target in (batch(40), labels(40)):
        weight = torch.linspace(0.5, 2, 40, dtype=logits.dtype)
        shaped = [v.reshape(2, 4, 5, *v.shape[1:]) for v in (logits, target, weight)]
        shaped[0] = shaped[0].movedim(-1, 1)
        of_labels = target.ndim == 2
        shaped[1] = shaped[1].movedim(-1, 1) if of_labels else shaped[1]
        shaped[2] = shaped[2].unsqueeze(1) if of_labels else shaped[2]
        flat_weight = weight.unsqueeze(1) if of_labels else weight
        for reduction in ("none", "mean"):
            ready = prepared(loss, weight=CLASS_WEIGHT, reduction=reduction)
            assert_close(ready(*shaped), ready(logits, target, flat_weight))


def check_batch_reductions(loss):
    """Reductions are over the columns."""
    for logits, target in forms():
        columns = prepared(loss, reduction="none")(logits, target)
        assert_close(prepared(loss, reduction="sum")(logits, target), columns.sum())
        for mean in ("mean", "weighted_mean"):
            assert_close(prepared(loss, reduction=mean)(logits, target), columns.mean())


def check_batch_loss(loss):
    """A training loop gives weights divided by the number of rows."""
    for logits, target in forms()[:2]:
        weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
        for epoch in (None, 0):
            ready = prepared(loss, warmup_epochs=2)
            if epoch is not None:
                ready.set_epoch(epoch)
            actual = ready.batch_loss(logits, target, weight / len(target))
            assert_close(actual, ready(logits, target, weight))


# -- warm-up, posterior, learning ----------------------------------------------------------------


def check_warm_up(loss):
    """Cross-entropy, its weights and its mean, for as many epochs as asked for; else never."""
    for logits, target in forms():
        weight = torch.linspace(0.5, 2, len(target), dtype=logits.dtype)
        n_classes = logits.shape[1]
        for reduction in ("mean", "sum", "weighted_mean"):
            settings = {"weight": CLASS_WEIGHT[:n_classes], "reduction": reduction}
            entropy = CrossEntropyLoss(**settings)(
                logits, target, weight.reshape(-1, *[1] * (target.ndim - 1))
            )
            own = prepared(loss, COUNTS[:n_classes], warmup_epochs=0, **settings)
            own = own(logits, target, weight)
            assert not torch.isclose(own, entropy)
            ready = prepared(loss, COUNTS[:n_classes], warmup_epochs=2, **settings)
            assert not ready.is_warming_up
            assert_close(ready(logits, target, weight), own)
            for epoch, expected in ((0, entropy), (1, entropy), (2, own), (3, own), (0, entropy)):
                ready.set_epoch(epoch)
                assert ready.is_warming_up == (expected is entropy)
                assert_close(ready(logits, target, weight), expected)
            assert not clone(ready).is_warming_up


def check_no_posterior(loss):
    """Ranks and overlaps determine no probabilities."""
    assert not loss.has_posterior
    assert prepared(loss).initial_bias(torch.tensor([0.8, 0.16, 0.04]).log()) is None
    logits, _ = batch()
    assert_close(prepared(loss).log_posterior(logits), logits.log_softmax(1))


def check_batch_descent(loss):
    """Many steps against the gradient lower the loss by a lot."""
    for logits, target in forms(30):
        ready = prepared(loss)
        first = ready(logits, target)
        for _ in range(150):
            _, grad = value_and_gradient(lambda z, f=ready, y=target: f(z, y), logits)
            logits = logits - 5 * grad
        assert ready(logits, target) < 0.87 * first  # recall at a moving threshold is the slow one


def check_batch_hyper_parameter_vector(loss):
    """A vector of hyper-parameters passes, as in the losses per row."""
    # here, as checks.py imports this file
    from tests.losses.checks import hyper_parameter_vectors

    logits, target = batch()
    for name, values in hyper_parameter_vectors(loss):
        ready = prepared(loss)

        def value(given, ready=ready, name=name):
            setattr(ready, name, given)
            return ready(logits, target)

        expected = torch.stack([value(given) for given in values])
        actual = torch.func.vmap(value)(torch.tensor(values, dtype=logits.dtype))
        assert_close(actual, expected)


WHOLE_BATCH_CHECKS = [
    check_batch_value,
    check_batch_forms_of_two_classes,
    check_batch_gradient,
    check_batch_extreme_logits,
    check_batch_float32,
    check_batch_half_precision,
    check_batch_permuted_rows,
    check_batch_permuted_columns,
    check_batch_without_positives,
    check_batch_without_negatives,
    check_batch_of_weight_zero,
    check_columns_without_positives,
    check_weight_zero_is_no_row,
    check_batch_weights_are_repeats,
    check_weights_scale_out,
    check_class_weights,
    check_batch_ignore_index,
    check_batch_extra_dimensions,
    check_batch_reductions,
    check_batch_loss,
    check_warm_up,
    check_no_posterior,
    check_batch_descent,
    check_batch_hyper_parameter_vector,
]
