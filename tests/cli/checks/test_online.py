import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
import trustme

from cli.checks.online import doubts, provider_check
from cli.checks.reaching import Answer
from cli.practice import PracticeUpstream
from protocol.config import Config
from tests.cli.checks.support import Seen, examined
from tests.cli.support import SECRET, invoke
from tests.support.site import Site, http_answer

OFF = ("--oauth-refresh", "off", "--online")


def reached(folder: Path, site: Site, *arguments: str) -> Seen:
    """The check of an upstream at this site."""
    return examined(folder, *OFF, *arguments, UPSTREAM_BASE_URL=str(site.base))["upstream reachable"]


@pytest.fixture
def deaf() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_nobody_is_asked_unless_that_is_wanted(tmp_path: Path) -> None:
    with Site(http_answer(200, b"")) as site:
        checks = examined(tmp_path, UPSTREAM_BASE_URL=str(site.base))
    assert site.requests == []
    assert "upstream reachable" not in checks


def test_any_answer_will_do_and_no_credential_is_sent(tmp_path: Path) -> None:
    with Site(http_answer(401, b"{}")) as site:
        seen = reached(tmp_path, site)
    assert seen.value.startswith(f"{site.base.origin} (HTTP 401 in ")
    assert seen.status == "ok"
    (request,) = site.requests
    assert request.startswith(b"GET /gate/v1/models HTTP/1.1\r\n")
    assert b"hush" not in request
    assert b"uthorization" not in request


@pytest.mark.parametrize(
    ("status", "finding"),
    [
        (302, "it redirects"),
        (404, "it knows no /gate/v1/models: is the base URL right?"),
        (500, "it has troubles of its own: HTTP 500"),
        (503, "it has troubles of its own: HTTP 503"),
    ],
)
def test_a_strange_answer_is_a_warning(status: int, finding: str, tmp_path: Path) -> None:
    with Site(http_answer(status, b"")) as site:
        seen = reached(tmp_path, site)
    assert (seen.status, len(seen.findings)) == ("warning", 1)
    assert seen.findings[0].startswith(finding)


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"", b"HTTP/1.1 200"])
def test_who_does_not_speak_http_is_a_failure(answer: bytes, tmp_path: Path) -> None:
    with Site(answer) as site:
        seen = reached(tmp_path, site)
    assert (seen.value, seen.status) == (f"{site.base.origin} (UNREACHABLE)", "failed")
    assert "SSH" not in seen.findings[0]


def test_who_does_not_answer_is_a_failure(deaf: str, tmp_path: Path) -> None:
    seen = examined(tmp_path, *OFF, UPSTREAM_BASE_URL=deaf)["upstream reachable"]
    assert seen == Seen(f"{deaf} (UNREACHABLE)", "failed", [f"no answer from {deaf}: Connection refused"])


def test_the_practice_upstream_is_reached(tmp_path: Path) -> None:
    with PracticeUpstream() as upstream:
        seen = examined(tmp_path, *OFF, UPSTREAM_BASE_URL=upstream.origin)["upstream reachable"]
    assert (seen.status, seen.findings) == ("ok", [])


@pytest.mark.slow
def test_a_certificate_is_verified_as_the_router_does(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with Site(http_answer(401, b"{}"), tls=context) as site:
        stranger, known = reached(tmp_path, site), reached(tmp_path, site, "--upstream-ca-file", "ca.pem")
    assert (stranger.status, known.status) == ("failed", "ok")
    assert "certificate not accepted" in stranger.findings[0]


def test_the_proxy_of_the_settings_is_used(tmp_path: Path) -> None:
    with Site(http_answer(407, b"")) as proxy:
        seen = examined(tmp_path, *OFF, UPSTREAM_BASE_URL="https://upstream.test", HTTPS_PROXY=str(proxy.base.origin))
    assert seen["upstream reachable"].value == f"https://upstream.test through {proxy.base.origin} (UNREACHABLE)"
    assert "407" in seen["upstream reachable"].findings[0]
    assert proxy.requests[0].startswith(b"CONNECT upstream.test:443 HTTP/1.1\r\n")


def test_the_token_endpoint_is_asked_where_logins_are_renewed(tmp_path: Path) -> None:
    with Site(http_answer(405, b"")) as site:
        address = str(site.base)
        seen = examined(tmp_path, "--online", UPSTREAM_BASE_URL=address, OAUTH_TOKEN_URL=f"{address}/token")
    assert seen["token endpoint"].status == "ok"
    assert site.requests[1].startswith(b"GET /gate/token HTTP/1.1\r\n")


@pytest.mark.parametrize(("ahead", "words"), [(61, "61 s ahead"), (-3600, "3600 s behind"), (59, None), (-59, None)])
def test_a_clock_that_is_wrong_is_warned_about(ahead: int, words: str | None) -> None:
    now = float(round(time.time()))
    found = list(doubts(Answer(401, formatdate(now - ahead, usegmt=True)), "/v1/models", now))
    assert len(found) == (words is not None)
    assert words is None or words in found[0].message


@pytest.mark.parametrize("date", ["", "yesterday", "\xff", "Thu, 99 Nov 2026 99:00:00 GMT"])
def test_a_date_that_is_none_says_nothing_of_the_clock(date: str) -> None:
    assert list(doubts(Answer(200, date), "/v1/models", 0.0)) == []


# --- the provider -----------------------------------------------------------------------------------------------------


def at(folder: Path, base_url: str, *arguments: str) -> Config:
    """A configuration whose provider is stored."""
    settings = {"DATA_DIR": str(folder / "data"), "TOKEN_SECRET": SECRET}
    added = ["providers", "add", "--name", "litellm", "--base-url", base_url, "--api-key", "sk-hush", *arguments]
    assert invoke(added, folder, settings).exit_code == 0
    return Config(data_dir=str(folder / "data"))


def test_a_stored_provider_is_asked_for_its_models_without_its_key(tmp_path: Path) -> None:
    with Site(http_answer(200, b"{}")) as site:
        made = provider_check(at(tmp_path, str(site.base)))
    assert made.status == "ok"
    assert site.requests[0].startswith(b"GET /gate/models HTTP/1.1\r\n")
    assert b"hush" not in site.requests[0]


def test_the_provider_in_use_is_asked_and_not_the_upstream(tmp_path: Path) -> None:
    with Site(http_answer(200, b"{}")) as site:
        seen = examined(
            tmp_path, *OFF, UPSTREAM_PROVIDER="openai-compatible", OPENAI_COMPATIBLE_BASE_URL=str(site.base)
        )
    assert (seen["provider reachable"].status, "upstream reachable" in seen) == ("ok", False)


def test_the_provider_of_the_settings_is_asked_where_none_is_stored(deaf: str, tmp_path: Path) -> None:
    config = Config.parse({"OPENAI_COMPATIBLE_BASE_URL": deaf, "DATA_DIR": str(tmp_path)}, home=None)
    assert provider_check(config).value == f"{deaf} (UNREACHABLE)"


def test_a_stored_provider_is_reached_through_its_own_proxy(tmp_path: Path) -> None:
    with Site(http_answer(403, b"")) as proxy:
        made = provider_check(at(tmp_path, "https://provider.test/v1", "--proxy", str(proxy.base.origin)))
    assert made.value == f"https://provider.test through {proxy.base.origin} (UNREACHABLE)"
    assert proxy.requests[0].startswith(b"CONNECT provider.test:443 HTTP/1.1\r\n")


def test_a_place_where_no_provider_may_be_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/providers.lenv").write_text('PROVIDER: {"name":"litellm","base_url":"http://169.254.169.254"}\n')
    made = provider_check(Config(data_dir=str(tmp_path / "data")))
    assert (made.value, made.status) == ("http://169.254.169.254 (not asked)", "failed")


def test_a_store_that_cannot_be_understood_leaves_the_provider_unknown(tmp_path: Path) -> None:
    (tmp_path / "providers.lenv").write_text("PROVIDER: {\n")
    made = provider_check(Config(data_dir=str(tmp_path)))
    assert (made.value, made.status) == ("<unknown>", "failed")
