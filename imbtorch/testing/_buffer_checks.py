"""Checks of the tensors that a loss keeps: dtype, device and ``state_dict``."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.base import clone

from imbtorch.testing._contract import Check, check, close, require
from imbtorch.testing._loss_inputs import CLASS_WEIGHT, COUNTS, batch, prepared

__all__ = ["BUFFER_CHECKS"]

_BUFFERS = (
    "Keep every tensor as a buffer: self.register_buffer(name, None) in __init__, and "
    "self.<name> = ... in _prepare; bring it to the dtype of the logits where it is used."
)


@check(_BUFFERS)
def check_dtype_follows(loss: Any) -> None:
    """Check that ``.to(dtype)`` converts every tensor of the loss and keeps its value."""
    logits, target = batch()
    for dtype in (torch.float32, torch.float64):
        ready = prepared(loss, params={"weight": CLASS_WEIGHT}).to(dtype)
        dtypes = {buffer.dtype for buffer in ready.buffers()}
        require(dtypes == {dtype}, f"buffers are {dtypes} after .to({dtype}).")
        value = ready(logits.to(dtype), target)
        require(value.dtype == dtype, f"the value of {dtype} logits is {value.dtype}.")
        expected = prepared(loss, params={"weight": CLASS_WEIGHT})(logits, target)
        message = f".to({dtype}) changes the value."
        close(value.double(), expected, message, rtol=1e-6, atol=1e-7)


@check(_BUFFERS)
def check_device_follows(loss: Any) -> None:
    """Check that ``.to(device)`` moves every tensor (tried with the device ``meta``)."""
    ready = prepared(loss, params={"weight": CLASS_WEIGHT}).to("meta")
    logits, target = batch()
    devices = {
        ready(logits.to("meta"), target.to("meta")).device.type,
        ready.log_posterior(logits.to("meta")).device.type,
    }
    require(devices == {"meta"}, f"results are on {devices} after .to('meta').")
    # counts come as numbers, to wherever the loss lies already
    early = clone(loss).to("meta").prepare(COUNTS)
    devices = {buffer.device.type for buffer in early.buffers()}
    require(devices == {"meta"}, f"prepare makes buffers on {devices} for a loss on 'meta'.")


@check(_BUFFERS)
def check_state_dict(loss: Any) -> None:
    """Check that ``load_state_dict`` restores the loss, prepared or not."""
    logits, target = batch()
    source = prepared(loss, params={"weight": CLASS_WEIGHT})
    others = [
        prepared(loss, (1, 1, 1), params={"weight": (1, 1, 1)}),
        prepared(loss, (3, 1), params={"weight": (1, 2)}),
        clone(loss),
    ]
    for restored in others:
        restored.load_state_dict(source.state_dict())
        require(
            torch.equal(restored(logits, target), source(logits, target)),
            "a loss that has loaded the state of another one has another value.",
        )
        require(restored.weight.tolist() == list(CLASS_WEIGHT), "weights are not restored.")


BUFFER_CHECKS: list[Check] = [check_dtype_follows, check_device_follows, check_state_dict]
