import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from cli.output import ConfigurationError
from cli.remote import MOST_MESSAGE_CHARACTERS, RemoteFailure, RemoteRouter, reachable, router_at
from protocol.config import Config
from protocol.values import BaseUrl, Secret
from tests.support.site import Site, http_answer

KEY = "the-admin-key"


def told(site: Site, key: str | None = KEY, patience: float = 10.0) -> RemoteFailure:
    """What asking this site fails with."""
    router = RemoteRouter(site.base, None if key is None else Secret(key), patience=patience)
    with pytest.raises(RemoteFailure) as failure:
        router.ask("GET", "/v1/accounts")
    assert failure.value.exit_code == 1
    return failure.value


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that nobody else can take and nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_question_carries_the_key_and_nothing_of_the_operator_else() -> None:
    with Site(http_answer(200, b'{"data": []}')) as site:
        assert RemoteRouter(site.base, Secret("schlüssel")).ask("GET", "/api/tokens/list") == {"data": []}
    (request,) = site.requests
    assert request.startswith(b"GET /gate/api/tokens/list HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer " + "schlüssel".encode() + b"\r\n" in request
    assert request.endswith(b"\r\n\r\n")


def test_without_a_key_no_credential_is_sent() -> None:
    with Site(http_answer(200, b"{}")) as site:
        RemoteRouter(site.base, None).ask("GET", "/v1/usage")
    assert b"uthorization" not in site.requests[0]


def test_a_body_is_sent_as_json() -> None:
    with Site(http_answer(200, b'{"revoked": "x"}')) as site:
        RemoteRouter(site.base, None).ask("POST", "/api/tokens/revoke", {"id": "å"})
    assert b"\r\nContent-Type: application/json\r\n" in site.requests[0]
    assert site.requests[0].endswith('\r\n\r\n{"id":"å"}'.encode())


def test_a_router_on_a_unix_socket_is_addressed_as_this_machine(tmp_path: Path) -> None:
    path = str(tmp_path / "router.sock")
    with Site(http_answer(200, b"[]"), path=path) as site:
        router = router_at(None, Config(unix_socket=path))
        assert router.ask("GET", "/v1/accounts") == []
    assert str(router) == f"unix:{path}"
    assert site.requests[0].startswith(b"GET /v1/accounts HTTP/1.1\r\nHost: localhost\r\n")


def test_over_tls_the_certificate_has_to_be_good(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Site(http_answer(200, b"{}"), tls=context) as site:
        assert RemoteRouter(site.base, Secret(KEY), ca_file=str(tmp_path / "ca.pem")).ask("GET", "/") == {}
        refused = told(site)
    assert refused.message.startswith(f"no router answers at {site.base}: certificate not accepted: ")
    assert len(site.requests) == 1


def test_plain_http_where_tls_is_expected_is_no_router() -> None:
    with Site(http_answer(200, b"{}")) as site:
        spoken_to = BaseUrl.parse(str(site.base).replace("http:", "https:"))
        with pytest.raises(RemoteFailure, match="TLS failed"):
            RemoteRouter(spoken_to, Secret(KEY)).ask("GET", "/")
    assert KEY.encode() not in b"".join(site.requests)


def test_a_refusal_is_told_in_the_routers_words_with_its_status() -> None:
    for body in (
        b'{"type":"error","error":{"type":"t","message":"no such id"}}',
        b'{"error":{"message":"no such id"}}',
    ):
        with Site(http_answer(404, body)) as site:
            refused = told(site)
        assert (refused.status, refused.message) == (404, f"the router at {site.base} refuses: no such id (HTTP 404)")


def test_a_401_says_where_the_key_is_taken_from() -> None:
    with Site(http_answer(401, b'{"error":{"message":"missing or invalid admin Bearer key"}}')) as site:
        refused = told(site, None)
    assert refused.message.endswith("(HTTP 401); the key is taken from --admin-key or TOKEN_ADMIN_KEY")


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"error": "x"}', b'{"error": {"message": 5}}'])
def test_a_refusal_without_words_still_has_its_status(body: bytes) -> None:
    with Site(http_answer(503, body)) as site:
        refused = told(site)
    assert refused.status == 503
    assert refused.message.endswith(" refuses: no reason given (HTTP 503)")


def test_a_message_can_neither_show_the_key_nor_command_the_terminal_nor_fill_it() -> None:
    body = b'{"error":{"message":"\\u001b[2Jyou sent Bearer the-admin-key %b"}}' % (b"x" * 10_000)
    with Site(http_answer(400, body)) as site:
        message = told(site).message
    assert KEY not in message
    assert "\x1b" not in message
    assert len(message) < MOST_MESSAGE_CHARACTERS + 100


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http_answer(200, b"<html>"), "HTTP 200, and no JSON"),
        (http_answer(502, b"Bad Gateway"), "HTTP 502, and no JSON"),
        (http_answer(200, b"\xff"), "HTTP 200, and no JSON"),
        (http_answer(200, b"[" * 100_000), "HTTP 200, and no JSON"),
        (b"SSH-2.0-the-admin-key\r\n", "it does not speak HTTP"),
        (http_answer(200, b"{}")[:-1], "HTTP 200, and no JSON"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", "the connection was closed"),
        (b"", "the connection was closed"),
    ],
    ids=["page", "bad gateway", "not text", "too deep", "other protocol", "cut", "cut in chunks", "nothing"],
)
def test_what_is_no_router_is_named_so(answer: bytes, why: str) -> None:
    with Site(answer) as site:
        failure = told(site)
    assert (failure.status, failure.message) == (None, f"no router answers at {site.base}: {why}")


def test_a_redirect_is_not_followed_since_the_key_is_for_one_address() -> None:
    with Site(http_answer(301, b"", b"location: http://elsewhere.test/")) as site:
        failure = told(site)
    assert (failure.status, "give --url the address that it leads to" in failure.message) == (None, True)
    assert len(site.requests) == 1


def test_a_silent_router_is_not_waited_for_long() -> None:
    with Site(b"", silent=True) as site:
        assert told(site, patience=0.05).message == f"no router answers at {site.base}: it is silent"


def test_nobody_there_is_a_failure_in_plain_words(deaf_port: int, tmp_path: Path) -> None:
    base = BaseUrl.parse(f"http://127.0.0.1:{deaf_port}")
    for router, why in (
        (RemoteRouter(base, Secret(KEY)), "Connection refused"),
        (RemoteRouter(base, Secret(KEY), unix_socket=str(tmp_path / "none.sock")), "No such file or directory"),
        (router_at(None, Config(host="x" * 70, port=1)), "not a host name"),
    ):
        with pytest.raises(RemoteFailure, match=f"^no router answers at .*: {why}$") as failure:
            router.ask("GET", "/health")
        assert failure.value.status is None


def test_a_key_that_no_header_can_carry_is_the_operators_to_correct() -> None:
    with pytest.raises(ConfigurationError) as error:
        RemoteRouter(BaseUrl.parse("http://127.0.0.1"), Secret("hush\nhush"))
    assert "hush" not in error.value.message


def test_a_file_of_authorities_that_is_none_is_the_operators_to_correct(tmp_path: Path) -> None:
    for content in (None, b"no certificate"):
        if content is not None:
            (tmp_path / "ca.pem").write_bytes(content)
        with pytest.raises(ConfigurationError, match="cannot use the CA file"):
            RemoteRouter(BaseUrl.parse("https://127.0.0.1"), None, ca_file=str(tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("0:0::0", "http://[::1]:8080"),
        ("127.0.0.2", "http://127.0.0.2:8080"),
        ("fd00::5", "http://[fd00::5]:8080"),
        ("localhost", "http://localhost:8080"),
    ],
)
def test_a_router_is_looked_for_where_it_can_be_reached(host: str, address: str) -> None:
    assert str(router_at(None, Config(host=host))) == address
    assert reachable(reachable(host)) == reachable(host)


def test_a_given_address_counts_more_than_the_settings(tmp_path: Path) -> None:
    base = BaseUrl.parse("https://router.test/gate")
    assert str(router_at(base, Config(unix_socket=str(tmp_path / "s")))) == "https://router.test/gate"
