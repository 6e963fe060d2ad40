import json

import pytest

from protocol.errors import LocalError
from protocol.files import CorruptFile, FileContent, Missing, Unreadable, Update
from protocol.identity.token_record import MOST
from protocol.identity.token_usage import (
    FLUSH_SECONDS,
    NOTHING,
    RETRY_SECONDS,
    TokenUsage,
    UsageBook,
    read_usage,
    usage_of,
)
from protocol.values import Tokens

PATH = "/data/token_usage.json"
WALL = 1_700_000_000.0
ONE = usage_of(Tokens(input=10, output=20, cache_creation=30, cache_read=40), WALL)


def saved(book: UsageBook, content: FileContent = b"", wall: float = WALL) -> bytes:
    """The file after a save."""
    new = carried_out(book.saving(known=(), wall=wall), content)
    book.saved([(PATH, new)])
    return new


def carried_out(update: Update, content: FileContent) -> bytes:
    return update([(PATH, content)])[PATH]


def due(book: UsageBook) -> float | None:
    return book.due


def test_a_request_is_counted_with_its_tokens_and_its_time() -> None:
    assert TokenUsage(1, 10, 20, 30, 40, int(WALL)) == ONE
    assert ONE.tokens == 100
    assert ONE + usage_of(Tokens(input=1), WALL - 5) == TokenUsage(2, 11, 20, 30, 40, int(WALL))


def test_counts_stay_within_what_a_file_can_hold() -> None:
    assert (TokenUsage(MOST) + TokenUsage(1)).requests == MOST


def test_usage_is_known_at_once() -> None:
    book = UsageBook()
    assert book.of("a") == NOTHING
    book.add("a", ONE, 0.0)
    book.add("a", ONE, 1.0)
    assert book.of("a") == ONE + ONE
    assert book.of("b") == NOTHING


def test_the_file_says_it_by_token() -> None:
    book = UsageBook()
    book.add("a", ONE, 0.0)
    assert json.loads(saved(book, Missing())) == {
        "tokens": {
            "a": {
                "requests": 1, "input_tokens": 10, "output_tokens": 20, "cache_creation_tokens": 30,
                "cache_read_tokens": 40, "last_used": int(WALL),
            }
        }
    }  # fmt: skip


def test_the_next_run_goes_on_from_there() -> None:
    first, second = UsageBook(), UsageBook()
    first.add("a", ONE, 0.0)
    content = saved(first)
    second.loaded([(PATH, content)])
    second.add("a", ONE, 0.0)
    assert second.of("a") == ONE + ONE
    assert read_usage([(PATH, saved(second, content))]) == {"a": ONE + ONE}


def test_routers_add_up() -> None:
    first, second = UsageBook(), UsageBook()
    content = b""
    for _ in range(3):
        first.add("a", ONE, 0.0)
        second.add("a", ONE, 0.0)
        content = saved(second, saved(first, content))
    assert read_usage([(PATH, content)])["a"].requests == 6
    assert (first.of("a").requests, second.of("a").requests) == (5, 6)


# --- when -------------------------------------------------------------------------------------------------------------


def test_a_save_is_due_some_seconds_after_the_first_count() -> None:
    book = UsageBook()
    assert due(book) is None
    book.add("a", ONE, 100.0)
    book.add("a", ONE, 102.0)
    assert due(book) == 100.0 + FLUSH_SECONDS


def test_no_save_is_due_while_one_is_under_way() -> None:
    book = UsageBook()
    book.add("a", ONE, 100.0)
    update = book.saving(known=(), wall=WALL)
    book.add("a", ONE, 106.0)
    assert due(book) is None
    with pytest.raises(LocalError):
        book.saving(known=(), wall=WALL)
    assert book.of("a") == ONE + ONE
    content = carried_out(update, b"")
    book.saved([(PATH, content)])
    assert book.of("a") == ONE + ONE
    assert due(book) == 106.0 + FLUSH_SECONDS
    assert read_usage([(PATH, saved(book, content))]) == {"a": ONE + ONE}
    assert due(book) is None


def test_a_save_that_failed_is_repeated_with_all_that_came_since() -> None:
    book = UsageBook()
    book.add("a", ONE, 100.0)
    book.saving(known=(), wall=WALL)
    book.add("a", ONE, 106.0)
    book.failed(107.0)
    assert due(book) == 107.0 + RETRY_SECONDS
    assert book.of("a") == ONE + ONE
    assert read_usage([(PATH, saved(book))]) == {"a": ONE + ONE}


def test_without_a_file_nothing_is_due() -> None:
    book = UsageBook(kept=False)
    book.add("a", ONE, 0.0)
    assert due(book) is None
    assert book.of("a") == ONE


# --- what others wrote ------------------------------------------------------------------------------------------------


def test_counts_of_others_are_taken_over_between_saves() -> None:
    book = UsageBook()
    book.add("a", ONE, 0.0)
    other = UsageBook()
    other.add("a", ONE + ONE, 0.0)
    book.loaded([(PATH, saved(other))])
    assert book.of("a").requests == 3


def test_an_old_look_at_the_file_takes_nothing_back() -> None:
    book = UsageBook()
    book.add("a", ONE, 0.0)
    content = saved(book)
    book.loaded([(PATH, Missing())])
    assert book.of("a") == ONE
    book.add("a", ONE, 1.0)
    update = book.saving(known=(), wall=WALL)
    book.loaded([(PATH, carried_out(update, content))])
    assert book.of("a") == ONE + ONE, "not counted twice while the save is under way"


def test_counts_of_tokens_that_are_gone_are_dropped_when_they_are_old() -> None:
    content = json.dumps({"tokens": {name: {"requests": 1, "last_used": int(WALL)} for name in "abc"}}).encode()
    book = UsageBook()
    book.add("b", ONE, 0.0)
    kept = carried_out(book.saving(known=["c"], wall=WALL + 101, keep_seconds=100.0), content)
    assert sorted(json.loads(kept)["tokens"]) == ["b", "c"]
    book.failed(0.0)
    kept = carried_out(book.saving(known=["c"], wall=WALL + 100, keep_seconds=100.0), content)
    assert sorted(json.loads(kept)["tokens"]) == ["a", "b", "c"]


def test_fields_of_a_newer_version_are_kept_as_they_are() -> None:
    book = UsageBook()
    book.add("a", ONE, 0.0)
    content = b'{"since":1e3,"tokens":{"a":{"requests":1,"cost":[0.10]},"b":{"last_used":1700000000,"x":null}}}'
    new = saved(book, content)
    assert b'"since":1e3' in new
    assert b'"cost":[0.10]' in new
    assert b'"b":{"last_used":1700000000,"x":null}' in new
    assert read_usage([(PATH, new)])["a"].requests == 2


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"[]", "byte 0: it does not hold counts"),
        (b'{"tokens":[]}', "byte 0: it does not hold counts"),
        (b'{"tokens":{"a":1}}', "byte 0: it does not hold counts"),
        (b'{"tokens":{"a":{"requests":-1}}}', "byte 0: it does not hold counts"),
        (b'{"tokens":{"a":{"requests":99999999999999999999}}}', "byte 0: it does not hold counts"),
        (b'{"tokens":\xff}', "byte 10: it is not UTF-8"),
        (b'{"tokens":x}', "byte 10: it is not JSON"),
        (b"[" * 100_000, "byte 0: it is not JSON"),
        (Unreadable("Permission denied"), "byte 0: it cannot be read: Permission denied"),
    ],
)
def test_a_file_that_makes_no_sense_is_not_replaced(content: FileContent, place: str) -> None:
    book = UsageBook()
    book.add("a", ONE, 0.0)
    for attempt in (
        lambda: book.loaded([(PATH, content)]),
        lambda: carried_out(book.saving(known=(), wall=WALL), content),
        lambda: book.saved([(PATH, content)]),
    ):
        with pytest.raises(CorruptFile, match=f"^{PATH}, {place}"):
            attempt()
    assert book.of("a") == ONE


@pytest.mark.parametrize("content", [Missing(), b"", b"\n", b"{}"])
def test_a_file_without_counts_holds_nothing(content: FileContent) -> None:
    assert read_usage([(PATH, content)]) == {}


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_seen_during_a_save_is_taken_in_after_it(fails: bool) -> None:
    """It may hold what is being saved, which must not count twice, or what others have counted since."""
    ours, others = UsageBook(), UsageBook()
    ours.add("a", ONE, 0.0)
    update = ours.saving(known=(), wall=WALL)
    new = b"" if fails else carried_out(update, b"")
    others.add("b", ONE, 0.0)
    seen = saved(others, new)
    ours.loaded([(PATH, seen)])
    assert (ours.of("a"), ours.of("b")) == (ONE, NOTHING)
    if fails:
        ours.failed(1.0)
    else:
        ours.saved([(PATH, new)])
    assert (ours.of("a"), ours.of("b")) == (ONE, ONE)
