import http.client
import socket
from pathlib import Path

import pytest

from cli.checks.listening import listening_check
from protocol.config import Config
from tests.cli.checks.support import Seen, examined
from tests.live.routers import RunningRouter
from tests.support.site import Site, http_answer


def test_any_port_is_free_where_none_is_asked_for(tmp_path: Path) -> None:
    assert examined(tmp_path)["port"] == Seen("any free one", "ok", [])


def test_a_free_port_is_free_afterwards(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert listening_check(Config(host="127.0.0.1", port=port)).value == "free"
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("answer", [http_answer(200, b"fine"), http_answer(404, b"ok"), b"SSH-2.0-x\r\n", b""])
def test_a_port_of_another_program_is_a_failure(answer: bytes, tmp_path: Path) -> None:
    with Site(answer) as site:
        seen = examined(tmp_path, ROUTER_PORT=str(site.base.origin.port))["port"]
    assert seen == Seen("in use by another program", "failed", ["the router cannot listen there"])


@pytest.mark.parametrize(("status", "word"), [(200, b"ok"), (503, b"draining")])
def test_a_port_of_a_router_is_fine(status: int, word: bytes, tmp_path: Path) -> None:
    with Site(http_answer(status, word)) as site:
        seen = examined(tmp_path, ROUTER_HOST="0.0.0.0", ROUTER_PORT=str(site.base.origin.port))["port"]
    assert seen == Seen("in use by a running router", "ok", [])


def test_an_address_that_is_not_here_is_a_failure(tmp_path: Path) -> None:
    seen = examined(tmp_path, ROUTER_HOST="192.0.2.1", ROUTER_PORT="80")["port"]
    assert (seen.value, seen.status) == ("UNUSABLE", "failed")


@pytest.mark.slow
def test_a_running_router_is_known_for_one(tmp_path: Path) -> None:
    with RunningRouter("trio", "http://127.0.0.1:9") as router:
        host, _, port = router.addresses[0].rpartition(":")
        assert listening_check(Config(host=host, port=int(port))).value == "in use by a running router"
    path = str(tmp_path / "router.sock")
    with RunningRouter("trio", "http://127.0.0.1:9", UNIX_SOCKET=path):
        assert listening_check(Config(unix_socket=path)).value == "in use by a running router"
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(path)
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b"ok"
        connection.close()


def test_a_unix_socket_is_free_where_there_is_none(tmp_path: Path) -> None:
    assert examined(tmp_path, UNIX_SOCKET="router.sock")["socket"] == Seen("free", "ok", [])
    seen = examined(tmp_path, UNIX_SOCKET="gone/router.sock")["socket"]
    assert seen == Seen("UNUSABLE", "failed", [f"it cannot be made in {tmp_path}/gone"])


def test_a_unix_socket_that_nobody_serves_is_free(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "router.sock"))
    assert examined(tmp_path, UNIX_SOCKET="router.sock")["socket"].value == "free, left by a process that is gone"
    assert (tmp_path / "router.sock").exists()


def test_a_file_in_the_place_of_a_unix_socket_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "router.sock").write_text("")
    assert examined(tmp_path, UNIX_SOCKET="router.sock")["socket"].status == "failed"
