"""Names that stand for classes, and messages about names that are not known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Generic, TypeVar

__all__ = ["Registered", "Registry", "unknown_name"]

T = TypeVar("T")


def unknown_name(
    noun: str,
    name: str,
    known: Iterable[str],
    otherwise: str = "",
    elsewhere: Mapping[str, str] | None = None,
) -> str:
    """Write the message about a name that is not known; it suggests the nearest known name.

    Parameters
    ----------
    noun : str
        What the name should stand for, such as ``"loss"``.
    name : str
        The unknown name.
    known : iterable of str
        All known names.
    otherwise : str, default=""
        What may be given instead of a name, as an imperative: ``"give a module of torch"``.
    elsewhere : mapping of str to str, optional
        Names that other libraries use, as :func:`_spelling` writes them, and the known names that
        mean the same.

    Returns
    -------
    str
        The message.

    Examples
    --------
    >>> unknown_name("loss", "focl", ["bce", "focal"], "give a module")
    "Unknown loss 'focl'. Did you mean 'focal'? Known are 'bce', 'focal'; or give a module."
    """
    names = list(known)
    meant = (elsewhere or {}).get(_spelling(name))
    near = [meant] if meant else get_close_matches(name.lower().replace(" ", "_"), names, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(repr, names)) + (f"; or {otherwise}" if otherwise else "")
    return f"Unknown {noun} {name!r}.{guess} Known are {listed}."


class Registry(dict[str, type[T]], Generic[T]):
    """Classes by name: a dict, so that looking up a known name runs no code of this package.

    A name in another spelling, such as ``"Focal"`` or ``"cross-entropy"``, is the same name: upper
    case, hyphens, blanks and underscores make no difference.

    A name belongs to the first class that is registered under it. Only a class of the same module
    and qualified name replaces that class: it is the same class, defined once more by a notebook
    cell that is run again, by a module that is reloaded, or by cloudpickle in a worker process.

    Parameters
    ----------
    noun : str
        What the classes are, for messages: ``"loss"``.
    otherwise : str, default=""
        What may be given instead of a name, as an imperative: ``"give a module of torch"``.
    elsewhere : mapping of str to str, optional
        Names that other libraries use, in lower case and without separators, and the names here.
        They are suggested, but not accepted.

    Examples
    --------
    >>> from imbtorch._common.registry import Registry
    >>> class Circle:
    ...     name = "circle"
    >>> shapes = Registry("shape")
    >>> shapes.register(Circle)
    >>> shapes["circle"] is Circle and shapes["Circle"] is Circle
    True
    >>> shapes["circel"]
    Traceback (most recent call last):
        ...
    ValueError: Unknown shape 'circel'. Did you mean 'circle'? Known are 'circle'.
    """

    def __init__(
        self, noun: str, otherwise: str = "", elsewhere: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.noun = noun
        self.otherwise = otherwise
        self.elsewhere = dict(elsewhere or {})

    def __missing__(self, name: str) -> type[T]:
        """Return the class whose name is spelled in another way.

        Raises
        ------
        ValueError
            If there is none; the message lists the known names, the nearest one first.
        """
        same = [known for known in self if _spelling(known) == _spelling(name)]
        if len(same) == 1:
            return self[same[0]]
        known = sorted(self)
        raise ValueError(unknown_name(self.noun, name, known, self.otherwise, self.elsewhere))

    def register(self, cls: type[Any]) -> None:
        """Register a class under its attribute ``name``.

        Parameters
        ----------
        cls : type
            Class with a non-empty ``name``.

        Raises
        ------
        ValueError
            If the name belongs to another class.
        """
        name: str = cls.name
        holder = self.get(name)
        if holder is not None and _full_name(holder) != _full_name(cls):
            raise ValueError(
                f"The {self.noun} {_full_name(cls)} cannot be named {name!r}: this is the name of "
                f"{_full_name(holder)}. Choose another name; or choose none, and give the class "
                "itself or an object of it instead of a name."
            )
        self[name] = cls

    def sorted_by_name(self) -> dict[str, type[T]]:
        """Copy the registered classes, in alphabetical order of their names.

        Returns
        -------
        dict of str to type
            Changing it does not change the registry.
        """
        return {name: self[name] for name in sorted(self)}


class Registered:
    """Base of classes that register their subclasses by name.

    A subclass at any depth that sets a non-empty ``name`` in its own body is registered in
    ``_registry`` when it is defined. A subclass that inherits its name is not registered.
    """

    name: ClassVar[str] = ""
    _registry: ClassVar[Registry[Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if vars(cls).get("name"):
            cls._registry.register(cls)


def _spelling(name: str) -> str:
    """Write a name in lower case and without hyphens, blanks and underscores."""
    return "".join(character for character in name.lower() if character.isalnum())


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
