"""Bounded memory for what clients leave with the practice upstream."""

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """Items by id, oldest first; the oldest fall off when there are too many, or too many bytes in all."""

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: dict[str, tuple[T, int]] = {}
        self._bytes = 0

    def put(self, name: str, item: T, size: int) -> None:
        """Keep an item that takes ``size`` bytes; the newest one stays even if it alone is over the limit."""
        self.take(name)
        self._items[name] = (item, size)
        self._bytes += size
        while len(self._items) > 1 and (len(self._items) > self._max_items or self._bytes > self._max_bytes):
            self.take(next(iter(self._items)))

    def find(self, name: str) -> T | None:
        held = self._items.get(name)
        return None if held is None else held[0]

    def take(self, name: str) -> T | None:
        """Remove an item and give it back."""
        held = self._items.pop(name, None)
        if held is None:
            return None
        self._bytes -= held[1]
        return held[0]

    def __iter__(self) -> Iterator[T]:
        return (item for item, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)
