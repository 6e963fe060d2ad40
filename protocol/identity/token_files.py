"""Where tokens are kept between two runs: in a file for people, one for programs, both, or not at all.

Files are never the whole truth: what is in any of them counts, and whoever writes adds what he knows to what they hold
by then (``merge`` in ``token_record``). So what one process wrote no other takes back, and where the two files differ,
the next write makes them equal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.config import StoragePolicy
from protocol.errors import LocalError
from protocol.files import Contents, CorruptFile, FileContent, Unreadable, Update
from protocol.identity.token_binary import read_binary, write_binary
from protocol.identity.token_record import TokenRecord, merge_all, worthless
from protocol.identity.token_text import read_text, write_text

LOCK_NAME: Final = "tokens.lock"
TEXT_NAME: Final = "tokens.lino"
BINARY_NAME: Final = "tokens.bin"
USAGE_NAME: Final = "token_usage.json"

KEEP_SECONDS: Final = 30 * 24 * 3600.0
"""How long records of tokens that have ended are kept by default."""


@dataclass(frozen=True, slots=True)
class TokenFiles:
    """The paths of a store: its lock, the files with records, and the files with usage; none are kept in memory only.

    They are what ``UpdateFiles`` and ``LoadFiles`` take.
    """

    lock: str
    records: tuple[str, ...]
    usage: tuple[str, ...]


def token_files(policy: StoragePolicy, data_dir: str) -> TokenFiles:
    """The files of a policy, the one that people read first."""
    names = _NAMES[policy]
    return TokenFiles(
        f"{data_dir}/{LOCK_NAME}",
        tuple(f"{data_dir}/{name}" for name in names),
        (f"{data_dir}/{USAGE_NAME}",) if names else (),
    )


def read_tokens(files: Contents) -> dict[str, TokenRecord]:
    """All that the files hold, by id. A file that is not there, or empty, holds nothing.

    :raises CorruptFile: one cannot be read or understood.
    """
    return merge_all(record for path, content in files for record in _read(path, content))


def saving(changes: Iterable[TokenRecord], wall: float, keep_seconds: float = KEEP_SECONDS) -> Update:
    """Add changes, or all that somebody knows, to what the files hold; records that are worthless by ``wall`` (epoch
    seconds) go. It may be carried out more than once.
    """
    changed = tuple(changes)

    def update(files: Contents) -> dict[str, bytes]:
        book = merge_all((*read_tokens(files).values(), *changed))
        records = [record for record in book.values() if not worthless(record, wall, keep_seconds)]
        written = [(path, present, _write(path, present, records)) for path, content in files
                   for present in [bytes_of(path, content)] if records or present]  # fmt: skip
        return {path: content for path, present, content in written if content != present}

    return update


def bytes_of(path: str, content: FileContent) -> bytes:
    """What a file holds, nothing if it is not there.

    :raises CorruptFile: it cannot be read, so it must not be replaced.
    """
    if isinstance(content, Unreadable):
        raise CorruptFile(path, "byte 0", f"it cannot be read: {content.reason}")
    return content if isinstance(content, bytes) else b""


_NAMES: Final = {
    StoragePolicy.MEMORY: (),
    StoragePolicy.TEXT: (TEXT_NAME,),
    StoragePolicy.BINARY: (BINARY_NAME,),
    StoragePolicy.BOTH: (TEXT_NAME, BINARY_NAME),
}


def _read(path: str, content: FileContent) -> list[TokenRecord]:
    present = bytes_of(path, content)
    return read_text(path, present) if _is_text(path) else read_binary(path, present)


def _write(path: str, present: bytes, records: list[TokenRecord]) -> bytes:
    return write_text(path, records, present) if _is_text(path) else write_binary(records)


def _is_text(path: str) -> bool:
    if not path.endswith((TEXT_NAME, BINARY_NAME)):
        raise LocalError(f"{path} is not a file with tokens")
    return path.endswith(TEXT_NAME)
