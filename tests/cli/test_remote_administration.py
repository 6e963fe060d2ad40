"""``tokens`` and ``providers`` with ``--url``: a running router does it, and the answers look the same."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from protocol.identity.tokens import TokenVerifier
from protocol.values import Secret
from tests.cli.support import SECRET, invoke
from tests.live.routers import RunningRouter
from tests.support.site import Site, http_answer

ADMIN_KEY = "an-admin-key-of-some-length"
LITELLM = ("--name", "litellm", "--base-url", "http://litellm:4000/v1", "--model", "claude-sonnet")
KEY = "sk-hunter2"

pytestmark = pytest.mark.slow


class Administered:
    """A router with an admin key, and the program as its operator uses it from elsewhere and from its own machine."""

    def __init__(self, data_dir: Path, router: RunningRouter, elsewhere: Path) -> None:
        self.data_dir = data_dir
        self.router = router
        self.elsewhere = elsewhere

    def ask(self, *arguments: str, key: str = ADMIN_KEY, stdin: bytes = b"") -> Result:
        environment = {"TOKEN_ADMIN_KEY": key, "DATA_DIR": str(self.elsewhere / "unused")}
        result = invoke([*arguments, "--url", self.router.origin], self.elsewhere, environment, stdin)
        assert ADMIN_KEY not in result.output
        assert KEY not in result.output
        return result

    def json(self, *arguments: str) -> Any:
        result = self.ask(*arguments)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def here(self, *arguments: str) -> Result:
        """The same in the router's own data directory, without asking it."""
        return invoke(arguments, self.elsewhere, {"TOKEN_SECRET": SECRET, "DATA_DIR": str(self.data_dir)})


@pytest.fixture(scope="module")
def administered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Administered]:
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        settings = {"DATA_DIR": str(data_dir), "TOKEN_ADMIN_KEY": ADMIN_KEY}
        with RunningRouter("trio", "http://127.0.0.1:9", **settings) as router:
            yield Administered(data_dir, router, tmp_path_factory.mktemp("elsewhere"))


def test_a_token_is_issued_by_the_router_alone_on_a_line(administered: Administered) -> None:
    result = administered.ask("tokens", "issue", "--label", "far", "--ttl-hours", "2")
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    claims = TokenVerifier(Secret(SECRET)).verify(result.stdout.strip().encode(), time.time())
    assert (claims.label, claims.exp - claims.iat) == ("far", 7200)
    assert not (administered.elsewhere / "unused").exists()


def test_a_router_answers_as_the_files_do(administered: Administered) -> None:
    arguments = ["tokens", "issue", "--json", "--max-requests", "5", "--token-budget", "9", "--model", "claude-*"]
    there, here = administered.json(*arguments), json.loads(administered.here(*arguments).stdout)
    assert list(there) == list(here)
    for show in (["tokens", "show", there["id"]], ["tokens", "list"], ["tokens", "list", "--json"]):
        assert administered.ask(*show).stdout == administered.here(*show).stdout


@pytest.mark.parametrize("verb", ["revoke", "expire"])
def test_a_token_is_ended_at_the_router(verb: str, administered: Administered) -> None:
    token = administered.json("tokens", "issue", "--json")
    result = administered.ask("tokens", verb, token["token"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{verb.rstrip('e')}ed {token['id']}\n", "")
    record = administered.json("tokens", "show", token["id"])
    assert record["revoked"] == (verb == "revoke")
    assert (record["expires_at"] <= time.time()) == (verb == "expire")


@pytest.mark.parametrize(
    "arguments",
    [["tokens", "show"], ["tokens", "revoke"], ["tokens", "expire"], ["providers", "show"], ["providers", "remove"]],
)
def test_what_the_router_does_not_know_exits_2(arguments: list[str], administered: Administered) -> None:
    result = administered.ask(*arguments, "no-body")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "not found: no-body\n")


def test_a_refusal_of_the_router_exits_1_with_its_words(administered: Administered) -> None:
    result = administered.ask("tokens", "issue", "--ttl-hours", "1e9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "refuses: ttl_hours must be between" in result.stderr


@pytest.mark.parametrize("arguments", [["tokens", "issue"], ["tokens", "list"], ["providers", "list"]])
def test_without_the_admin_key_nothing_is_done(arguments: list[str], administered: Administered) -> None:
    result = administered.ask(*arguments, key="another-key")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "HTTP 401" in result.stderr
    assert "another-key" not in result.output


def test_providers_are_managed_at_the_router(administered: Administered) -> None:
    record = administered.json("providers", "add", *LITELLM, "--models", "a,b", "--api-key", KEY)
    assert (record["name"], record["models"], record["has_encrypted_api_key"]) == ("litellm", ["a", "b"], True)
    for show in (["providers", "show", "litellm"], ["providers", "list"], ["providers", "list", "--json"]):
        assert administered.ask(*show).stdout == administered.here(*show).stdout
    result = administered.ask("providers", "remove", "litellm")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "removed litellm\n", "")
    assert "litellm" not in [kept["name"] for kept in administered.json("providers", "list", "--json")["data"]]


def test_a_key_reaches_the_router_from_standard_input(administered: Administered) -> None:
    result = administered.ask("providers", "add", *LITELLM, "--api-key-stdin", stdin=b"sk-hunter2\n")
    assert json.loads(result.stdout)["has_encrypted_api_key"]


def test_a_provider_that_the_router_refuses_exits_1_with_its_words(administered: Administered) -> None:
    result = administered.ask("providers", "add", "--name", "x", "--base-url", "ftp://x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "refuses: base_url: expected" in result.stderr


def test_a_file_is_imported_into_the_router(administered: Administered) -> None:
    one_and_two = (
        "one\n base-url http://one\n api-key sk-hunter2\n models a, b\ntwo\n base-url http://two\n enabled no\n"
    )
    (administered.elsewhere / "file").write_text(one_and_two)
    result = administered.ask("providers", "import", "file")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "imported 2 provider(s)\n", "")
    one, two = (administered.json("providers", "show", name) for name in ("one", "two"))
    assert (one["models"], one["has_encrypted_api_key"], two["enabled"]) == (["a", "b"], True, False)


def test_a_sealed_key_is_for_no_other_router(administered: Administered) -> None:
    record = {"name": "x", "base_url": "http://x", "encrypted_api_key": "aes256gcm:AAAA"}
    (administered.elsewhere / "file").write_text(json.dumps(record))
    result = administered.ask("providers", "import", "file")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the key of provider 'x' is sealed" in result.stderr


def test_how_the_router_seals_keys_is_its_own_business(administered: Administered) -> None:
    result = administered.ask("providers", "add", *LITELLM, "--envelope", "v1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--envelope is for the store of this machine" in result.stderr


# --- others than routers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["tokens", "issue"], b"{}"),
        (["tokens", "issue"], b"[]"),
        (["tokens", "list"], b"{}"),
        (["tokens", "list"], b'{"data": [{}]}'),
        (["tokens", "list"], b'{"data": [{"id": 1}]}'),
        (["providers", "list"], b'{"data": {}}'),
        (["providers", "list"], b'{"data": [{"name": []}]}'),
    ],
)
def test_an_answer_of_another_shape_exits_1(arguments: list[str], answer: bytes, tmp_path: Path) -> None:
    with Site(http_answer(200, answer)) as site:
        result = invoke([*arguments, "--url", str(site.base)], tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")


def test_an_import_that_breaks_off_says_how_far_it_came(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one\n  base-url http://one/v1\ntwo\n  base-url http://two/v1\n")
    with Site(http_answer(507, b'{"error": {"message": "no room"}}')) as site:
        result = invoke(["providers", "import", "file", "--url", str(site.base)], tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("no room (HTTP 507); 0 of 2 providers were imported before that\n")
