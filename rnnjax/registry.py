"""A read-only mapping from names to things, whose error says what was meant."""

import difflib
from collections.abc import Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Names to things of one kind; an unknown name suggests one that begins so, else the nearest one, and lists all.

    >>> pets = Registry("pet", {"cat": 1, "dog": 2})
    >>> pets["dog"]
    2
    >>> pets["dgo"]
    Traceback (most recent call last):
    ...
    rnnjax.registry.UnknownName: unknown pet 'dgo': did you mean 'dog'? Known: cat, dog
    """

    def __init__(self, kind: str, entries: Mapping[str, T]):
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownName(self._explain(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _explain(self, name: str) -> str:
        begun = [each for each in self._entries if name and each.startswith(name)]
        near = begun or difflib.get_close_matches(name, self._entries, n=1)
        hint = f": did you mean {near[0]!r}? Known: " if near else ". Known: "
        return f"unknown {self.kind} {name!r}{hint}{', '.join(self._entries)}"


class UnknownName(KeyError, ValueError):
    """A name that a `Registry` does not hold; a KeyError, so that `in` and `get` work, that prints as one line."""

    def __str__(self) -> str:
        return str(self.args[0])
