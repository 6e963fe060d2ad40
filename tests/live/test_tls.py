"""Towards a provider with TLS: whom the router trusts, and what clients and operators learn when it does not."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anthropic
import pytest
import trustme

from cli.practice import PRACTICE_TOKEN, PracticeUpstream
from protocol.commands import Log
from tests.live.asks import ask
from tests.live.clients import new_client
from tests.live.routers import LOOPS, PATIENCE, RouterProcess, RunningRouter

AUTHORITY = trustme.CA()


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def secure() -> Iterator[PracticeUpstream]:
    """A provider whose certificate names its address and ``localhost``."""
    context = server_context(AUTHORITY, "127.0.0.1", "localhost")
    with PracticeUpstream(ssl_context=context, credentials={PRACTICE_TOKEN}) as running:
        yield running


def refused(router: RunningRouter | RouterProcess) -> str:
    """The 502 that a request ends in, in words."""
    with new_client(router.origin) as client, pytest.raises(anthropic.InternalServerError) as failed:
        client.messages.create(**ask())
    assert failed.value.status_code == 502
    return str(failed.value.api_message)


def said(logs: list[Log], words: str) -> str:
    """All that the log has for an operator who looks for these words."""
    return "\n".join(text for log in logs if words in (text := f"{log.event} {dict(log.fields)}"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_private_authority_is_trusted_when_named(
    loop: str, secure: PracticeUpstream, authority_file: str, host: str
) -> None:
    origin = secure.origin.replace("127.0.0.1", host)
    with RunningRouter(loop, origin, UPSTREAM_CA_FILE=authority_file) as router, new_client(router.origin) as client:
        assert client.messages.create(**ask()).content
        with client.messages.stream(**ask("/size 300")) as stream:
            assert len(list(stream.text_stream)) == 300
        assert secure.requests[-1].header("host") == [origin.removeprefix("https://")]
        with pytest.raises(anthropic.OverloadedError):
            client.messages.create(**ask("/error 529"))
    assert len({record.connection for record in secure.requests[-3:]}) == 1


def test_large_bodies_cross_tls_both_ways(loop: str, secure: PracticeUpstream, authority_file: str) -> None:
    content = bytes(range(256)) * (4 * 4096)
    with (
        RunningRouter(loop, secure.origin, UPSTREAM_CA_FILE=authority_file) as router,
        new_client(router.origin) as client,
    ):
        stored = client.files.upload(file=("large.bin", content, "application/octet-stream"))
        assert client.files.download(stored.id).read() == content
        client.files.delete(stored.id)


@pytest.mark.parametrize("cut", ["/cut 5", "/cut 5 reset-cut=true", "/split 40 cut=30"])
def test_a_cut_is_visible_through_tls(loop: str, secure: PracticeUpstream, authority_file: str, cut: str) -> None:
    with (
        RunningRouter(loop, secure.origin, UPSTREAM_CA_FILE=authority_file) as router,
        new_client(router.origin) as client,
        pytest.raises(anthropic.APIStatusError, match="lost before the answer was complete"),
        client.messages.stream(**ask(cut)) as stream,
    ):
        stream.get_final_message()


def test_connections_that_were_hung_up_while_idle_cost_nothing(
    loop: str, secure: PracticeUpstream, authority_file: str
) -> None:
    with (
        RunningRouter(loop, secure.origin, UPSTREAM_CA_FILE=authority_file) as router,
        new_client(router.origin) as client,
    ):
        for _ in range(5):
            assert client.messages.create(**ask("/hangup")).content
            assert client.messages.create(**ask("/drop reused")).content


def test_an_unknown_authority_is_not_trusted(loop: str) -> None:
    context = server_context(trustme.CA(), "127.0.0.1")
    with PracticeUpstream(ssl_context=context) as stranger, RunningRouter(loop, stranger.origin) as router:
        assert "certificate" in refused(router)
        assert stranger.requests == ()
    assert said(router.logs, "certificate")


def test_another_hosts_certificate_is_not_taken(loop: str, authority_file: str) -> None:
    context = server_context(AUTHORITY, "api.test", "127.0.0.2")
    with (
        PracticeUpstream(ssl_context=context) as other,
        RunningRouter(loop, other.origin, UPSTREAM_CA_FILE=authority_file) as router,
    ):
        assert "certificate" in refused(router)
        assert other.requests == ()
    assert "127.0.0.1" in said(router.logs, "certificate")


def test_a_provider_that_speaks_no_tls_gets_no_credential(loop: str, upstream: PracticeUpstream) -> None:
    before = len(upstream.requests)
    with RunningRouter(loop, upstream.origin.replace("http:", "https:")) as router:
        assert "cannot be reached" in refused(router)
    assert said(router.logs, "cannot be reached")
    assert all(PRACTICE_TOKEN not in repr(record) for record in upstream.requests[before:])


def test_the_router_recovers_when_the_provider_has_a_good_certificate_again(loop: str, authority_file: str) -> None:
    bad, good = server_context(AUTHORITY, "api.test"), server_context(AUTHORITY, "127.0.0.1")
    with (
        PracticeUpstream(ssl_context=bad) as before,
        RunningRouter(loop, before.origin, UPSTREAM_CA_FILE=authority_file) as router,
    ):
        assert "certificate" in refused(router)
        before.stop()
        with PracticeUpstream(port=before.port, ssl_context=good), new_client(router.origin) as client:
            assert client.messages.create(**ask()).content


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_the_authorities_of_the_environment_count(
    loop: str, secure: PracticeUpstream, authority_file: str, tmp_path: Path
) -> None:
    with (
        RouterProcess(loop, tmp_path, secure.origin, SSL_CERT_FILE=authority_file) as router,
        new_client(router.origin) as client,
    ):
        assert client.messages.create(**ask()).content


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_a_process_says_why_it_does_not_trust_the_provider(loop: str, secure: PracticeUpstream, tmp_path: Path) -> None:
    with RouterProcess(loop, tmp_path, secure.origin) as router:
        assert "certificate" in refused(router)
        assert router.said(b"certificate not accepted")


# --- an end that TLS did not vouch for --------------------------------------------------------------------------------


@contextmanager
def one_answer(response: bytes, *, honest: bool) -> Iterator[str]:
    """A provider that answers one request and ends: with TLS's own close, or as anybody in between could fake it."""
    context = server_context(AUTHORITY, "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def serve() -> None:
            with listener.accept()[0] as plain:
                plain.settimeout(PATIENCE)
                secured = context.wrap_socket(plain, server_side=True)
                received = b""
                while b"\r\n\r\n" not in received or not received.endswith(b"}"):
                    received += secured.recv(65536)
                secured.sendall(response)
                if honest:
                    secured = secured.unwrap()  # type: ignore[assignment]  # what is left is the plain socket
                secured.close()

        server = threading.Thread(target=serve)
        server.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        server.join(PATIENCE)
        assert not server.is_alive()


WITHOUT_LENGTH = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + b'{"type":"message"}'
)


def test_a_body_that_ends_with_its_tls_connection_is_whole(loop: str, authority_file: str) -> None:
    with (
        one_answer(WITHOUT_LENGTH, honest=True) as origin,
        RunningRouter(loop, origin, UPSTREAM_CA_FILE=authority_file) as router,
        new_client(router.origin) as client,
    ):
        assert client.messages.create(**ask()).to_dict() == {"type": "message"}


def test_a_body_that_ends_without_tlss_word_for_it_is_cut(loop: str, authority_file: str) -> None:
    with (
        one_answer(WITHOUT_LENGTH, honest=False) as origin,
        RunningRouter(loop, origin, UPSTREAM_CA_FILE=authority_file) as router,
        new_client(router.origin) as client,
        pytest.raises(anthropic.APIConnectionError) as failed,
    ):
        client.messages.create(**ask())
    assert not isinstance(failed.value, anthropic.APITimeoutError)
