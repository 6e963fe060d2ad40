"""Idle connections: the freshest first, no more than allowed, none twice."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.egress import Destination
from protocol.values import Origin
from protocol.wire.pool import IdlePool

HERE = Destination(Origin("http", "here", 80))
THERE = Destination(Origin("http", "there", 80))


def test_an_empty_pool_has_nothing_to_offer() -> None:
    pool: IdlePool[str] = IdlePool(2)
    assert pool.claim(HERE) is None
    assert len(pool) == 0


def test_the_freshest_connection_to_that_destination_is_claimed() -> None:
    pool: IdlePool[str] = IdlePool(5)
    for name in ("old", "new"):
        assert pool.release(HERE, name) is None
    pool.release(THERE, "elsewhere")
    assert [pool.claim(HERE), pool.claim(HERE), pool.claim(HERE)] == ["new", "old", None]
    assert pool.claim(THERE) == "elsewhere"


def test_the_oldest_is_returned_when_there_are_too_many() -> None:
    pool: IdlePool[str] = IdlePool(2)
    assert [pool.release(HERE, name) for name in ("a", "b", "c")] == [None, None, "a"]
    assert pool.release(THERE, "d") is None, "the limit is for each destination"


def test_a_pool_of_nothing_returns_what_it_gets() -> None:
    pool: IdlePool[str] = IdlePool(0)
    assert pool.release(HERE, "a") == "a"
    assert len(pool) == 0


def test_discarding_is_harmless_where_nothing_is() -> None:
    pool: IdlePool[str] = IdlePool(2)
    pool.discard(HERE, "a")
    pool.release(HERE, "b")
    pool.discard(HERE, "a")
    assert len(pool) == 1
    pool.discard(HERE, "b")
    assert pool.claim(HERE) is None


def test_clearing_takes_every_connection_out() -> None:
    pool: IdlePool[str] = IdlePool(2)
    pool.release(HERE, "a")
    pool.release(THERE, "b")
    assert sorted(pool.clear()) == ["a", "b"]
    assert len(pool) == 0
    assert pool.clear() == []


@given(
    limit=st.integers(0, 3),
    steps=st.lists(
        st.tuples(st.sampled_from(["claim", "release", "discard"]), st.sampled_from([HERE, THERE]), st.integers(0, 9))
    ),
)
def test_a_connection_is_in_the_pool_or_in_one_pair_of_hands(
    limit: int, steps: list[tuple[str, Destination, int]]
) -> None:
    pool: IdlePool[int] = IdlePool(limit)
    inside: dict[int, Destination] = {}
    for step, destination, number in steps:
        if step == "claim":
            claimed = pool.claim(destination)
            assert (claimed is None) == (destination not in inside.values())
            if claimed is not None:
                assert inside.pop(claimed) is destination
        elif step == "release" and number not in inside:
            inside[number] = destination
            surplus = pool.release(destination, number)
            if surplus is not None:
                assert inside.pop(surplus) is destination
        elif step == "discard":
            pool.discard(destination, number)
            if inside.get(number) is destination:
                del inside[number]
        assert len(pool) == len(inside)
        assert all(list(inside.values()).count(where) <= limit for where in (HERE, THERE))
