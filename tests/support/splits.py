"""One stream of bytes, arriving in different reads: what a parser makes of it must not depend on that."""

from collections.abc import Iterable, Iterator

from hypothesis import strategies as st


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` cut at these offsets, taken modulo its length, so that any integers will do."""
    offsets = sorted({cut % len(data) for cut in cuts} - {0}) if data else []
    return [data[start:stop] for start, stop in zip([0, *offsets], [*offsets, len(data)], strict=True)]


def every_way(data: bytes, cuts: Iterable[int] = ()) -> Iterator[list[bytes]]:
    """``data`` whole, byte by byte, and at the given cuts."""
    yield [data]
    yield byte_by_byte(data)
    yield split(data, cuts)


def cut_points(most: int = 8) -> st.SearchStrategy[list[int]]:
    """Offsets for :func:`split`."""
    return st.lists(st.integers(0, 1 << 16), max_size=most)
