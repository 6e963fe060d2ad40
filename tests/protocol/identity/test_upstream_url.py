import pytest

from protocol.identity.upstream_url import OriginGuard, ProxyUrl, base_url, host_name

OPEN_HOSTS = [
    "api.openai.com",
    "litellm",
    "docker_service",
    "ollama.internal.",
    "localhost",
    "my-metadata.example",
    "münchen.example",
    "127.0.0.1",
    "127.1",
    "0x7f000001",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.10",
    "100.64.0.1",
    "8.8.8.8",
    "::1",
    "[::1]",
    "fd12:3456::1",
    "2606:4700::1111",
    "::ffff:10.0.0.1",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "1.example",
    "0x.example",
]

IPV4_SPELLINGS = [
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xA9FEA9FE",
    "0xa9fea9fe",
    "0x0000000000a9fea9fe",
    "025177524776",
    "0251.0376.0251.0376",
    "0000251.254.169.254",
    "0xa9.254.0251.0376",
    "169.254.43518",
    "169.16689662",
    "169.0xfea9fe",
    "１６９.254.169.254",
    "169。254。169。254",
    "①⑥⑨.254.169.254",
    "0ｘa9fea9fe",
]

IPV6_SPELLINGS = [
    "::ffff:169.254.169.254",
    "[::ffff:169.254.169.254]",
    "::ffff:a9fe:a9fe",
    "0:0:0:0:0:ffff:a9fe:a9fe",
    "::169.254.169.254",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
    "2001::5601:5601",
]

CLOSED_HOSTS = [
    *IPV4_SPELLINGS,
    *IPV6_SPELLINGS,
    "169.254.170.2",
    "169.254.0.1",
    "fe80::1",
    "febf::1",
    "fd00:ec2::254",
    "fd00:0ec2:0:0:0:0:0:254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "metadata.google.internal",
    "METADATA.Google.internal.",
    "metadata.goog",
    "metadata",
    "instance-data",
    "ｍetadata",
    "metadata。google。internal",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "0",
    "0x0",
    "0.1.2.3",
    "::",
    "0:0:0:0:0:0:0:0",
    "::ffff:0.0.0.0",
]

NO_HOSTS = [
    "",
    ".",
    "a..b",
    ".a",
    "a b",
    "127.1 x",
    "a/b",
    "a@b",
    "a\\b",
    "a%2eb",
    "a\x00b",
    "256.1.1.1",
    "1.2.3.4.5",
    "1.2.3.08",
    "4294967296",
    "0x100000000",
    "1.2.65536",
    "0x",
    "example.0x",
    "example.1",
    "1.2.3.４５６",
    "00000000169.254.169.254",
    "[",
    "[]",
    "[127.0.0.1",
    ":",
    "::1::",
    "fe80::1%eth0",
    "::1%1",
    "12345::",
    "a" * 64,
    "a." * 127 + "a",
    "\ud800",
]


@pytest.mark.parametrize("host", OPEN_HOSTS)
def test_names_and_private_networks_are_open(host: str) -> None:
    OriginGuard().check(host)


@pytest.mark.parametrize("host", CLOSED_HOSTS)
def test_what_no_provider_can_be_at_is_closed(host: str) -> None:
    with pytest.raises(ValueError, match="no provider may be at"):
        OriginGuard().check(host)


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_is_neither_address_nor_name_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"expected a host name|looks like an IP address"):
        OriginGuard().check(host)


@pytest.mark.parametrize("host", IPV4_SPELLINGS)
def test_every_spelling_of_an_ipv4_address_becomes_the_address(host: str) -> None:
    assert host_name(host) == "169.254.169.254"
    assert str(base_url(f"http://{host}:80/latest/")) == "http://169.254.169.254/latest"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("LiteLLM", "litellm"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("host.", "host."),
        ("0177.1", "127.0.0.1"),
        ("[2001:DB8:0:0::1]", "2001:db8::1"),
        ("::ffff:7f00:1", "127.0.0.1"),
    ],
)
def test_a_host_has_one_spelling(text: str, canonical: str) -> None:
    assert host_name(text) == canonical
    assert host_name(canonical) == canonical


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("169.254.169.254", "0xA9FEA9FE"),
        ("2852039166", "::ffff:a9fe:a9fe"),
        ("Metadata.Google.Internal", "metadata.google.internal."),
        ("fd00:ec2::254", "[fd00:0ec2::0254]"),
        ("0.0.0.0", "0"),
    ],
)
def test_the_operator_may_allow_a_host_in_any_spelling(allowed: str, host: str) -> None:
    guard = OriginGuard([allowed])
    guard.check(host)
    with pytest.raises(ValueError, match="no provider may be at"):
        guard.check("169.254.1.1")


def test_an_allowed_host_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="looks like an IP address"):
        OriginGuard(["http://example.com"])


@pytest.mark.parametrize("address", ["203.0.113.7", "10.0.0.8", "127.0.0.1", "::1", "2001:db8::1", "::ffff:10.0.0.8"])
def test_a_name_may_resolve_to_an_open_address(address: str) -> None:
    OriginGuard().check_resolved("litellm.example", address)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_a_name_that_resolves_to_a_closed_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"no provider may be at rebound\.example: its address"):
        OriginGuard().check_resolved("rebound.example", address)


@pytest.mark.parametrize("allowed", ["rebound.example", "169.254.169.254"])
def test_an_allowed_name_or_address_may_be_resolved_to(allowed: str) -> None:
    guard = OriginGuard([allowed])
    guard.check_resolved("rebound.example", "169.254.169.254")
    guard.check_resolved("rebound.example", "::ffff:169.254.169.254")
    with pytest.raises(ValueError, match="link-local"):
        guard.check_resolved("other.example", "169.254.1.1")


@pytest.mark.parametrize("address", ["", "example.com", "0xa9fea9fe", "1.2.3", "010.0.0.1"])
def test_a_resolver_answers_with_addresses_only(address: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        OriginGuard().check_resolved("example.com", address)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("http://litellm:4000/v1/", "http://litellm:4000/v1"),
        (" HTTPS://API.Example:443/v1 ", "https://api.example/v1"),
        ("http://[::FFFF:127.0.0.1]:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080/a/b//", "http://[::1]:8080/a/b"),
    ],
)
def test_a_base_url_has_one_spelling(text: str, canonical: str) -> None:
    assert str(base_url(text)) == canonical
    assert base_url(canonical) == base_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:4000",
        "file:///etc/passwd",
        "gopher://host/",
        "ftp://host/",
        "//host/v1",
        "http://",
        "http:///v1",
        "http://user:hunter2@host/",
        "http://hunter2@host/",
        "http://host/v1?key=hunter2",
        "http://host/v1#hunter2",
        "http://host:hunter2/",
        "http://host:99999/",
        "http://[hunter2]/",
        "http://169.254.169.254\\@hunter2.example/",
        "http://hunter2.example\\.169.254.169.254/",
        "http://host/a b",
        "http://fe80::1/",
        "http://[fe80::1%25eth0]/",
    ],
)
def test_what_is_no_base_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|looks like") as caught:
        base_url(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("HTTPS://Proxy/", "https://proxy:443"),
        ("socks5://127.1", "socks5://127.0.0.1:1080"),
        ("socks5h://[::1]:9050", "socks5h://[::1]:9050"),
    ],
)
def test_a_proxy_url_has_one_spelling(text: str, canonical: str) -> None:
    assert str(ProxyUrl.parse(text)) == canonical
    assert ProxyUrl.parse(canonical) == ProxyUrl.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "proxy:3128",
        "ftp://proxy",
        "socks4://proxy",
        "http://user:hunter2@proxy:3128",
        "http://proxy:0",
        "http://proxy:65536",
        "http://proxy:٣",
        "http://proxy/hunter2",
        "http://proxy?hunter2",
        "http://[::1",
        "http://a b",
        "http://256.1.1.1",
    ],
)
def test_what_is_no_proxy_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|looks like") as caught:
        ProxyUrl.parse(text)
    assert "hunter2" not in str(caught.value)
