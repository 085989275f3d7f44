"""``torch.compile`` takes every loss whole, forward and backward, and gives eager's numbers."""

import shutil

import pytest
import torch
from torch.testing import assert_close

from imbtorch.losses import BaseLoss, LogitAdjustedLoss, SmoothAPLoss, all_losses
from tests.losses.inputs import LABEL_COUNTS, batch, labels, prepared, value_and_gradient

HAS_COMPILER = any(shutil.which(name) for name in ("g++", "clang++"))


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def one_of_each():
    """Each registered loss, at its first test setting; one that remembers ranks in the batch."""
    for cls in all_losses().values():
        loss = cls(**cls._test_params[0])
        yield loss.set_params(queue_size=0) if hasattr(loss, "queue_size") else loss


def check_compiled(loss, logits, target, **options):
    compiled = torch.compile(loss, fullgraph=True, **options)
    expected = value_and_gradient(lambda z: loss(z, target), logits)
    for _ in range(2):  # the second call finds the compiled code
        actual = value_and_gradient(lambda z: compiled(z, target), logits)
        assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.matrix
@pytest.mark.parametrize("loss", list(one_of_each()), ids=lambda loss: loss.name)
def test_compiles_whole(loss):
    check_compiled(prepared(loss), *batch(), backend="aot_eager")


@pytest.mark.parametrize(
    "loss",
    [loss for loss in one_of_each() if loss.name in {"bce", "focal", "soft_fbeta"}],
    ids=lambda loss: loss.name,
)
def test_sigmoid_form_compiles_whole(loss):
    check_compiled(prepared(loss, LABEL_COUNTS), *labels(), backend="aot_eager")


def test_weights_compile_whole():
    loss = prepared(LogitAdjustedLoss(), weight=(1.0, 2.0, 5.0), reduction="weighted_mean")
    check_compiled(loss, *batch(), backend="aot_eager")


@pytest.mark.slow
def test_queue_compiles_whole():
    # a buffer that grows: what is remembered must be that of eager
    logits, target = batch(8)
    eager, other = SmoothAPLoss(queue_size=12), SmoothAPLoss(queue_size=12)
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    for shift in (0.0, 1.0, 2.0):
        expected = value_and_gradient(lambda z: eager(z, target), logits + shift)
        actual = value_and_gradient(lambda z: compiled(z, target), logits + shift)
        assert_close(actual, expected)
        assert_close(other.queue, eager.queue)


def test_every_form_is_compiled_above():
    # every loss has a softmax form, of rows or of the whole batch
    for loss in one_of_each():
        per_row = type(loss).per_sample is not BaseLoss.per_sample
        assert per_row or hasattr(loss, "_column_values")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler for inductor")
def test_compiles_to_machine_code():
    check_compiled(prepared(LogitAdjustedLoss()), *batch())
