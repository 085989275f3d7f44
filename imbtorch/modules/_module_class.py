"""A class of modules with arguments of its constructor, so that they can be set and searched."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from sklearn.base import BaseEstimator
from torch import nn

__all__ = ["ModuleClass"]

_FILLED_IN = ("input_shape", "n_outputs")
_OWN = ("module_class", "arguments")


class ModuleClass(BaseEstimator):
    """Builder of a module from its class and arguments of its constructor.

    A class that is given as ``module`` is short for this builder without arguments. Then
    ``module__hidden`` of an estimator is the argument ``hidden`` of the constructor.

    Parameters
    ----------
    module_class : type
        Subclass of :class:`torch.nn.Module`. Its arguments ``input_shape`` and ``n_outputs``, if it
        has them, are filled in.
    arguments : dict or None, default=None
        Other arguments by name. Those that are missing have the defaults of the constructor.

    Examples
    --------
    >>> from torch import nn
    >>> from imbtorch import ImbalancedNetClassifier
    >>> class Net(nn.Sequential):
    ...     def __init__(self, input_shape, n_outputs, hidden=10):
    ...         layers = nn.Linear(*input_shape, hidden), nn.ReLU(), nn.Linear(hidden, n_outputs)
    ...         super().__init__(*layers)
    >>> ModuleClass(Net, {"hidden": 3}).build((4,), 2)[0]
    Linear(in_features=4, out_features=3, bias=True)
    >>> clf = ImbalancedNetClassifier(Net).set_params(module__hidden=20)
    >>> clf.get_params()["module__hidden"]
    20
    """

    def __init__(
        self, module_class: type[nn.Module], arguments: Mapping[str, Any] | None = None
    ) -> None:
        self.module_class = module_class
        self.arguments = arguments

    def build(self, input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        """Call the constructor.

        Parameters
        ----------
        input_shape : tuple of int
            Shape of one row of ``X``.
        n_outputs : int
            Number of outputs.

        Returns
        -------
        torch.nn.Module
            The new module.

        Raises
        ------
        ValueError
            If an argument is unknown.
        TypeError
            If an argument is missing that has no default.
        """
        given = self._checked(dict(self.arguments or {}))
        sizes = {"input_shape": input_shape, "n_outputs": n_outputs}
        parameters = _constructor(self.module_class)
        filled_in = {name: size for name, size in sizes.items() if name in parameters}
        missing = [
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty and name not in {**filled_in, **given}
        ]
        if missing:
            name = self.module_class.__name__
            raise TypeError(
                f"{name} needs the arguments {missing}, but only input_shape and n_outputs can be "
                f"filled in. Set them, as in set_params(module__{missing[0]}=...), or give a "
                f"callable such as lambda input_shape, n_outputs: {name}(...)."
            )
        return self.module_class(**filled_in, **given)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the class and its arguments.

        Parameters
        ----------
        deep : bool, default=True
            Whether to list each argument of the constructor by its name, with its value.

        Returns
        -------
        dict
            Parameter names mapped to their values.
        """
        own: dict[str, Any] = super().get_params(deep=False)
        if not deep:
            return own
        parameters = _constructor(self.module_class).items()
        defaults = {name: p.default for name, p in parameters if p.default is not p.empty}
        known = {name: value for name, value in defaults.items() if name not in _FILLED_IN}
        return {**known, **(self.arguments or {}), **own}

    def set_params(self, **params: Any) -> ModuleClass:
        """Set arguments of the constructor by their names.

        Parameters
        ----------
        **params : dict
            ``name=value``; also ``module_class`` and ``arguments``.

        Returns
        -------
        ModuleClass
            The builder itself.

        Raises
        ------
        ValueError
            If the constructor has no such argument; the message lists those that it has.
        """
        own = {name: params.pop(name) for name in _OWN if name in params}
        super().set_params(**own)
        if params:
            self.arguments = {**(self.arguments or {}), **self._checked(params)}
        return self

    def _checked(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Raise ValueError for arguments that the constructor does not have."""
        if _takes_any(self.module_class):
            return arguments
        valid = [name for name in _constructor(self.module_class) if name not in _FILLED_IN]
        unknown = [name for name in arguments if name not in valid]
        if unknown:
            raise ValueError(
                f"Invalid parameter {unknown[0]!r} for the module class "
                f"{self.module_class.__name__}. Valid parameters are: {valid!r}."
            )
        return arguments


def _constructor(module_class: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """Return the parameters of the constructor of a class that have a name."""
    named = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    parameters = inspect.signature(module_class).parameters.values()
    return {p.name: p for p in parameters if p.kind in named}


def _takes_any(module_class: type[nn.Module]) -> bool:
    """Return whether a constructor takes arguments of any name."""
    parameters = inspect.signature(module_class).parameters.values()
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
