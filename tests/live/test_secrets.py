"""A search for secrets in everything that a router process says, to clients, to the provider and in its log."""

import json
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from cli.practice import PracticeUpstream, Record
from tests.live.routers import LOOPS, RouterProcess, make_home, new_token
from tests.support.practice import user_says
from tests.support.requests import get, post
from tests.support.stage import SocketEnd

SESSION = "sk-ant-oat01-the-operators-session"
REFRESH = "sk-ant-ort01-the-operators-refresh"
API_KEY = "sk-ant-api03-the-operators-key"
SIGNING = "what the operator signs the tokens with"
ADMIN_KEY = "what-the-operator-administers-with"
OPERATORS = (SESSION, REFRESH, API_KEY, SIGNING, ADMIN_KEY)

GOOD = new_token(SIGNING)
BAD_TOKENS = (new_token("another router's secret of 32 bytes"), new_token(SIGNING, age=7200), GOOD[:-4] + "AAAA")
CLIENTS_KEY = "sk-ant-api03-a-clients-own-key"
CLIENTS_SESSION = "sk-ant-oat01-a-clients-own-session"
CLIENTS_COOKIE = "a-clients-cookie"
CLIENTS_PASSWORD = "YS1jbGllbnQ6cGFzc3dvcmQ="
GUESSED_ADMIN_KEY = "what-a-stranger-takes-for-it"
IN_A_QUERY = "what-a-client-put-into-a-query"
PROMPT = "what nobody else should read"
CLIENTS = (CLIENTS_KEY, CLIENTS_SESSION, CLIENTS_COOKIE, CLIENTS_PASSWORD, GUESSED_ADMIN_KEY, IN_A_QUERY, PROMPT)

LOGIN = json.dumps({"claudeAiOauth": {"accessToken": SESSION, "refreshToken": REFRESH}})
SPOILED_LOGINS = (LOGIN[:-5], LOGIN.replace(SESSION, f"{SESSION} \\u00e9"), LOGIN.replace(SESSION, REFRESH), "[]")
LOGGED_OUT = "{}"
"""After this one the API key is what requests are sent with."""


def signature(token: str) -> str:
    return token.rpartition(".")[2]


def message(text: str = PROMPT, *, stream: bool = False) -> bytes:
    return user_says(text, stream=stream)


def issue(key: str) -> bytes:
    return post(key.encode(), b'{"label":"live"}', b"/api/tokens")


def conversations() -> Iterator[bytes]:
    """What clients send, each on a connection of its own."""
    good = GOOD.encode()
    baggage = (
        b"Cookie: session=" + CLIENTS_COOKIE.encode(),
        b"Proxy-Authorization: Basic " + CLIENTS_PASSWORD.encode(),
        b"X-Auth-Token: " + CLIENTS_KEY.encode(),
        b"Connection: close",
    )
    query = b"?api_key=" + IN_A_QUERY.encode()
    for wish in ("", "/error 400", "/error 401", "/error 429", "/error 529", "/drop", "/cut 5"):
        for stream in (False, True):
            text = f"{PROMPT}\n{wish}"
            yield post(good, message(text, stream=stream), b"/v1/messages" + query, *baggage)
    yield post(good, message(f"{PROMPT}\n/error-event", stream=True), b"/api/latest/anthropic/v1/messages", *baggage)
    yield post(CLIENTS_SESSION.encode(), message(), b"/v1/messages", b"x-api-key: " + good, b"Connection: close")
    yield post(good, message(), b"/v1/nowhere" + query, b"Connection: close")
    yield post(good, message(), b"/v1/files", b"Transfer-Encoding: chunked")
    yield post(good, message(), b"/v1/messages", b"X-Long: " + good * 500)
    yield post(good, message(), b"/v1/messages", b"X-Bad\x00: " + good)
    yield post(good, message(), b"/v1/messages" + query + b"\x80", b"Connection: close")
    yield get(b"/v1/messages" + query, b"Authorization: Bearer " + good, b"Connection: close")
    yield b"\x16\x03\x01" + good + b"\r\n\r\n"
    for token in (*BAD_TOKENS, CLIENTS_KEY, CLIENTS_SESSION, f"la_sk_{IN_A_QUERY}", ""):
        presented = token.encode()
        yield post(presented, message(), b"/v1/messages" + query, b"Connection: close")
        yield post(b"", message(), b"/v1/messages", b"x-api-key: " + presented, b"Connection: close")
        yield post(presented, message(), b"/v1/messages", b"Connection: close", scheme=b"Basic")
    yield issue(GUESSED_ADMIN_KEY).replace(b"Content-Type", b"Connection: close\r\nContent-Type")


def said_to(router: RouterProcess, request: bytes) -> bytes:
    """Everything the router answers on a connection; a reset ends it too."""
    host, port = router.address.split(":")
    end = SocketEnd(socket.create_connection((host, int(port))))
    end.send(request)
    end.half_close() if request.startswith(b"\x16") else None
    answer = b""
    try:
        while data := end.receive():
            answer += data
    except ConnectionResetError:
        pass
    end.close()
    return answer


def found(secrets: tuple[str, ...], text: bytes) -> list[str]:
    return [secret for secret in secrets if secret.encode() in text]


def upstream_bytes(records: tuple[Record, ...]) -> bytes:
    return b"\n".join(
        b"\n".join([record.target.encode(), *(name + b": " + value for name, value in record.headers), record.body])
        for record in records
    )


@contextmanager
def talkative(loop: str, log_format: str, folder: Path, origin: str) -> Iterator[RouterProcess]:
    """A router that logs all it ever logs, and is told to stop in the end."""
    make_home(folder, LOGIN)
    with RouterProcess(
        loop,
        folder,
        origin,
        TOKEN_SECRET=SIGNING,
        TOKEN_ADMIN_KEY=ADMIN_KEY,
        ANTHROPIC_API_KEY=API_KEY,
        LOG_FORMAT=log_format,
        RUST_LOG="trace",
        VERBOSE="true",
    ) as router:
        yield router
        router.send_signal(signal.SIGTERM)
        assert router.exit_code() == 0


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_secret_is_said_to_anybody(loop: str, log_format: str, tmp_path: Path) -> None:
    with PracticeUpstream() as upstream, talkative(loop, log_format, tmp_path, upstream.origin) as router:
        answers = [said_to(router, request) for request in conversations()]
        issued = said_to(router, issue(ADMIN_KEY).replace(b"Content-Type", b"Connection: close\r\nContent-Type"))
        for login in (*SPOILED_LOGINS, LOGGED_OUT):
            (tmp_path / "home" / ".claude" / ".credentials.json").write_text(login)
            answers.append(
                said_to(router, post(GOOD.encode(), message("/error 401"), b"/v1/messages", b"Connection: close"))
            )
        answers.append(said_to(router, post(GOOD.encode(), message(), b"/v1/messages", b"Connection: close")))
    output, heard = router.output, b"\n".join(answers)
    new = json.loads(issued.partition(b"\r\n\r\n")[2])["token"]
    signatures = tuple(map(signature, (GOOD, new, *BAD_TOKENS)))

    assert found((*OPERATORS, *CLIENTS, *signatures, "la_sk_ey"), output) == []
    assert found((*OPERATORS, *signatures, *CLIENTS[:-1]), heard) == []
    assert found(OPERATORS, issued) == []
    seen = upstream_bytes(upstream.requests)
    assert found(("la_sk_", SIGNING, ADMIN_KEY, *signatures), seen) == []
    assert found((CLIENTS_KEY, CLIENTS_SESSION, CLIENTS_COOKIE, CLIENTS_PASSWORD, GUESSED_ADMIN_KEY), seen) == []

    # The search was worth something: all of this did happen.
    assert heard.count(b"HTTP/1.1 ") >= len(answers) - 1
    assert b"event: message_stop" in heard
    assert b"event: error" in heard
    assert found((SESSION, API_KEY, PROMPT, IN_A_QUERY), seen) == [SESSION, API_KEY, PROMPT, IN_A_QUERY]
    assert output.count(b"/v1/messages") >= 30
    assert output.count(b"not valid JSON") == 1


@pytest.mark.parametrize(("loop", "log_format"), [("trio", "text"), ("asyncio", "json")])
def test_nor_when_the_provider_cannot_be_trusted(loop: str, log_format: str, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with (
        PracticeUpstream(ssl_context=context) as stranger,
        talkative(loop, log_format, tmp_path, stranger.origin) as router,
    ):
        answers = [said_to(router, request) for request in conversations()]
        assert stranger.requests == ()
    signatures = tuple(map(signature, (GOOD, *BAD_TOKENS)))
    heard = b"\n".join(answers)
    assert found((*OPERATORS, *CLIENTS, *signatures, "la_sk_ey"), router.output) == []
    assert found((*OPERATORS, *CLIENTS, *signatures), heard) == []
    assert heard.count(b"HTTP/1.1 502 ") >= 15
