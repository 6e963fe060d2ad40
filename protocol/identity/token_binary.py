"""``tokens.bin``: for programs; the original router writes the same.

Eight bytes of magic, then for each token the length of its record (four bytes, little-endian) and the record in JSON.
"""

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct
from typing import Final

import msgspec
from msgspec import Raw

from protocol.files import CorruptFile
from protocol.identity.token_record import KNOWN_FIELDS, MOST_CACHED, TokenRecord, normal

MAGIC: Final = b"LARTOK01"

MAX_RECORD_BYTES: Final = 1 << 20
"""A token's record has about a hundred and fifty."""


def read_binary(path: str, content: bytes) -> list[TokenRecord]:
    """The records in their order. ``path`` is for the error only.

    A file that breaks off within the magic is empty: whoever wrote it had got no further.

    :raises CorruptFile: it cannot be understood.
    """
    if MAGIC.startswith(content):
        return []
    if not content.startswith(MAGIC):
        raise CorruptFile(path, "byte 0", "it does not begin as a token file does")
    records = []
    position = len(MAGIC)
    while position < len(content):
        begin = position + _LENGTH.size
        if begin > len(content):
            raise CorruptFile(path, f"byte {position}", "it breaks off within a length")
        (length,) = _LENGTH.unpack_from(content, position)
        if length > MAX_RECORD_BYTES:
            raise CorruptFile(path, f"byte {position}", f"a record is longer than {MAX_RECORD_BYTES} bytes")
        if begin + length > len(content):
            raise CorruptFile(path, f"byte {position}", "it breaks off within a record")
        try:
            records.append(_record(content[begin : begin + length]))
        except ValueError as error:
            raise CorruptFile(path, f"byte {begin}", str(error)) from None
        position = begin + length
    return records


def write_binary(records: Iterable[TokenRecord]) -> bytes:
    """The file with these records."""
    parts = [MAGIC]
    for record in sorted(records, key=lambda record: record.id):
        body = write_json(record)
        parts += _LENGTH.pack(len(body)), body
    return b"".join(parts)


@lru_cache(MOST_CACHED)
def write_json(record: TokenRecord) -> bytes:
    """One record as an object, with the fields that are not known here."""
    unknown = {name: Raw(value.encode()) for name, value in record.unknown_json}
    return msgspec.json.encode(record.fields() | unknown)


_LENGTH: Final = Struct("<I")


@lru_cache(MOST_CACHED)
def _record(body: bytes) -> TokenRecord:
    """:raises ValueError: why it is none, in words that hold nothing of it but names of fields."""
    try:
        body.decode()  # what is kept raw is not looked into
        known = msgspec.json.decode(body)
        fields = msgspec.json.decode(body, type=dict[str, Raw])
    except msgspec.ValidationError:
        raise ValueError("the record is not an object") from None
    except (ValueError, RecursionError):
        raise ValueError("the record is not JSON") from None
    unknown = sorted((name, bytes(value).decode()) for name, value in fields.items() if name not in KNOWN_FIELDS)
    # The original writes null for what is not set.
    known = {name: known[name] for name in KNOWN_FIELDS & known.keys() if known[name] is not None}
    if "models" in known and not known["models"]:
        raise ValueError("the field models has no value")
    return normal(msgspec.convert({**known, "unknown_json": tuple(unknown)}, TokenRecord))
