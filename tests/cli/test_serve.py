import http.client
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import SECRET, invoke, start
from transports.version import version

HERE = {"ROUTER_HOST": "127.0.0.1", "ROUTER_PORT": "0", "TOKEN_SECRET": SECRET, "LOG_FORMAT": "json"}


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("cli", []),
        ("cli", ["serve"]),
        ("cli", ["serve", "--transport", "asyncio"]),
        ("transports.trio", []),
        ("transports.asyncio", []),
    ],
)
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_router_serves_until_it_is_told_to_stop(
    module: str, arguments: list[str], stop: signal.Signals, tmp_path: Path
) -> None:
    with start(arguments, tmp_path, HERE, module) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(json.loads(line)["message"])
            if lines[-1].startswith("Listening on "):
                break
        client = http.client.HTTPConnection(lines[-1].removeprefix("Listening on "))
        client.request("GET", "/health")
        assert client.getresponse().read() == b"ok"
        client.close()
        process.send_signal(stop)
        stdout, _ = process.communicate()
    assert (process.returncode, stdout) == (0, b"")
    assert lines[:5] == [
        f"Link.Assistant.Router v{version()}",
        "Upstream: https://api.anthropic.com",
        "Upstream provider: anthropic",
        f"Claude Code home: {tmp_path}/home/.claude",
        f"Data directory: {tmp_path}/home/.link-assistant-router",
    ]


@pytest.mark.parametrize("arguments", [[], ["serve"], ["serve", "--transport", "asyncio"]])
def test_a_port_that_is_taken_exits_1(arguments: list[str], taken_port: str, tmp_path: Path) -> None:
    result = invoke([*arguments, "--port", taken_port], tmp_path, HERE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith(f"Error: cannot listen on 127.0.0.1:{taken_port}")


def test_a_secret_that_cannot_be_read_exits_2(tmp_path: Path) -> None:
    result = invoke(["--token-secret-file", "gone"], tmp_path, {**HERE, "TOKEN_SECRET": ""})
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("Error: cannot read the token secret in gone: No such file or directory\n")


def test_a_secret_that_cannot_be_kept_exits_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = invoke(["--data-dir", "file/data"], tmp_path, {**HERE, "TOKEN_SECRET": ""})
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error: cannot keep a token secret in file/data/token_secret" in result.stderr


@pytest.mark.slow
def test_a_log_that_nobody_reads_does_not_stop_the_router(tmp_path: Path) -> None:
    with start([], tmp_path, {**HERE, "UNIX_SOCKET": "router.sock"}) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"Listening on " in line:
                break
        process.stderr.close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "router.sock"))
            client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert answer.endswith(b"ok")
