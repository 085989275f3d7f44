"""Continue the training of a fitted net, in a copy."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from imbtorch.training.checkpoint import describe
from imbtorch.training.half_precision import half_precision
from imbtorch.training.net import Net, NetSpec
from imbtorch.training.optimizers import begin_momentum
from imbtorch.training.parameter_groups import has_rates

__all__ = ["continued_net"]


def continued_net(former: Net, loss: Any, spec: NetSpec) -> Net:
    """Copy a fitted net, so that a failure cannot harm it, and give the copy new settings.

    Parameters
    ----------
    former : Net
        A fitted net; module, optimizer, dtype and device of the copy are its own.
    loss : BaseLoss or BaseRegressionLoss
        Prepared loss for the rows to come.
    spec : NetSpec
        Settings from now on: batch size, learning rate, weight decay, settings of groups of
        parameters, precision, number of threads, and callbacks.

    Returns
    -------
    Net
        The copy; the state of its optimizer is kept for further trainings.
    """
    net = former.fork()
    half = net.half
    if spec.precision != (None if half is None else half.precision):
        device = torch.device(net.device)
        net.half = (
            None if spec.precision is None else half_precision(spec.precision, net.dtype, device)
        )
    net.resume(loss.to(torch.device(net.device), net.dtype), spec.callbacks)
    net.batch_size, net.keeps_optimizer = spec.batch_size, True
    net.n_threads = spec.n_threads
    _set_groups(net, {"lr": spec.lr, "weight_decay": spec.weight_decay})
    _train_loss_parameters(net, former)
    if former.param_groups or spec.param_groups:
        _regroup(net, spec)
    return net


def _set_groups(net: Net, settings: dict[str, float]) -> None:
    """Give the parameter groups of the optimizer the rate and the decay to continue with.

    A group that was built with the net's former rate follows a change of it; a group that was built
    with another rate keeps its own. The same holds for weight decay.

    Parameters
    ----------
    net : Net
        A copy of a fitted net.
    settings : dict of str to float
        Present ``lr`` and ``weight_decay`` of the estimator.
    """
    net.group_settings = [
        {
            name: settings[name] if value == getattr(net, name) else value
            for name, value in built.items()
        }
        for built in net.group_settings
    ]
    # a callback may have added groups, which keep what they have
    for group, own in zip(net.optimizer_.param_groups, net.group_settings, strict=False):
        group.update(own)
    for name, value in settings.items():
        setattr(net, name, value)


def _regroup(net: Net, spec: NetSpec) -> None:
    """Make an optimizer with new groups, which keeps what the old one remembers of each parameter.

    Where parameters are only frozen the groups stay, such as those that a callable has made.

    Parameters
    ----------
    net : Net
        A copy of a fitted net, with its present rate and decay.
    spec : NetSpec
        Settings from now on.
    """
    had_rates, net.param_groups = has_rates(net.param_groups), spec.param_groups
    state = net.optimizer_.state
    if had_rates or has_rates(net.param_groups):
        net.initialize_optimizer()
    trained = {p for group in net.optimizer_.param_groups for p in group["params"]}
    net.optimizer_.state.update({p: state[p] for p in trained if p in state})
    begin_momentum(net.optimizer_, trained)  # some may have been frozen


def _train_loss_parameters(net: Net, former: Net) -> None:
    """Make the optimizer train the parameters of the new loss in place of the old ones.

    A new loss with the settings of the old one starts with the values of the old one, and its
    parameters stay in their groups. Else they join the group of the first old one. The values of a
    module inside the loss are learned, and no settings.

    Parameters
    ----------
    net : Net
        A copy of a fitted net, which continues its training with a new loss object.
    former : Net
        The fitted net.
    """
    before, after = former.criterion_, net.criterion_
    if not any(True for loss in (before, after) for _ in loss.parameters()):
        return
    places = _places_of_loss_parameters(former)
    optimizer, groups = net.optimizer_, net.optimizer_.param_groups
    new = [p for p in after.parameters() if p.requires_grad]
    old = [groups[place[0]]["params"][place[1]] if place else None for place in places]
    states = [None if p is None else optimizer.state.pop(p, None) for p in old]
    if _settings(before) == _settings(after):
        for place, value, parameter, state in zip(places, old, new, states, strict=True):
            if place is None or value is None:  # the optimizer of the user does not train it
                continue
            groups[place[0]]["params"][place[1]] = parameter
            with torch.no_grad():
                parameter.copy_(value)
            if state is not None:
                optimizer.state[parameter] = state
        return
    gone = set(map(id, old))
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) not in gone]
    groups[next((place[0] for place in places if place), 0)]["params"] += new


def _settings(loss: Any) -> tuple[Any, ...]:
    """Describe what was set in a loss, apart from what it learns."""
    params = [
        (name, repr(value) if isinstance(value, nn.Module) else describe(value))
        for name, value in loss.get_params(deep=False).items()
    ]
    learned = [(name, tuple(p.shape), p.requires_grad) for name, p in loss.named_parameters()]
    return (type(loss), *params, *learned)


def _places_of_loss_parameters(former: Net) -> list[tuple[int, int] | None]:
    """Return group and position of each parameter of the former loss; None if no group has it."""
    places = {
        id(p): (i, j)
        for i, group in enumerate(former.optimizer_.param_groups)
        for j, p in enumerate(group["params"])
    }
    return [places.get(id(p)) for p in former.criterion_.parameters() if p.requires_grad]
