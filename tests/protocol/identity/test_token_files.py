import pytest

from protocol.config import StoragePolicy
from protocol.errors import LocalError
from protocol.files import Contents, CorruptFile, FileContent, Missing, Unreadable, Update
from protocol.identity.token_binary import read_binary, write_binary
from protocol.identity.token_files import (
    KEEP_SECONDS,
    TokenFiles,
    read_tokens,
    saving,
    token_files,
)
from protocol.identity.token_record import TokenRecord, issuance, merge, revocation
from protocol.identity.token_text import read_text, write_text
from protocol.identity.tokens import Claims

WALL = 1_700_000_000
TEXT, BINARY = token_files(StoragePolicy.BOTH, "/data").records
ALICE = issuance(Claims("a", WALL, WALL + 3600, "alice"))
BOB = issuance(Claims("b", WALL, WALL + 3600, "bob"))


def text(*records: TokenRecord) -> bytes:
    return write_text(TEXT, records, b"")


def binary(*records: TokenRecord) -> bytes:
    return write_binary(records)


def updated(update: Update, **present: FileContent) -> dict[str, bytes]:
    """What an update makes of ``text`` and ``binary``, by the same names."""
    names = {TEXT: "text", BINARY: "binary"}
    files = [(path, present[name]) for path, name in names.items() if name in present]
    return {names[path]: content for path, content in update(files).items()}


@pytest.mark.parametrize(
    ("policy", "files"),
    [
        (StoragePolicy.MEMORY, TokenFiles("/data/tokens.lock", (), ())),
        (StoragePolicy.TEXT, TokenFiles("/data/tokens.lock", ("/data/tokens.lino",), ("/data/token_usage.json",))),
        (StoragePolicy.BINARY, TokenFiles("/data/tokens.lock", ("/data/tokens.bin",), ("/data/token_usage.json",))),
        (
            StoragePolicy.BOTH,
            TokenFiles("/data/tokens.lock", ("/data/tokens.lino", "/data/tokens.bin"), ("/data/token_usage.json",)),
        ),
    ],
)
def test_a_policy_has_its_files(policy: StoragePolicy, files: TokenFiles) -> None:
    assert token_files(policy, "/data") == files


def test_what_any_file_holds_counts() -> None:
    revoked = merge(BOB, revocation("b"))
    files: Contents = [(TEXT, text(ALICE, BOB)), (BINARY, binary(revoked))]
    assert read_tokens(files) == {"a": ALICE, "b": revoked}
    assert read_tokens([(TEXT, text(revoked)), (BINARY, binary(ALICE, BOB))]) == {"a": ALICE, "b": revoked}


@pytest.mark.parametrize("content", [Missing(), b""])
def test_a_file_that_is_not_there_or_empty_holds_nothing(content: FileContent) -> None:
    assert read_tokens([(TEXT, content), (BINARY, content)]) == {}


def test_a_label_that_the_original_mistook_is_read_from_the_file_that_has_it_right() -> None:
    mistaken = TokenRecord("a", "é".encode().decode("latin-1"))
    assert read_tokens([(TEXT, text(mistaken)), (BINARY, binary(TokenRecord("a", "é")))])["a"].label == "é"


def test_a_change_is_added_to_what_the_files_hold() -> None:
    new = updated(saving([BOB], WALL), text=text(ALICE), binary=binary(ALICE))
    assert new == {"text": text(ALICE, BOB), "binary": binary(ALICE, BOB)}


def test_the_first_token_makes_the_files() -> None:
    assert updated(saving([ALICE], WALL), text=Missing(), binary=b"") == {"text": text(ALICE), "binary": binary(ALICE)}


def test_files_that_differ_are_made_equal() -> None:
    new = updated(saving([revocation("a")], WALL), text=text(ALICE), binary=binary(BOB))
    revoked = merge(ALICE, revocation("a"))
    assert new == {"text": text(revoked, BOB), "binary": binary(revoked, BOB)}


def test_only_files_that_change_are_written() -> None:
    assert updated(saving([ALICE], WALL), text=text(ALICE), binary=b"") == {"binary": binary(ALICE)}
    assert updated(saving([ALICE], WALL), text=text(ALICE)) == {}
    assert updated(saving([], WALL), text=Missing(), binary=Missing()) == {}


def test_carried_out_twice_is_carried_out_once() -> None:
    update = saving([BOB, revocation("a")], WALL)
    once = updated(update, text=text(ALICE))
    assert updated(update, **once) == {}


def test_tokens_that_ended_long_ago_go() -> None:
    later = WALL + 3600 + KEEP_SECONDS
    new = updated(saving([], later), text=text(ALICE, BOB), binary=binary(ALICE))
    assert (read_text(TEXT, new["text"]), read_binary(BINARY, new["binary"])) == ([], [])
    assert updated(saving([], later - 1), text=text(ALICE)) == {}
    assert updated(saving([], WALL + 3600 + 7200, 7200.0), text=text(ALICE)) == {"text": new["text"]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Unreadable("Permission denied"), "/data/tokens.lino, byte 0: it cannot be read: Permission denied"),
        (b"(token", "/data/tokens.lino, line 1: a bracket is not closed"),
    ],
)
def test_a_file_that_makes_no_sense_is_not_replaced(content: FileContent, reason: str) -> None:
    with pytest.raises(CorruptFile) as corrupt:
        updated(saving([ALICE], WALL), text=content, binary=binary(BOB))
    assert str(corrupt.value) == reason


def test_no_other_file_is_taken_for_one_with_tokens() -> None:
    with pytest.raises(LocalError):
        read_tokens([("/etc/passwd", b"")])
