"""Out through a real forward proxy: the official SDK streams, uploads and leaves as it does without one."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import anthropic
import pytest
import trustme

from cli.practice import PRACTICE_TOKEN, Ending, PracticeUpstream
from tests.live.asks import ask
from tests.live.clients import new_client
from tests.live.proxies import LOGIN, ForwardProxy
from tests.live.routers import LOOPS, RouterProcess, RunningRouter
from tests.live.test_tls import server_context
from tests.support.practice import last_request

AUTHORITY = trustme.CA()
SECRETS = ("hush", "YWRhOmh1c2g")
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def authority_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def secure() -> Iterator[PracticeUpstream]:
    with PracticeUpstream(ssl_context=server_context(AUTHORITY, "127.0.0.1"), credentials={PRACTICE_TOKEN}) as running:
        yield running


@pytest.fixture(scope="module")
def open_proxy() -> Iterator[ForwardProxy]:
    """A proxy for everybody."""
    with ForwardProxy() as running:
        yield running


@pytest.fixture(scope="module")
def strict_proxy() -> Iterator[ForwardProxy]:
    """A proxy that wants a login."""
    with ForwardProxy(login="ada:hush hush") as running:
        yield running


@pytest.fixture(scope="module")
def tls_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForwardProxy]:
    """A proxy that is spoken to over TLS."""
    path = tmp_path_factory.mktemp("proxy") / "key_and_certificate.pem"
    AUTHORITY.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    with ForwardProxy(certificate=str(path)) as running:
        yield running


def talks(router: RunningRouter | RouterProcess) -> None:
    """The SDK has what it needs of the provider."""
    with new_client(router.origin) as client:
        assert client.messages.create(**ask()).content
        with client.messages.stream(**ask("/size 2000")) as stream:
            assert len(list(stream.text_stream)) == 2000
        with pytest.raises(anthropic.OverloadedError):
            client.messages.create(**ask("/error 529"))


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_the_sdk_talks_through_a_proxy(
    loop: str, upstream: PracticeUpstream, open_proxy: ForwardProxy, scheme: str
) -> None:
    before = len(open_proxy.connections)
    with RunningRouter(loop, upstream.origin, ALL_PROXY=f"{scheme}://127.0.0.1:{open_proxy.port}") as router:
        talks(router)
    there = upstream.origin.removeprefix("http://")
    made = open_proxy.connections[before:]
    assert len(made) == 1, "one tunnel serves all"
    assert made[0].startswith(scheme)
    assert made[0].endswith(f"-> {there}")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_login_opens_a_proxy_and_is_not_told_to_anybody(
    loop: str, secure: PracticeUpstream, strict_proxy: ForwardProxy, authority_file: str, scheme: str
) -> None:
    proxy = f"{scheme}://{LOGIN}@127.0.0.1:{strict_proxy.port}"
    with RunningRouter(loop, secure.origin, HTTPS_PROXY=proxy, UPSTREAM_CA_FILE=authority_file) as router:
        talks(router)
    assert not any(secret in f"{router.logs!r}{secure.requests[-1]!r}" for secret in SECRETS)


@pytest.mark.parametrize(("scheme", "words"), [("http", "407"), ("socks5", "it closed the connection")])
def test_without_the_right_login_nothing_reaches_the_provider(
    loop: str, upstream: PracticeUpstream, strict_proxy: ForwardProxy, scheme: str, words: str
) -> None:
    before = len(upstream.requests)
    with (
        RunningRouter(loop, upstream.origin, ALL_PROXY=f"{scheme}://ada:wrong@127.0.0.1:{strict_proxy.port}") as router,
        new_client(router.origin) as client,
        pytest.raises(anthropic.InternalServerError, match=words) as failed,
    ):
        client.messages.create(**ask())
    assert failed.value.status_code == 502
    assert len(upstream.requests) == before
    assert "wrong" not in f"{failed.value}{router.logs}"


def test_tls_within_tls(loop: str, secure: PracticeUpstream, tls_proxy: ForwardProxy, authority_file: str) -> None:
    proxy = f"https://127.0.0.1:{tls_proxy.port}"
    with RunningRouter(loop, secure.origin, HTTPS_PROXY=proxy, UPSTREAM_CA_FILE=authority_file) as router:
        talks(router)


def test_large_bodies_cross_both_ways(
    loop: str, secure: PracticeUpstream, open_proxy: ForwardProxy, authority_file: str
) -> None:
    content = hashlib.shake_256(b"a file").digest(8 * MEBIBYTE)
    proxy = f"http://127.0.0.1:{open_proxy.port}"
    with (
        RunningRouter(loop, secure.origin, HTTPS_PROXY=proxy, UPSTREAM_CA_FILE=authority_file) as router,
        new_client(router.origin) as client,
    ):
        stored = client.files.upload(file=("large.bin", content, "application/octet-stream"))
        assert client.files.download(stored.id).read() == content
        client.files.delete(stored.id)


def test_no_proxy_is_respected(loop: str, upstream: PracticeUpstream, open_proxy: ForwardProxy) -> None:
    before = open_proxy.connections
    settings = {"ALL_PROXY": f"http://127.0.0.1:{open_proxy.port}", "NO_PROXY": "example.com, 127.0.0.0/8"}
    with RunningRouter(loop, upstream.origin, **settings) as router:
        talks(router)
    assert open_proxy.connections == before


def test_a_client_that_leaves_a_stream_ends_the_tunnel(
    loop: str, upstream: PracticeUpstream, open_proxy: ForwardProxy
) -> None:
    with (
        RunningRouter(loop, upstream.origin, ALL_PROXY=f"http://127.0.0.1:{open_proxy.port}") as router,
        new_client(router.origin) as client,
    ):
        with client.messages.stream(**ask("/size 10000\n/slow 5")) as stream:
            next(iter(stream.text_stream))
        record = last_request(upstream, lambda seen: seen.ending is not None)
    assert record.ending is Ending.CLIENT_LEFT
    assert record.writes < 1000


def test_a_proxy_that_dies_mid_stream_is_never_a_clean_end(loop: str, upstream: PracticeUpstream) -> None:
    kinds: list[str] = []
    with (
        ForwardProxy() as proxy,
        RunningRouter(loop, upstream.origin, ALL_PROXY=f"http://127.0.0.1:{proxy.port}") as router,
        new_client(router.origin) as client,
    ):
        with (
            client.messages.create(**ask("/size 10000\n/slow 5"), stream=True) as stream,
            pytest.raises(anthropic.APIStatusError, match="lost before the answer was complete"),
        ):
            for event in stream:
                kinds.append(event.type)
                if len(kinds) == 5:
                    proxy.kill()
        with pytest.raises(anthropic.InternalServerError, match=r"proxy 127\.0\.0\.1"):
            client.messages.create(**ask())
    assert "message_stop" not in kinds
    assert len(kinds) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_a_process_finds_its_proxy_in_the_environment(
    loop: str, upstream: PracticeUpstream, strict_proxy: ForwardProxy, tmp_path: Path
) -> None:
    before = len(strict_proxy.connections)
    settings = {"http_proxy": f"http://{LOGIN}@127.0.0.1:{strict_proxy.port}", "VERBOSE": "true"}
    with RouterProcess(loop, tmp_path, upstream.origin, **settings) as router:
        talks(router)
        output = router.output
    assert len(strict_proxy.connections) == before + 1
    assert not any(secret.encode() in output for secret in SECRETS)
