from hypothesis import given
from hypothesis import strategies as st

from cli.practice.shelf import Shelf


def test_the_oldest_fall_off_when_there_are_too_many() -> None:
    shelf: Shelf[int] = Shelf(max_items=2, max_bytes=100)
    for number in range(3):
        shelf.put(str(number), number, 1)
    assert list(shelf) == [1, 2]
    assert (shelf.find("0"), shelf.take("2"), shelf.take("2")) == (None, 2, None)


@given(sizes=st.lists(st.integers(0, 12), min_size=1))
def test_the_bytes_kept_stay_within_bounds_but_for_a_single_item(sizes: list[int]) -> None:
    shelf: Shelf[int] = Shelf(max_items=100, max_bytes=10)
    for number, size in enumerate(sizes):
        shelf.put(str(number % 7), size, size)
        assert sum(shelf) <= 10 or len(shelf) == 1
        assert shelf.find(str(number % 7)) == size
