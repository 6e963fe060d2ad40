"""Connections that take more than one step: which addresses are tried, and what is said when none will do."""

import socket
from collections.abc import Sequence
from math import inf
from typing import Final, TypeAlias, final

import pytest
import trio

from protocol.commands import Loss
from protocol.egress import Destination, Proxy, ProxyLogin
from protocol.values import Origin, Secret
from transports.dialler import ALLOWED, ATTEMPT_SECONDS, Dialler, Found, Line, NotConnected, why_not
from transports.tls import Trust

REFUSED: Final = ConnectionRefusedError(111, "Connection refused")
UNREACHABLE: Final = OSError(101, "Network is unreachable")
HERE: Final = Origin("http", "upstream.test", 80)
GUARDED: Final = Destination(HERE, guarded=True)

Fate: TypeAlias = OSError | None
"""What becomes of an attempt: it fails, or it lasts too long."""


@final
class Pair(Line):
    """One of two connected sockets; whoever is at the other end has closed already."""

    def __init__(self) -> None:
        self.near, far = socket.socketpair()
        far.close()

    async def receive(self) -> bytes:
        return self.near.recv(1)

    async def send(self, data: bytes) -> None:
        raise AssertionError("there is nothing to be said")

    def detach(self) -> socket.socket:
        return self.near


@final
class Planned(Dialler):
    """Finds the addresses it is given, in their order; the ones without a fate accept."""

    def __init__(self, fates: dict[str, Fate | str], fault: Exception | None = None) -> None:
        super().__init__(Trust(None), ALLOWED)
        self.tried: list[tuple[str, float]] = []
        self._fates = fates
        self._fault = fault

    async def look_up(self, host: str, port: int) -> Sequence[Found]:
        if self._fault is not None:
            raise self._fault
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in self._fates]

    async def try_address(self, found: Found, seconds: float) -> Line | None:
        address = found[4][0]
        self.tried.append((address, seconds))
        fate = self._fates[address]
        if isinstance(fate, str):
            return Pair()
        if fate is None:
            return None
        raise fate

    def dials(self, destination: Destination) -> None:
        """Dial, and hang up."""
        connection, _ = trio.run(self.dial, destination)
        connection.close()

    def fails(self, destination: Destination) -> tuple[Loss, str]:
        with pytest.raises(NotConnected) as failed:
            trio.run(self.dial, destination)
        return failed.value.reason, failed.value.detail


def test_the_next_address_is_tried_when_one_fails_or_is_slow() -> None:
    dialler = Planned({"10.0.0.1": REFUSED, "10.0.0.2": None, "10.0.0.3": "accepts", "10.0.0.4": "accepts"})
    dialler.dials(GUARDED)
    assert dialler.tried == [(f"10.0.0.{last}", ATTEMPT_SECONDS) for last in (1, 2, 3)]


def test_the_last_address_may_take_all_the_time_that_is_left() -> None:
    dialler = Planned({"10.0.0.1": REFUSED, "10.0.0.2": "accepts"})
    dialler.dials(GUARDED)
    assert dialler.tried[-1] == ("10.0.0.2", inf)


def test_when_no_address_accepts_every_reason_is_told() -> None:
    dialler = Planned({"10.0.0.1": UNREACHABLE, "10.0.0.2": None, "10.0.0.3": REFUSED})
    reason, detail = dialler.fails(GUARDED)
    assert reason is Loss.REFUSED
    assert detail == "Network is unreachable, Connection timed out, Connection refused"


def test_only_addresses_that_are_allowed_are_connected_to() -> None:
    dialler = Planned({"169.254.169.254": "accepts", "::ffff:169.254.169.254": "accepts", "10.0.0.1": "accepts"})
    dialler.dials(GUARDED)
    assert [address for address, _ in dialler.tried] == ["10.0.0.1"]


def test_without_an_address_that_is_allowed_nobody_is_asked() -> None:
    dialler = Planned({"169.254.169.254": "accepts", "fe80::1%eth0": "accepts"})
    assert dialler.fails(GUARDED) == (Loss.FAILED, "address not allowed")
    assert dialler.tried == []


def test_a_guarded_proxy_is_judged_by_its_own_address() -> None:
    dialler = Planned({"169.254.169.254": "accepts"})
    assert dialler.fails(Destination(HERE, Proxy("http", "proxy.test", 80), guarded=True)) == (
        Loss.FAILED, "address not allowed",
    )  # fmt: skip
    assert dialler.tried == []


def test_the_operators_own_proxy_may_be_anywhere() -> None:
    dialler = Planned({"169.254.169.254": "accepts"})
    assert dialler.fails(Destination(HERE, Proxy("socks5", "proxy.test", 80)))[0] is Loss.FAILED
    assert dialler.tried == [("169.254.169.254", inf)]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (socket.gaierror(-2, "Name or service not known"), (Loss.UNRESOLVED, "Name or service not known")),
        (UnicodeError("label too long"), (Loss.UNRESOLVED, "not a host name")),
        (RuntimeError("hush"), (Loss.FAILED, "RuntimeError")),
    ],
)
def test_a_proxy_that_is_out_of_reach_is_named_and_its_login_is_not(
    fault: Exception, expected: tuple[Loss, str]
) -> None:
    proxy = Proxy("http", "proxy.test", 3128, ProxyLogin(Secret("ada"), Secret("hush")))
    reason, detail = Planned({}, fault).fails(Destination(HERE, proxy))
    assert (reason, detail) == (expected[0], f"proxy proxy.test:3128: {expected[1]}")
    assert Planned({}, fault).fails(GUARDED) == expected


# --- reasons ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (REFUSED, Loss.REFUSED, "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), Loss.UNRESOLVED, "Name or service not known"),
        (OSError(113, "No route to host"), Loss.FAILED, "No route to host"),
        (OSError("all failed"), Loss.FAILED, "all failed"),
        (ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 80)"), Loss.REFUSED, "Connection refused"),
        (UnicodeError("label too long"), Loss.UNRESOLVED, "not a host name"),
        (NotConnected(Loss.TLS, "bad certificate"), Loss.TLS, "bad certificate"),
        (KeyError("hush"), Loss.FAILED, "KeyError"),
    ],
)
def test_why_a_connection_could_not_be_made(error: Exception, reason: Loss, detail: str) -> None:
    assert why_not(error) == (reason, detail)


def test_one_error_may_stand_for_several_addresses() -> None:
    error = OSError("all attempts failed")
    several = [REFUSED, UNREACHABLE, REFUSED, ExceptionGroup("x", [KeyError()])]
    error.__cause__ = BaseExceptionGroup("several", several)
    assert why_not(error) == (Loss.REFUSED, "Connection refused, Network is unreachable")
