"""The newest few of some values, by key: what a process has read before and need not read again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """At most `most` values; the one that was put in first goes first. Threads may share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The value of a key, None where it is not held."""
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Holds a value, the newest now."""
        self._values.pop(key, None)
        self._values[key] = value
        while len(self._values) > self._most:
            self._values.pop(next(iter(self._values)), None)

    def drop(self, key: K) -> None:
        """Holds the value of a key no longer."""
        self._values.pop(key, None)
