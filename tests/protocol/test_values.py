"""The shared vocabulary: secrets that cannot be shown, URLs that are parsed once."""

import copy
import json
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.values import BaseUrl, Origin, Peer, PeerKind, RequestHead, Secret

HIDDEN = "sk-ant-oat01-hidden"


@pytest.mark.parametrize("shown", [repr, str, ascii, "{}".format, "{!r}".format, "{:>40}".format, "%s".__mod__])
def test_a_secret_is_never_shown(shown: object) -> None:
    assert callable(shown)
    assert HIDDEN not in shown(Secret(HIDDEN))


@pytest.mark.parametrize("written", [pickle.dumps, json.dumps, msgspec.json.encode, copy.deepcopy])
def test_a_secret_is_never_written(written: object) -> None:
    assert callable(written)
    with pytest.raises(TypeError):
        written(Secret(HIDDEN))


def test_a_secret_is_known_by_its_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert Secret(HIDDEN).reveal() == HIDDEN


@pytest.mark.parametrize(
    ("text", "origin", "prefix", "authority"),
    [
        ("https://api.anthropic.com", Origin("https", "api.anthropic.com", 443), "", "api.anthropic.com"),
        ("http://localhost:8080/", Origin("http", "localhost", 8080), "", "localhost:8080"),
        ("https://Gateway.test:443/a/b/", Origin("https", "gateway.test", 443), "/a/b", "gateway.test"),
        (" http://[::1]:80 ", Origin("http", "::1", 80), "", "[::1]"),
        ("http://[::1]:81/x", Origin("http", "::1", 81), "/x", "[::1]:81"),
    ],
)
def test_a_base_url_is_an_origin_and_a_prefix(text: str, origin: Origin, prefix: str, authority: str) -> None:
    parsed = BaseUrl.parse(text)
    assert parsed == BaseUrl(origin, prefix)
    assert parsed.origin.authority == authority
    assert parsed.origin.tls == text.strip().startswith("https")
    assert BaseUrl.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.anthropic.com",
        "ftp://api.anthropic.com",
        "https://",
        "https://user@host",
        "https://user:password@host",
        "https://:password@host",
        "https://host?query",
        "https://host#fragment",
        "https://host:port",
        "https://host:65536",
        "https://host/white space",
        "https://host/stra\xdfe",
    ],
)
def test_anything_else_is_no_base_url(text: str) -> None:
    with pytest.raises(ValueError):
        BaseUrl.parse(text)


@pytest.mark.parametrize("host", ["a..b", ".host", "x" * 64, "x" * 64 + ".test"])
def test_a_name_that_no_resolver_can_be_asked_for_is_no_host(host: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        BaseUrl.parse(f"https://{host}:443/path")


@given(text=st.text(max_size=30) | st.text(max_size=30).map("https://".__add__))
def test_any_text_is_a_base_url_that_survives_or_a_value_error(text: str) -> None:
    try:
        parsed = BaseUrl.parse(text)
    except ValueError:
        return
    assert BaseUrl.parse(str(parsed)) == parsed


def test_a_path_is_the_target_without_its_query() -> None:
    assert RequestHead(b"GET", b"/a%20b?c=d?e", []).path == b"/a%20b"


@pytest.mark.parametrize(
    ("kind", "local"), [(PeerKind.LOOPBACK, True), (PeerKind.UNIX, True), (PeerKind.NETWORK, False)]
)
def test_only_the_network_is_far(kind: PeerKind, local: bool) -> None:
    assert Peer(kind, "x").local is local
