"""Faults of ours, and of a shell: one connection is given up, it is logged, and everybody else is served."""

from collections.abc import Callable
from typing import final

import pytest

from protocol.commands import Close, Command, LoadFiles, Log, LogLevel, Loss, Write
from protocol.config import Config
from protocol.effects import CheckCredentials
from protocol.errors import LocalError
from protocol.files import FilesUnchanged
from protocol.gateway import Gateway
from protocol.links.link import LOW_WATER, Link
from protocol.ports import CredentialWaiter
from protocol.timers import Timer
from protocol.values import ConnId
from tests.support.requests import post
from transports.memory import LOCAL


def bare_gateway(**settings: str) -> Gateway:
    config = Config.parse({"TOKEN_SECRET": "secret", **settings}, home="/home")
    return Gateway(config, entropy=lambda size: bytes(size), epoch=0.0)


def test_facts_about_connections_that_are_gone_are_harmless() -> None:
    gateway, gone = bare_gateway(), ConnId(99)
    assert gateway.connected(gone, 1.0) == []
    assert gateway.received(gone, b"x", 1.0) == []
    assert gateway.received_eof(gone, 1.0) == []
    assert gateway.flushed(gone, 0, 1.0) == []
    assert gateway.lost(gone, Loss.RESET, 1.0) == []
    assert gateway.timed_out(1.0) == []


def test_a_backlog_between_the_watermarks_is_no_news() -> None:
    gateway = bare_gateway()
    conn, _ = gateway.accepted(LOCAL, 0.0)
    assert gateway.flushed(conn, LOW_WATER + 1, 0.0) == []


def test_a_router_without_a_token_secret_cannot_be() -> None:
    with pytest.raises(LocalError):
        Gateway(Config(), entropy=lambda size: bytes(size), epoch=0.0)


def test_a_fault_in_a_story_is_a_500_and_a_log_record_that_says_where() -> None:
    asked: list[int] = []

    def exhausted(size: int) -> bytes:
        asked.append(size)
        if len(asked) > 1:
            raise OSError("no entropy left: la_sk_secret")
        return bytes(size)

    gateway = Gateway(Config.parse({"TOKEN_SECRET": "secret"}, home="/home"), entropy=exhausted, epoch=0.0)
    conn, _ = gateway.accepted(LOCAL, 0.0)
    request = (
        post(b"", b"{}", b"/api/tokens").replace(b"Authorization: Bearer \r\n", b"").replace(b"router.test", b"[::1]")
    )
    commands = gateway.received(conn, request, 0.0)
    (answer,) = [command for command in commands if isinstance(command, Write)]
    assert answer.data.startswith(b"HTTP/1.1 500 ")
    assert commands[-1] == Close(conn)
    (fault,) = [command for command in commands if isinstance(command, Log) and command.event == "internal error"]
    assert fault.level is LogLevel.ERROR
    assert fault.fields["type"] == "OSError"
    assert str(fault.fields["where"]).partition(":")[0] == __file__
    assert "la_sk_secret" not in repr(commands)
    assert not gateway._exchanges


class FaultyWaiter(CredentialWaiter):
    def credentials_checked(self) -> None:
        raise LocalError("a fault")


class PatientWaiter(CredentialWaiter):
    told = False

    def credentials_checked(self) -> None:
        self.told = True


def test_a_fault_of_one_who_waits_for_credentials_does_not_reach_the_others() -> None:
    gateway, patient = bare_gateway(), PatientWaiter()
    gateway.check_credentials(CheckCredentials("primary"), FaultyWaiter())
    gateway.check_credentials(CheckCredentials("primary"), patient)
    (load,) = gateway.timed_out(0.0)
    assert isinstance(load, LoadFiles)
    (fault,) = gateway.completed(load.job, FilesUnchanged(), 0.0)
    assert isinstance(fault, Log)
    assert fault.event == "internal error"
    assert patient.told


@final
class FaultyLink(Link):
    """A connection whose every step is a fault of ours; ``hopeless`` ones cannot even be given up properly."""

    def __init__(self, gateway: Gateway, *, hopeless: bool) -> None:
        super().__init__(ConnId(1000), gateway)
        self.hopeless = hopeless
        gateway._links[self.conn] = self
        gateway._clients += 1

    def fail(self) -> None:
        self.write(b"part")
        raise LocalError("a fault")

    def received(self, data: bytes) -> None:
        self.fail()

    def received_eof(self) -> None:
        self.fail()

    def lost(self, reason: Loss, detail: str) -> None:
        self.fail()

    def backlog_changed(self, full: bool) -> None:
        self.fail()

    def timer_fired(self, timer: Timer) -> None:
        self.fail()

    def crashed(self) -> None:
        if self.hopeless:
            raise LocalError("a second fault")
        self.close()


@pytest.mark.parametrize("hopeless", [False, True])
@pytest.mark.parametrize(
    "fact",
    [
        lambda gateway, conn: gateway.received(conn, b"x", 1.0),
        lambda gateway, conn: gateway.received_eof(conn, 1.0),
        lambda gateway, conn: gateway.flushed(conn, 1 << 20, 1.0),
        lambda gateway, conn: gateway.lost(conn, Loss.RESET, 1.0),
        lambda gateway, conn: gateway.timed_out(1.0),
    ],
    ids=["received", "received_eof", "flushed", "lost", "timed_out"],
)
def test_a_fault_of_ours_costs_one_connection(fact: Callable[[Gateway, ConnId], list[Command]], hopeless: bool) -> None:
    gateway = bare_gateway()
    link = FaultyLink(gateway, hopeless=hopeless)
    gateway.timers.set(link, Timer.HEAD, 1.0)
    fault, written, closed = fact(gateway, link.conn)
    assert isinstance(fault, Log)
    assert fault.event == "internal error"
    assert [written, closed] == [Write(link.conn, b"part"), Close(link.conn)]
    assert not gateway._links
    assert gateway.deadline() is None
