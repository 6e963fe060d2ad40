"""Which proxy an origin is reached through, by the settings that people know from other programs."""

from dataclasses import dataclass
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.config import Config
from protocol.egress import Destination, DirectHosts, Proxy, ProxyLogin, choose_proxy
from protocol.kinds import PROXY
from protocol.values import BaseUrl, Origin, Secret
from tests.support.requests import post
from tests.support.scene import Scene
from tests.support.stage import CREDENTIALS

HTTPS_PROXY = Proxy("http", "proxy.test", 3128)
HTTP_PROXY = Proxy("https", "other.test", 443)
ALL_PROXY = Proxy("socks5", "10.0.0.1", 1080)


@dataclass(frozen=True)
class Settings:
    https_proxy: Proxy | None = None
    http_proxy: Proxy | None = None
    all_proxy: Proxy | None = None
    no_proxy: DirectHosts | None = None


def origin(text: str) -> Origin:
    return BaseUrl.parse(text).origin


# --- proxies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.test:3128", Proxy("http", "proxy.test", 3128)),
        ("http://proxy.test", Proxy("http", "proxy.test", 80)),
        ("https://Proxy.Test/", Proxy("https", "proxy.test", 443)),
        ("proxy.test:8080", Proxy("http", "proxy.test", 8080)),
        ("SOCKS5://127.0.0.1", Proxy("socks5", "127.0.0.1", 1080)),
        ("socks5h://[::1]:9050", Proxy("socks5", "::1", 9050)),
        ("socks://localhost:1080", Proxy("socks5", "localhost", 1080)),
        ("http://bücher.test", Proxy("http", "xn--bcher-kva.test", 80)),
        ("http://ada:pass@proxy.test", Proxy("http", "proxy.test", 80, ProxyLogin(Secret("ada"), Secret("pass")))),
        ("ada:p%40:%2F@proxy.test:1", Proxy("http", "proxy.test", 1, ProxyLogin(Secret("ada"), Secret("p@:/")))),
        ("http://ada@proxy.test", Proxy("http", "proxy.test", 80, ProxyLogin(Secret("ada"), Secret("")))),
        ("http://@proxy.test", Proxy("http", "proxy.test", 80)),
    ],
)
def test_a_proxy_is_read_from_its_url(text: str, proxy: Proxy) -> None:
    assert Proxy.parse(text) == proxy


@pytest.mark.parametrize(
    "text",
    [
        "", "http://", "ftp://proxy", "socks4://proxy", "http://proxy:0", "http://proxy:65536", "http://proxy:port",
        "http://pro xy", "http://proxy/path", "http://proxy?query", "http://proxy#fragment", "http://[proxy]",
        "http://[::1", "http://::1:80", "http://a..b", "http://a:b:c@proxy@proxy", "http://ada:p@ss@proxy",
        "http://ada:%0d%0a@proxy", "http://ada:%ff@proxy", "http://a%3Ab:c@proxy", "socks5://:password@proxy",
        f"socks5://{'a' * 256}:b@proxy", f"socks5://a:{'b' * 256}@proxy",
    ],
)  # fmt: skip
def test_what_is_no_proxy_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Proxy.parse(text)


@pytest.mark.parametrize(
    ("proxy", "text"),
    [
        (Proxy("http", "proxy.test", 3128, ProxyLogin(Secret("ada"), Secret("hush"))), "http://proxy.test:3128"),
        (Proxy("socks5", "::1", 1080), "socks5://[::1]:1080"),
    ],
)
def test_a_proxy_is_named_without_its_login(proxy: Proxy, text: str) -> None:
    assert str(proxy) == text
    assert not any(word in repr(Destination(origin("http://a"), proxy)) for word in ("ada", "hush"))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_password_can_be_written_percent_encoded(user: str, password: str) -> None:
    user = f"u{user.replace(':', '')}"
    proxy = Proxy.parse(f"http://{quote(user, safe='')}:{quote(password, safe='')}@proxy.test")
    assert proxy.login == ProxyLogin(Secret(user), Secret(password))


@given(st.text() | st.from_regex(r"(https?|socks5h?)://[^:]{0,9}:[^@]{0,9}@[^/]{0,20}"))
def test_any_text_is_a_proxy_that_can_be_named_or_a_value_error(text: str) -> None:
    try:
        proxy = PROXY.read(text)
    except ValueError:
        return
    assert Proxy.parse(str(proxy)) == Proxy(proxy.scheme, proxy.host, proxy.port)


# --- exceptions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["example.com", ".example.com", "*.example.com", "Example.COM.", "a, example.com b"])
def test_a_name_stands_for_itself_and_all_below_it(entry: str) -> None:
    hosts = DirectHosts.parse(entry)
    for host in ("example.com", "www.example.com", "a.b.EXAMPLE.com", "example.com."):
        assert hosts.cover(Origin("https", host, 443)), host
    for host in ("notexample.com", "example.com.evil", "com", "example.co"):
        assert not hosts.cover(Origin("https", host, 443)), host


@pytest.mark.parametrize(
    ("entry", "covered", "others"),
    [
        ("127.0.0.1", ["http://127.0.0.1:1"], ["http://127.0.0.2", "http://127.0.0.1.test"]),
        ("::1", ["http://[::1]"], ["http://[::2]", "http://localhost"]),
        ("[::1]:80", ["http://[::1]"], ["https://[::1]"]),
        ("10.0.0.0/8", ["http://10.9.8.7", "http://[::ffff:10.9.8.7]"], ["http://11.0.0.1", "http://10.test"]),
        ("10.1.2.3/8", ["http://10.9.8.7"], []),
        ("169.254/16", ["http://169.254.169.254"], ["http://169.255.0.1"]),
        ("fd00::/8", ["http://[fd12::1]"], ["http://[fe80::1]", "http://10.0.0.1"]),
        ("localhost:8080", ["http://localhost:8080"], ["http://localhost"]),
        ("10.0.0.1:443", ["https://10.0.0.1"], ["http://10.0.0.1"]),
        ("bücher.test", ["http://bücher.test", "http://xn--bcher-kva.test"], []),
        ("*", ["http://a", "https://[::1]"], []),
        ("a,*", ["http://b"], []),
        ("", [], ["http://a"]),
    ],
)
def test_addresses_networks_and_ports(entry: str, covered: list[str], others: list[str]) -> None:
    hosts = DirectHosts.parse(entry)
    assert [url for url in [*covered, *others] if hosts.cover(origin(url))] == covered


@pytest.mark.parametrize(
    "entry", ["10.0.0.0/33", "http://a", "a/8", "[a]", "[::1", "a:b", "a..b", "1:2:3", "**", "<local>"]
)
def test_an_exception_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ValueError):
        DirectHosts.parse(f"localhost,{entry}")


@given(st.text(), st.text())
def test_any_text_is_a_list_of_exceptions_or_a_value_error(text: str, host: str) -> None:
    try:
        hosts = DirectHosts.parse(text)
    except ValueError:
        return
    assert hosts.cover(Origin("http", host, 80)) in {True, False}


# --- the choice -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "settings", "proxy"),
    [
        ("https://a", Settings(), None),
        ("https://a", Settings(HTTPS_PROXY, HTTP_PROXY, ALL_PROXY), HTTPS_PROXY),
        ("http://a", Settings(HTTPS_PROXY, HTTP_PROXY, ALL_PROXY), HTTP_PROXY),
        ("https://a", Settings(None, HTTP_PROXY, ALL_PROXY), ALL_PROXY),
        ("http://a", Settings(HTTPS_PROXY), None),
        ("https://a", Settings(HTTPS_PROXY, no_proxy=DirectHosts.parse("a")), None),
        ("https://b", Settings(HTTPS_PROXY, no_proxy=DirectHosts.parse("a")), HTTPS_PROXY),
        ("http://localhost", Settings(all_proxy=ALL_PROXY), ALL_PROXY),
        ("http://127.0.0.1", Settings(all_proxy=ALL_PROXY), ALL_PROXY),
    ],
)
def test_the_scheme_of_the_origin_chooses_and_exceptions_come_first(
    url: str, settings: Settings, proxy: Proxy | None
) -> None:
    assert choose_proxy(origin(url), settings) == proxy


def test_the_configuration_is_such_settings() -> None:
    config = Config.parse({"HTTPS_PROXY": "http://proxy.test:3128", "NO_PROXY": "b"}, home=None)
    assert choose_proxy(origin("https://a"), config) == HTTPS_PROXY
    assert choose_proxy(origin("https://b"), config) is None


@pytest.mark.parametrize(("settings", "via"), [({}, None), ({"ALL_PROXY": "socks5://10.0.0.1"}, ALL_PROXY)])
def test_the_router_connects_as_the_settings_say(settings: dict[str, str], via: Proxy | None) -> None:
    scene = Scene(CREDENTIALS, UPSTREAM_BASE_URL="http://upstream.test", **settings)
    scene.shell.client().sends(post(scene.token))
    assert scene.shell.dialled.popleft().destination == Destination(Origin("http", "upstream.test", 80), via)


def test_a_connection_through_a_proxy_is_no_other_ways() -> None:
    here = origin("http://a")
    ways = [Destination(here), Destination(here, ALL_PROXY), Destination(here, guarded=True)]
    assert len(set(ways)) == 3
    assert [way.plain for way in ways] == [True, False, False]
