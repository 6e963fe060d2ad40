"""The shell without sockets: windows, pauses and time as real ones have them."""

import pytest

from protocol.commands import Close, Command, Connect, Loss, Write
from protocol.config import Config, StoragePolicy
from protocol.values import Secret
from tests.support.requests import get, post
from tests.support.scene import Scene
from transports.memory import MemoryShell, counting_entropy

CONFIG = Config(token_secret=Secret("secret"), storage_policy=StoragePolicy.MEMORY)


def shell() -> MemoryShell:
    return MemoryShell(CONFIG)


def test_entropy_never_repeats_and_is_the_same_in_every_run() -> None:
    first, second = counting_entropy(), counting_entropy()
    drawn = [first(4) for _ in range(3)]
    assert len(set(drawn)) == 3
    assert drawn == [second(4) for _ in range(3)]


def test_a_client_takes_no_more_than_its_window() -> None:
    peer = shell().client()
    peer.takes(0)
    peer.sends(get(b"/health", b"Connection: close"))
    assert (bytes(peer.inbox), peer.closed) == (b"", False)
    peer.takes(10)
    assert peer.taken() == b"HTTP/1.1 2"
    assert peer.window == 0
    peer.takes(None)
    assert peer.taken().endswith(b"\r\n\r\nok")


def test_a_peer_that_was_not_read_from_keeps_its_bytes_and_its_end_in_order() -> None:
    scene = Scene()
    client = scene.client()
    client.peer.paused = True
    client.sends(get(b"/health")[:5]).sends(get(b"/health")[5:])
    client.peer.ends()
    assert client.peer.untaken == len(get(b"/health"))
    client.peer.resumed()
    scene.shell.tell_now()
    assert client.saw(200, b"ok")
    assert client.peer.closed
    client.peer.sends(b"late")
    client.peer.ends()
    client.peer.breaks()


def test_a_peer_that_is_paused_again_gets_the_rest_later() -> None:
    peer = shell().client()
    peer.paused = True
    peer.sends(b"GET")
    peer.resumed()
    peer.paused = True
    peer._shell.tell_now()
    assert peer.untaken == 3


def test_time_stops_at_every_deadline_on_the_way() -> None:
    memory = shell()
    peers = [memory.client()]
    memory.advance(10)
    peers.append(memory.client())
    memory.advance(20)
    assert [peer.closed for peer in peers] == [True, False]
    memory.advance(10)
    assert peers[1].closed
    assert memory.wake_at is None
    memory.advance(1e6)
    assert memory.now == 1000.0 + 40 + 1e6


def test_every_command_is_shown_before_it_is_carried_out() -> None:
    seen: list[tuple[Command, bytes]] = []

    def watch(memory: MemoryShell, command: Command) -> None:
        seen.append((command, bytes(peer.inbox)))

    memory = MemoryShell(CONFIG, watch=lambda *shown: None)
    peer = memory.client()
    memory._show_commands_to(watch)
    peer.sends(get(b"/health", b"Connection: close"))
    kinds = [type(command) for command, _ in seen]
    assert kinds[-2:] == [Write, Close]
    assert seen[-2][1] == b""
    assert seen[-1][1].endswith(b"ok")


@pytest.mark.parametrize("fails", [None, Loss.REFUSED])
def test_an_attempt_that_was_given_up_comes_to_nothing(fails: Loss | None) -> None:
    scene = Scene()
    scene.shell.connect_hangs = True
    client = scene.client().posts()
    (connect,) = scene.orders(Connect)
    assert isinstance(connect, Connect)
    client.leaves()
    assert scene.shell._fail(connect.conn, Loss.REFUSED) == []
    scene.shell.connect_fails = fails
    scene.shell.connects()
    assert scene.asked_nobody()


def test_an_attempt_fails_as_told() -> None:
    scene = Scene()
    scene.shell.connect_fails = Loss.UNRESOLVED
    scene.client().sends(post(scene.token)).saw(502)
    assert not scene.shell.connecting
