"""Hyper-parameters of components, reachable from the estimator also when given by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar


class NamedComponentsMixin:
    """Make ``loss__gamma`` work when ``loss="focal"`` is a string.

    A string is shorthand for the named object with its defaults. ``get_params(deep=True)`` lists
    that object's parameters; setting one of them replaces the string by the object. Place it
    before ``BaseEstimator`` in the bases.
    """

    # parameter name -> function that turns a registered name into an object
    _components: ClassVar[Mapping[str, Callable[[str], Any]]] = {}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this estimator and, if ``deep``, of its components.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include ``<component>__<parameter>`` entries.

        Returns
        -------
        dict
            Parameter names mapped to their values.
        """
        params: dict[str, Any] = super().get_params(deep=deep)  # type: ignore[misc]
        if not deep:
            return params
        for key, resolve in self._components.items():
            if isinstance(params.get(key), str):
                try:
                    component = resolve(params[key])
                except ValueError:
                    continue  # an unknown name is reported by fit, not while printing
                nested = component.get_params(deep=True)
                params.update({f"{key}__{name}": value for name, value in nested.items()})
        return params

    def set_params(self, **params: Any) -> Any:
        """Set parameters of this estimator and of its components.

        Parameters
        ----------
        **params : dict
            ``name=value`` or ``component__name=value``. A component given by name is replaced by
            the named object when one of its parameters is set.

        Returns
        -------
        estimator instance
            The estimator itself.
        """
        for key, resolve in self._components.items():
            component = params.get(key, getattr(self, key))
            nested = any(name.startswith(f"{key}__") for name in params)
            if nested and isinstance(component, str):
                params[key] = resolve(component)
            elif nested and not hasattr(component, "set_params"):
                raise ValueError(
                    f"{key}={component!r} has no parameters to set; give an object of ours or a "
                    f"name as {key!r} to use {key}__<parameter>."
                )
        return super().set_params(**params)  # type: ignore[misc]
