"""The file that a message refers to: who has it, and when another account is asked for it."""

import pytest

from protocol.call import Call
from protocol.config import Config
from protocol.identity.affinity import Hints
from protocol.identity.roster import Roster
from protocol.scripts.file_in_use import FileInUse
from protocol.values import Peer, PeerKind, RequestHead

BODY = b'{"messages":[{"content":[{"source":{"type":"file","file_id":"file_1"}}]}]}'


def roster() -> Roster:
    config = Config(claude_code_home="/a", additional_account_dirs=("/b",))
    return Roster(config, entropy=bytes, report=lambda change: None)


def call(account: str | None) -> Call:
    asked = Call(RequestHead(b"POST", b"/", []), Peer(PeerKind.LOOPBACK, "here"), "req_1", 0.0, 0.0)
    asked.account = account
    return asked


def test_a_file_whose_holder_is_known_is_nowhere_else() -> None:
    accounts = roster()
    accounts.remember_resource("file_1", "account-1")
    file = FileInUse(accounts, Hints(file="file_1"), BODY)
    assert file.holder == "account-1"
    assert not file.is_elsewhere()


@pytest.mark.parametrize("hints", [Hints(), Hints(file="file_1")])
def test_a_file_whose_holder_is_not_known_may_be_anywhere(hints: Hints) -> None:
    file = FileInUse(roster(), hints, BODY)
    assert file.holder is None
    assert file.is_elsewhere()


@pytest.mark.parametrize("body", [None, b"", b"{}", b'{"text":"\\"file_id\\": \\"file_1\\""}'])
def test_a_message_without_a_file_that_can_be_seen_is_not_asked_around(body: bytes | None) -> None:
    assert not FileInUse(roster(), Hints(), body).is_elsewhere()


@pytest.mark.parametrize(
    ("status", "account", "holder"), [(200, "account-1", "account-1"), (404, "account-1", None), (200, None, None)]
)
def test_who_answers_well_has_the_file(status: int, account: str | None, holder: str | None) -> None:
    accounts = roster()
    file = FileInUse(accounts, Hints(), BODY)
    assert file.is_elsewhere()
    file.answered(call(account), status)
    assert accounts.holder("file_1") == holder


def test_a_file_that_nobody_missed_is_not_searched_for() -> None:
    accounts = roster()
    FileInUse(accounts, Hints(), BODY).answered(call("primary"), 200)
    assert not accounts.holds_resources
