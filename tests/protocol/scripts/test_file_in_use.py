"""The file that a message refers to: who may have it, and when another account is asked for it."""

import pytest

from protocol.config import Config
from protocol.identity.affinity import Hints
from protocol.identity.roster import Roster
from protocol.scripts.file_in_use import FileInUse

BODY = b'{"messages":[{"content":[{"source":{"type":"file","file_id":"file_1"}}]}]}'


def roster() -> Roster:
    config = Config(claude_code_home="/a", additional_account_dirs=("/b",))
    return Roster(config, entropy=bytes, report=lambda change: None)


def test_the_account_that_made_a_file_is_known_and_may_be_the_wrong_one_all_the_same() -> None:
    accounts = roster()
    accounts.remember_resource("file_1", "account-1")
    file = FileInUse(accounts, Hints(file="file_1"), BODY)
    assert file.holder == "account-1"
    assert file.is_elsewhere()


@pytest.mark.parametrize("hints", [Hints(), Hints(file="file_1")])
def test_a_file_whose_holder_is_not_known_may_be_anywhere(hints: Hints) -> None:
    file = FileInUse(roster(), hints, BODY)
    assert file.holder is None
    assert file.is_elsewhere()


@pytest.mark.parametrize(
    "body", [None, b"", b"{}", b'{"text":"\\"file_id\\": \\"file_1\\""}', b'{"input":{"file_id":"drive_doc_9"}}']
)
def test_a_message_without_a_file_that_can_be_seen_is_not_asked_around(body: bytes | None) -> None:
    assert not FileInUse(roster(), Hints(), body).is_elsewhere()
