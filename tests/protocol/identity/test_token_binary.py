from hashlib import sha256
from struct import pack

import pytest

from protocol.files import CorruptFile
from protocol.identity.token_binary import MAGIC, MAX_RECORD_BYTES, read_binary, write_binary
from protocol.identity.token_record import TokenRecord

RECORD = TokenRecord("550e8400-e29b-41d4-a716-446655440000", "my-token", 1710806400, 1710892800)
BODY = (
    b'{"id":"550e8400-e29b-41d4-a716-446655440000","label":"my-token","issued_at":1710806400,'
    b'"expires_at":1710892800,"revoked":false,"account":null}'
)


def of(*bodies: bytes) -> bytes:
    return MAGIC + b"".join(pack("<I", len(body)) + body for body in bodies)


def read(content: bytes) -> list[TokenRecord]:
    return read_binary("/data/tokens.bin", content)


def test_the_file_is_the_originals_byte_for_byte() -> None:
    content = write_binary([RECORD])
    assert content == of(BODY)
    assert len(BODY) == 142
    assert content[:16] == bytes.fromhex("4c4152544f4b3031 8e000000 7b226964")
    assert sha256(content).hexdigest() == "f70f1ddd7886b1b0038e3378974cb1575988c80f6ecdc7a491abfb1d990e4faf"
    assert read(content) == [RECORD]


def test_our_fields_are_there_only_where_they_are_set() -> None:
    record = TokenRecord(
        "a", "é", 1, 2, revoked=True, account="b", signed_until=3, max_requests=4, requests_per_minute=5,
        token_budget=6, models=("claude-*",),
    )  # fmt: skip
    body = (
        '{"id":"a","label":"é","issued_at":1,"expires_at":2,"revoked":true,"account":"b","signed_until":3,'
        '"max_requests":4,"requests_per_minute":5,"token_budget":6,"models":["claude-*"]}'
    ).encode()
    assert write_binary([record]) == of(body)
    assert read(of(body)) == [record]


def test_records_are_sorted_by_id() -> None:
    a, b = TokenRecord("a"), TokenRecord("b")
    assert write_binary([b, a]) == write_binary([a, b])
    assert read(write_binary([b, a])) == [a, b]


@pytest.mark.parametrize("size", range(len(MAGIC) + 1))
def test_a_file_that_has_no_record_yet_is_empty(size: int) -> None:
    assert read(MAGIC[:size]) == []


def test_what_is_missing_or_null_has_its_default() -> None:
    body = b'{"id":"a","label":null,"issued_at":null,"revoked":null,"max_requests":null,"models":null}'
    assert read(of(body)) == [TokenRecord("a")]
    assert read(of(b'{"id":"a"}')) == [TokenRecord("a")]


def test_fields_of_a_newer_version_are_kept_as_they_are() -> None:
    body = b'{"id":"a","used_requests":3,"unknown_json":[1e2],"nested":{"b":[null,"\xc3\xa9"]}}'
    (record,) = read(of(body))
    assert record.unknown_json == (
        ("nested", '{"b":[null,"é"]}'),
        ("unknown_json", "[1e2]"),
        ("used_requests", "3"),
    )
    content = write_binary([record])
    assert content.endswith('"nested":{"b":[null,"é"]},"unknown_json":[1e2],"used_requests":3}'.encode())
    assert read(content) == [record]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"x", "byte 0: it does not begin"),
        (b"LARTOK02", "byte 0: it does not begin"),
        (of(BODY) + b"\x01", "byte 154: it breaks off within a length"),
        (of(BODY) + pack("<I", 1), "byte 154: it breaks off within a record"),
        (of(BODY)[:-1], "byte 8: it breaks off within a record"),
        (MAGIC + pack("<I", MAX_RECORD_BYTES + 1), "byte 8: a record is longer"),
        (of(BODY, b""), "byte 158: the record is not JSON"),
        (of(b"{"), "byte 12: the record is not JSON"),
        (of(b"[" * 100_000), "byte 12: the record is not JSON"),
        (of(b'{"id":"a","x":"\xff"}'), "byte 12: the record is not JSON"),
        (of(b"[]"), "byte 12: the record is not an object"),
        (of(b"{}"), "byte 12: .*id"),
        (of(b'{"id":""}'), "byte 12: .*id"),
        (of(b'{"id":1}'), "byte 12: .*id"),
        (of(b'{"id":"a","expires_at":"soon"}'), "byte 12: .*expires_at"),
        (of(b'{"id":"a","expires_at":true}'), "byte 12: .*expires_at"),
        (of(b'{"id":"a","expires_at":99999999999999999999}'), "byte 12: .*expires_at"),
        (of(b'{"id":"a","max_requests":-1}'), "byte 12: .*max_requests"),
        (of(b'{"id":"a","models":[]}'), "byte 12: .*models"),
    ],
)
def test_what_cannot_be_understood_is_found_by_its_byte(content: bytes, place: str) -> None:
    with pytest.raises(CorruptFile, match=f"^/data/tokens.bin, {place}"):
        read(content)
