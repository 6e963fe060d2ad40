"""What a server loads before it listens, and what it leaves for the day it is needed."""

import subprocess
import sys

import pytest

from protocol.config import Config
from tests.contracts.checkout import ROOT
from transports.server import new_trust

LOADS = """
import sys
import cli.serve, transports.trio, transports.asyncio
from protocol.config import Config
from transports.server import new_trust
new_trust(Config.parse({settings!r}, home=None))
print(sorted({{"anyio", "certifi", "httpcore", "socksio"}} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("settings", "loaded"),
    [({}, []), ({"HTTPS_PROXY": "http://proxy.test:3128"}, ["anyio", "certifi", "httpcore", "socksio"])],
)
def test_a_proxys_libraries_are_loaded_only_for_a_proxy(settings: dict[str, str], loaded: list[str]) -> None:
    program = LOADS.format(settings=settings)
    child = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == str(loaded)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"UPSTREAM_BASE_URL": "http://a", "OAUTH_TOKEN_URL": "https://b"},
        {"UPSTREAM_BASE_URL": "http://a", "OAUTH_REFRESH": "off", "HTTP_PROXY": "https://c"},
    ],
)
def test_a_ca_file_that_will_be_needed_has_to_be_good(settings: dict[str, str]) -> None:
    with pytest.raises(OSError, match="cannot use the CA file /nowhere"):
        new_trust(Config.parse({"UPSTREAM_CA_FILE": "/nowhere", **settings}, home=None))


@pytest.mark.parametrize("proxy", [{}, {"HTTP_PROXY": "http://c"}, {"ALL_PROXY": "socks5://c"}])
def test_a_ca_file_that_will_not_be_needed_is_not_read(proxy: dict[str, str]) -> None:
    plain = {"UPSTREAM_BASE_URL": "http://a", "OAUTH_REFRESH": "off", "UPSTREAM_CA_FILE": "/nowhere"}
    new_trust(Config.parse({**plain, **proxy}, home=None))
