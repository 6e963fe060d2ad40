"""The token store: whatever is in its files, only documented errors come out; what goes in comes out again; and no
order of events brings back a token that was revoked, or lets one request too many through.
"""

from contextlib import suppress
from itertools import permutations
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.errors import Refusal
from protocol.files import CorruptFile, Missing, Update
from protocol.identity.ledger import Ledger
from protocol.identity.token_binary import MAGIC, read_binary, write_binary
from protocol.identity.token_files import read_tokens, saving
from protocol.identity.token_limits import Reservation, TokenLimits
from protocol.identity.token_record import (
    MOST,
    TokenRecord,
    expiration,
    issuance,
    merge,
    merge_all,
    normal,
    revocation,
)
from protocol.identity.token_text import read_text, write_text
from protocol.identity.token_usage import TokenUsage, UsageBook, read_usage
from protocol.identity.tokens import Claims
from protocol.lino import Link, Part, Word, read_link, word, write_part
from protocol.values import Tokens

WALL = 1_700_000_000
IDS = "abc"
DAY = 86400
TEXT, BINARY, USAGE = "/data/tokens.lino", "/data/tokens.bin", "/data/token_usage.json"

# --- generators

SECONDS = st.integers(-MOST, MOST) | st.integers(WALL - DAY, WALL + DAY) | st.just(0)
COUNTS = st.none() | st.integers(0, MOST) | st.integers(0, 3)
NAMES = st.from_regex(r"x_[a-z0-9]{1,5}", fullmatch=True)

WORDS = st.builds(word, st.text()) | st.builds(Word, st.text(), quoted=st.just(True))
LINKS = st.recursive(
    st.builds(Link, st.lists(WORDS, max_size=4).map(tuple)),
    lambda inner: st.builds(Link, st.lists(WORDS | inner, max_size=4).map(tuple)),
    max_leaves=5,
)


def unknown_link(name: str, parts: list[Part]) -> tuple[str, str]:
    return name, write_part(Link((Word(name), *parts)))


UNKNOWN_LINKS = st.lists(
    st.builds(unknown_link, NAMES, st.lists(WORDS | LINKS, max_size=2)), max_size=2, unique_by=lambda field: field[0]
).map(lambda fields: tuple(sorted(fields)))
UNKNOWN_JSON = st.dictionaries(NAMES, st.sampled_from(["1", "1e2", '"é"', "[null,{}]"]), max_size=2).map(
    lambda fields: tuple(sorted(fields.items()))
)


def records(ids: st.SearchStrategy[str]) -> st.SearchStrategy[TokenRecord]:
    """Any record that a file may hold."""
    return st.builds(
        TokenRecord,
        ids,
        st.text(),
        SECONDS,
        SECONDS,
        st.booleans(),
        st.none() | st.text(),
        st.none() | SECONDS,
        COUNTS,
        st.none() | st.integers(1, MOST),
        COUNTS,
        st.lists(st.text(), max_size=3).map(tuple),
        UNKNOWN_LINKS,
        UNKNOWN_JSON,
    ).map(normal)


RECORDS = records(st.text(min_size=1))
SAME_ID = records(st.just("id"))
BOOKS = st.lists(RECORDS, max_size=3, unique_by=lambda record: record.id)


def without(record: TokenRecord, name: str) -> TokenRecord:
    """A file keeps the unknown fields of its own kind only."""
    fields: dict[str, Any] = {field: getattr(record, field) for field in record.__struct_fields__}
    return TokenRecord(**(fields | {name: ()}))


# --- codecs


@given(LINKS)
def test_a_link_is_read_as_it_was_written(link: Link) -> None:
    assert read_link(write_part(link)) == link


@given(st.text() | st.text('()"\\ ab\t'))
def test_any_text_is_a_link_or_refused(text: str) -> None:
    try:
        link = read_link(text)
    except ValueError:
        return
    assert read_link(write_part(link)) == link


@given(BOOKS)
def test_the_text_file_holds_any_records(book: list[TokenRecord]) -> None:
    content = write_text(TEXT, book, b"")
    read = read_text(TEXT, content)
    assert {record.id: record for record in read} == {record.id: without(record, "unknown_json") for record in book}
    assert write_text(TEXT, read, content) == content


@given(BOOKS)
def test_the_binary_file_holds_any_records(book: list[TokenRecord]) -> None:
    content = write_binary(book)
    read = read_binary(BINARY, content)
    assert {record.id: record for record in read} == {record.id: without(record, "unknown_links") for record in book}
    assert write_binary(read) == content


@given(BOOKS)
def test_both_files_together_hold_all(book: list[TokenRecord]) -> None:
    files = [(TEXT, write_text(TEXT, book, b"")), (BINARY, write_binary(book))]
    assert read_tokens(files) == {record.id: record for record in book}


def mangled(content: bytes, cuts: list[int], junk: bytes) -> bytes:
    """A good file with something missing or something else in it."""
    first, second = sorted(cut % (len(content) + 1) for cut in cuts)
    return content[:first] + junk + content[second:]


CUTS = st.lists(st.integers(0, 5000), min_size=2, max_size=2)
JUNK = st.binary(max_size=8) | st.sampled_from([b"", b"(", b")", b'"', b"\\", b"\n", b"\xff\xff\xff\xff", b"\0\0\0\0"])


@given(BOOKS, CUTS, JUNK)
def test_a_mangled_text_file_is_read_or_refused_and_never_replaced_by_less(
    book: list[TokenRecord], cuts: list[int], junk: bytes
) -> None:
    keeps_what_it_read(TEXT, mangled(write_text(TEXT, book, b""), cuts, junk))


@given(BOOKS, CUTS, JUNK)
def test_a_mangled_binary_file_is_read_or_refused_and_never_replaced_by_less(
    book: list[TokenRecord], cuts: list[int], junk: bytes
) -> None:
    keeps_what_it_read(BINARY, mangled(write_binary(book), cuts, junk))


@given(st.binary())
def test_no_bytes_break_a_reader(content: bytes) -> None:
    for path, bytes_ in ((TEXT, content), (BINARY, content), (BINARY, MAGIC + content)):
        keeps_what_it_read(path, bytes_)
    with suppress(CorruptFile):
        read_usage([(USAGE, content)])


def keeps_what_it_read(path: str, content: bytes) -> None:
    place = "line" if path == TEXT else "byte"
    try:
        before = read_tokens([(path, content)])
    except CorruptFile:
        with pytest.raises(CorruptFile, match=rf"^{path}, {place} \d+: "):
            saving([revocation("new")], 0.0)([(path, content)])
        return
    new = saving([revocation("new")], 0.0)([(path, content)])[path]
    after = read_tokens([(path, new)])
    assert after == merge_all([*before.values(), revocation("new")])


# --- merging


@given(SAME_ID, SAME_ID)
def test_the_order_of_two_reports_makes_no_difference(one: TokenRecord, other: TokenRecord) -> None:
    assert merge(one, other) == merge(other, one)


@given(SAME_ID, SAME_ID, SAME_ID)
def test_the_order_of_many_reports_makes_no_difference(a: TokenRecord, b: TokenRecord, c: TokenRecord) -> None:
    assume(a != b != c != a)
    assert len({merge_all(order)["id"] for order in permutations([a, b, c])}) == 1
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(SAME_ID, SAME_ID)
def test_a_report_that_comes_again_changes_nothing(one: TokenRecord, other: TokenRecord) -> None:
    both = merge(one, other)
    assert merge(one, one) == one
    assert merge(both, one) == merge(both, other) == merge(both, both) == both


@given(SAME_ID, SAME_ID)
def test_no_report_takes_anything_back(one: TokenRecord, other: TokenRecord) -> None:
    both = merge(one, other)
    assert both.revoked == (one.revoked or other.revoked)
    if one.expires_at:
        assert both.expires_at
        assert both.expires_at <= one.expires_at
    assert both.ends_at >= one.ends_at
    for name in ("max_requests", "requests_per_minute", "token_budget"):
        limit = getattr(one, name)
        assert limit is None or getattr(both, name) <= limit
    assert bool(both.models) == bool(one.models or other.models)
    assert {name for name, _ in one.unknown_links} <= {name for name, _ in both.unknown_links}


# --- many processes

CHANGES = (
    st.builds(lambda token_id: issuance(Claims(token_id, WALL, WALL + DAY)), st.sampled_from(IDS))
    | st.builds(revocation, st.sampled_from(IDS))
    | st.builds(expiration, st.sampled_from(IDS), st.integers(WALL - DAY, WALL + DAY))
)
STEPS = st.lists(
    st.tuples(st.integers(0, 2), CHANGES | st.sampled_from(["begin save", "end save", "look", "restart"])), max_size=30
)


class Process:
    """A router with its book; between the two halves of a save anything may happen."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.update: Update | None = None


@given(STEPS, st.sampled_from([(TEXT,), (BINARY,), (TEXT, BINARY)]))
def test_no_interleaving_loses_or_revives_anything(steps: list[tuple[int, Any]], paths: tuple[str, ...]) -> None:
    disk: dict[str, Any] = dict.fromkeys(paths, Missing())
    processes = [Process() for _ in range(3)]
    acknowledged: list[TokenRecord] = []
    for who, what in steps:
        process = processes[who]
        ledger = process.ledger
        if isinstance(what, TokenRecord):
            present = ledger.apply(what)
            assert merge(present, what) == present
        elif what == "begin save":
            process.update = ledger.saving(WALL)
        elif what == "end save" and process.update is not None:
            disk.update(process.update(list(disk.items())))
            ledger.loaded(list(disk.items()), WALL)
        elif what == "look":
            ledger.loaded(list(disk.items()), WALL)
        elif what == "restart":
            process.ledger = Ledger()
            process.ledger.loaded(list(disk.items()), WALL)
        if not process.ledger.unsaved:
            acknowledged += process.ledger.records()
        held = read_tokens(list(disk.items()))
        assert all(merge(held[record.id], record) == held[record.id] for record in acknowledged)
        for path in paths:
            one = read_tokens([(path, disk[path])])
            assert one == held, "both files say the same"


CLAIMS = Claims("a", WALL, WALL + DAY)
HISTORY = st.lists(
    st.tuples(
        st.integers(0, DAY // 3), st.sampled_from(["issued", "revoked", "ended"]), st.sampled_from([0, CLAIMS.exp])
    ),
    max_size=12,
)


@given(HISTORY, st.sampled_from([0.0, 3600.0, 10.0 * DAY]))
def test_a_token_that_was_refused_once_is_refused_until_its_signature_ends(
    history: list[tuple[int, str, int]], keep_seconds: float
) -> None:
    ledger = Ledger(keep_seconds=keep_seconds)
    wall, refused = WALL, False
    for seconds, what, exp in history:
        wall += seconds
        if what == "issued":
            ledger.apply(issuance(CLAIMS))
        else:
            ledger.apply(revocation("a", exp=exp) if what == "revoked" else expiration("a", wall, exp=exp))
            refused = True
        ledger.purge(wall)
        ledger.purge(wall + 1e9)  # by a clock that is wrong for a moment
        assert refused is not admits(ledger, wall) or wall >= CLAIMS.exp


def admits(ledger: Ledger, wall: float) -> bool:
    try:
        ledger.admit(CLAIMS, wall)
    except Refusal:
        return False
    return True


# --- usage

ADDED = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from(IDS), st.integers(0, 5) | st.sampled_from(["begin", "end", "fail", "look"])
    ),
    max_size=40,
)


@given(ADDED)
def test_no_interleaving_of_saves_loses_a_count_or_counts_it_twice(steps: list[tuple[int, str, Any]]) -> None:
    content = b""
    books = [UsageBook(), UsageBook()]
    updates: list[Update | None] = [None, None]
    added = dict.fromkeys(IDS, 0)
    by = [dict.fromkeys(IDS, 0), dict.fromkeys(IDS, 0)]
    for who, token_id, what in steps:
        book, update = books[who], updates[who]
        if isinstance(what, int):
            book.add(token_id, TokenUsage(what), 0.0)
            added[token_id] += what
            by[who][token_id] += what
        elif what == "begin" and update is None:
            updates[who] = book.saving(known=IDS, wall=WALL)
        elif what == "end" and update is not None:
            content = update([(USAGE, content)])[USAGE]
            book.saved([(USAGE, content)])
            updates[who] = None
        elif what == "fail" and update is not None:
            book.failed(0.0)
            updates[who] = None
        elif what == "look":
            book.loaded([(USAGE, content)])
        for name in IDS:
            assert by[who][name] <= book.of(name).requests <= added[name]
    for book, update in zip(books, updates, strict=True):
        content = (update or book.saving(known=IDS, wall=WALL))([(USAGE, content)])[USAGE]
        book.saved([(USAGE, content)])
        content = book.saving(known=IDS, wall=WALL)([(USAGE, content)])[USAGE]
    assert {name: usage.requests for name, usage in read_usage([(USAGE, content)]).items() if usage.requests} == {
        name: count for name, count in added.items() if count
    }


# --- limits

TOKENS = st.builds(Tokens, *[st.integers(0, 20)] * 4)
REQUESTS = st.lists(st.tuples(st.sampled_from(["reserve", "settle", "release", "wait"]), TOKENS), max_size=60)


@given(REQUESTS, st.integers(0, 6), st.integers(1, 4), st.integers(0, 150))
def test_no_order_of_requests_exceeds_a_limit(
    requests: list[tuple[str, Tokens]], most: int, per_minute: int, budget: int
) -> None:
    """Where no request uses more than it reserved."""
    record = TokenRecord("id", max_requests=most, requests_per_minute=per_minute, token_budget=budget)
    usage = UsageBook()
    limits = TokenLimits(usage)
    flying: list[Reservation] = []
    began: list[float] = []
    now, settled, spent = 0.0, 0, 0
    for what, tokens in requests:
        now += 0.5
        if what == "wait":
            now += 25.0
        elif what == "reserve":
            reserved = sum(total(one.tokens) for one in flying)
            recent = [moment for moment in began if moment > now - 60.0]
            fits = (
                settled + len(flying) < most
                and spent + reserved + max(total(tokens), 1) <= budget
                and len(recent) < per_minute
            )
            try:
                flying.append(limits.reserve(record, tokens, now=now))
            except Refusal:
                refused = True
            else:
                refused = False
                began.append(now)
            assert refused is not fits
        elif flying:
            reservation = flying.pop()
            if what == "settle":
                used = Tokens(output=min(total(reservation.tokens), tokens.output))
                reservation.settle(used, now=now, wall=WALL)
                settled, spent = settled + 1, spent + total(used)
            else:
                reservation.release()
                began.remove(reservation.began)
        assert (usage.of("id").requests, usage.of("id").tokens) == (settled, spent)
        assert limits.in_flight("id") == len(flying)
        assert spent <= budget
        assert settled <= most


def total(tokens: Tokens) -> int:
    return tokens.input + tokens.output + tokens.cache_creation + tokens.cache_read
