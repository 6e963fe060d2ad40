"""Both loops connect only where a guard lets them, with real sockets: this machine is what these guards forbid."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Final

import pytest
import trio
import uvloop
from trio.testing import wait_all_tasks_blocked

from protocol.commands import Close, Connect, Log, Loss
from protocol.config import Config
from protocol.egress import Destination, Proxy
from protocol.gateway import Gateway
from protocol.values import ConnId, Origin
from tests.support.stage import PATIENCE, TOKEN_SECRET
from transports.asyncio.shell import AsyncioDialler, AsyncioShell
from transports.dialler import CheckAddress, NotConnected
from transports.jobs import Jobs
from transports.tls import Trust
from transports.trio.shell import TrioDialler, TrioShell

TRUST: Final = Trust(None)


def no_loopback(host: str, address: str) -> None:
    if ip_address(address).is_loopback:
        raise ValueError(f"{host} is at {address}")


def anywhere(host: str, address: str) -> None:
    """No objection."""


Dial = Callable[[Destination, CheckAddress], socket.socket]


def on_trio(destination: Destination, check: CheckAddress) -> socket.socket:
    connection, _ = trio.run(TrioDialler(TRUST, check).dial, destination)
    return connection


def on_asyncio(destination: Destination, check: CheckAddress) -> socket.socket:
    return asyncio.run(dial_on_asyncio(destination, check))


def on_uvloop(destination: Destination, check: CheckAddress) -> socket.socket:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(dial_on_asyncio(destination, check))


async def dial_on_asyncio(destination: Destination, check: CheckAddress) -> socket.socket:
    async with asyncio.timeout(PATIENCE):
        connection, _ = await AsyncioDialler(asyncio.get_running_loop(), TRUST, check).dial(destination)
        return connection


@pytest.fixture(params=[on_trio, on_asyncio, on_uvloop])
def dial(request: pytest.FixtureRequest) -> Dial:
    chosen: Dial = request.param
    return chosen


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.setblocking(False)
        yield opened


def guarded(listener: socket.socket, host: str = "localhost") -> Destination:
    return Destination(Origin("http", host, listener.getsockname()[1]), guarded=True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1"])
def test_a_forbidden_address_is_not_even_connected_to(dial: Dial, listener: socket.socket, host: str) -> None:
    with pytest.raises(NotConnected) as failed:
        dial(guarded(listener, host), no_loopback)
    assert (failed.value.reason, failed.value.detail) == (Loss.FAILED, "address not allowed")
    assert not accepted(listener)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_an_allowed_address_is_connected_to(dial: Dial, listener: socket.socket, host: str) -> None:
    with dial(guarded(listener, host), anywhere) as near, listener.accept()[0] as far:
        assert near.getpeername() == far.getsockname()


def test_a_guarded_proxy_is_not_connected_to_either(dial: Dial, listener: socket.socket) -> None:
    proxy = Proxy("http", "127.0.0.1", listener.getsockname()[1])
    with pytest.raises(NotConnected, match="address not allowed"):
        dial(Destination(Origin("https", "upstream.test", 443), proxy, guarded=True), no_loopback)
    assert not accepted(listener)


def test_an_address_that_refuses_is_told(dial: Dial, listener: socket.socket) -> None:
    destination = guarded(listener, "127.0.0.1")
    listener.close()
    with pytest.raises(NotConnected) as failed:
        dial(destination, anywhere)
    assert failed.value.reason is Loss.REFUSED
    assert failed.value.detail == "Connection refused"


def test_a_name_that_nobody_has_is_told(dial: Dial) -> None:
    with pytest.raises(NotConnected) as failed:
        dial(Destination(Origin("http", "nowhere.invalid", 80), guarded=True), anywhere)
    assert failed.value.reason is Loss.UNRESOLVED


def test_an_attempt_that_takes_too_long_is_given_up(listener: socket.socket) -> None:
    found = (socket.AF_INET, socket.SOCK_STREAM, 0, "", listener.getsockname())

    async def attempt() -> object:
        return await AsyncioDialler(asyncio.get_running_loop(), TRUST, anywhere).try_address(found, 0.0)

    assert trio.run(TrioDialler(TRUST, anywhere).try_address, found, 0.0) is None
    assert asyncio.run(attempt()) is None


# --- shells -----------------------------------------------------------------------------------------------------------


CONFIG: Final = Config.parse({"TOKEN_SECRET": TOKEN_SECRET}, home="/home")
CONN: Final = ConnId(99)


def gateway() -> Gateway:
    return Gateway(CONFIG, entropy=lambda size: bytes(size), epoch=0.0)


def report(log: Log) -> None:
    raise AssertionError(log)


@pytest.mark.parametrize(("check", "connects"), [(no_loopback, False), (anywhere, True)])
def test_the_trio_shell_asks_its_guard(listener: socket.socket, check: CheckAddress, connects: bool) -> None:
    async def story() -> None:
        async with trio.open_nursery() as nursery:
            shell = TrioShell(gateway(), nursery, [], TRUST, Jobs(CONFIG), report, check_address=check)
            shell.apply([Connect(CONN, guarded(listener, "127.0.0.1"))])
            await wait_all_tasks_blocked()
            assert (CONN in shell.streams) is connects
            shell.apply([Close(CONN)])

    trio.run(story)
    assert accepted(listener) is connects


@pytest.mark.parametrize(("check", "connects"), [(no_loopback, False), (anywhere, True)])
def test_the_asyncio_shell_asks_its_guard(listener: socket.socket, check: CheckAddress, connects: bool) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        shell = AsyncioShell(gateway(), loop, [], TRUST, Jobs(CONFIG), report, check_address=check)
        shell.apply([Connect(CONN, guarded(listener, "127.0.0.1"))])
        await asyncio.wait(shell._connecting.values(), timeout=PATIENCE)
        assert (CONN in shell.streams) is connects
        shell.apply([Close(CONN)])
        shell.close()

    asyncio.run(story())
    assert accepted(listener) is connects


def accepted(listener: socket.socket) -> bool:
    """Whether somebody has connected."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True
