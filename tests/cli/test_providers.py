import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from cli.provider_admin import StoredProviders
from protocol.config import Config
from protocol.identity.provider_desk import ProviderDesk
from protocol.identity.providers import ProviderRecord, read_store
from protocol.identity.sealing import Sealer
from protocol.values import Secret
from tests.cli.support import SECRET, invoke

LITELLM = ("--name", "litellm", "--base-url", "http://litellm:4000/v1")
README = (*LITELLM, "--model", "claude-sonnet", "--models", "claude-sonnet,gpt-4o")
KEY = "sk-hunter2"

LINKS = """\
litellm
  kind "openai-compatible"
  base-url "http://litellm:4000/v1"
  model "claude-sonnet"
  models "claude-sonnet,gpt-4o"
  api-key-env "LITELLM_MASTER_KEY"
"""


def run(folder: Path, *arguments: str, stdin: bytes = b"", **others: str) -> Result:
    settings = {"TOKEN_SECRET": SECRET, "DATA_DIR": str(folder / "data"), **others}
    result = invoke(["providers", *arguments], folder, settings, stdin)
    assert KEY not in result.output
    return result


def added(folder: Path, *arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    result = run(folder, "add", *arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def stored(folder: Path) -> dict[str, ProviderRecord]:
    path = folder / "data/providers.lenv"
    return read_store(str(path), path.read_bytes())


def key_of(folder: Path, name: str = "litellm") -> str | None:
    record = stored(folder)[name]
    if record.encrypted_api_key is None:
        return None
    return Sealer(Secret(SECRET)).open(record.encrypted_api_key, name, str(record.base_url)).reveal()


# --- adding -----------------------------------------------------------------------------------------------------------


def test_what_is_stored_is_printed_without_the_key(tmp_path: Path) -> None:
    result = run(tmp_path, "add", *README, "--api-key", KEY)
    assert result.exit_code == 0
    assert result.stdout == (
        "{\n"
        '  "name": "litellm",\n'
        '  "kind": "openai-compatible",\n'
        '  "base_url": "http://litellm:4000/v1",\n'
        '  "default_model": "claude-sonnet",\n'
        '  "models": [\n'
        '    "claude-sonnet",\n'
        '    "gpt-4o"\n'
        "  ],\n"
        '  "has_encrypted_api_key": true,\n'
        '  "enabled": true\n'
        "}\n"
    )
    assert key_of(tmp_path) == KEY
    assert KEY.encode() not in (tmp_path / "data/providers.lenv").read_bytes()


def test_a_key_on_the_command_line_is_warned_about(tmp_path: Path) -> None:
    assert "--api-key-stdin" in run(tmp_path, "add", *LITELLM, "--api-key", KEY).stderr
    assert run(tmp_path, "add", *LITELLM, "--api-key-env", "LITELLM_MASTER_KEY").stderr == ""


@pytest.mark.parametrize("stdin", [b"sk-hunter2", b"sk-hunter2\n", b" sk-hunter2\r\nmore\n"])
def test_a_key_may_come_from_standard_input(stdin: bytes, tmp_path: Path) -> None:
    assert added(tmp_path, *LITELLM, "--api-key-stdin", stdin=stdin)["has_encrypted_api_key"]
    assert key_of(tmp_path) == KEY


@pytest.mark.parametrize("stdin", [b"", b"\n", b"\xff\n"])
def test_standard_input_without_a_key_exits_2(stdin: bytes, tmp_path: Path) -> None:
    result = run(tmp_path, "add", *LITELLM, "--api-key-stdin", stdin=stdin)
    assert (result.exit_code, result.stdout) == (2, "")
    assert not (tmp_path / "data").exists()


def test_a_variable_is_stored_by_its_name(tmp_path: Path) -> None:
    record = added(tmp_path, *LITELLM, "--api-key-env", "LITELLM_MASTER_KEY")
    assert (record["api_key_env"], record["has_encrypted_api_key"]) == ("LITELLM_MASTER_KEY", False)


def test_a_stored_key_is_kept_until_an_empty_one_is_given(tmp_path: Path) -> None:
    added(tmp_path, *LITELLM, "--api-key", KEY)
    assert added(tmp_path, *README)["has_encrypted_api_key"]
    assert not added(tmp_path, *README, "--api-key", "")["has_encrypted_api_key"]


def test_a_stored_key_does_not_go_to_another_address(tmp_path: Path) -> None:
    added(tmp_path, *LITELLM, "--api-key", KEY)
    result = run(tmp_path, "add", "--name", "litellm", "--base-url", "http://elsewhere/v1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "give api_key or api_key_env again" in result.stderr
    assert key_of(tmp_path) == KEY


@pytest.mark.parametrize(
    ("envelope", "prefix"), [("v1", "aes256gcm:"), ("v2", "aes256gcm-v2:"), (None, "aes256gcm-v2:")]
)
def test_the_envelope_of_a_key_can_be_chosen(envelope: str | None, prefix: str, tmp_path: Path) -> None:
    added(tmp_path, *LITELLM, "--api-key", KEY, *(["--envelope", envelope] if envelope else []))
    sealed = stored(tmp_path)["litellm"].encrypted_api_key
    assert sealed is not None
    assert sealed.reveal().startswith(prefix)
    assert key_of(tmp_path) == KEY


def test_a_provider_may_be_stored_without_being_used(tmp_path: Path) -> None:
    record = added(
        tmp_path, *LITELLM, "--enabled", "no", "--api", "chat", "--proxy", "socks5h://p", "--models-prefix", "l"
    )
    assert (record["enabled"], record["api"], record["proxy"], record["models_prefix"]) == (
        False, "chat", "socks5h://p:1080", "l",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--name", "x"], "Missing option '--base-url'"),
        (["--base-url", "http://x"], "Missing option '--name'"),
        (["--name", "a b", "--base-url", "http://x"], "name: expected"),
        (["--name", "x", "--base-url", "ftp://x"], "base_url: expected"),
        (["--name", "x", "--base-url", "http://169.254.169.254/v1"], "base_url: no provider may be at"),
        (["--name", "x", "--base-url", "http://x", "--kind", "other"], "kind: expected"),
        (["--name", "x", "--base-url", "http://x", "--enabled", "maybe"], "enabled: expected"),
        (["--name", "x", "--base-url", "http://x", "--api-key", "two words"], "api_key: expected"),
        (["--name", "x", "--base-url", "http://x", "--api-key-env", "TOKEN_SECRET"], "is the router's own"),
        (["--name", "x", "--base-url", "http://x", "--api-key", "k", "--api-key-stdin"], "exclude each other"),
        (["--name", "x", "--base-url", "http://x", "--envelope", "v3"], "'v3' is not one of"),
        (["--name", "x", "--base-url", "http://x", "--model", "\udc80"], "it is not text in UTF-8"),
    ],
)
def test_a_provider_that_cannot_be_exits_2_and_names_the_field(
    arguments: list[str], problem: str, tmp_path: Path
) -> None:
    result = run(tmp_path, "add", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert not (tmp_path / "data/providers.lenv").exists()


def test_an_operator_may_allow_a_place_that_is_closed_otherwise(tmp_path: Path) -> None:
    closed = ["--name", "x", "--base-url", "http://169.254.169.254/v1"]
    assert run(tmp_path, "add", *closed, ALLOWED_PROVIDER_HOSTS="169.254.169.254").exit_code == 0


# --- looking and removing ---------------------------------------------------------------------------------------------


def test_the_list_has_the_columns_of_the_original(tmp_path: Path) -> None:
    added(tmp_path, *README)
    added(tmp_path, "--name", "a", "--base-url", "https://a.example", "--enabled", "false")
    assert run(tmp_path, "list").stdout == (
        "name                  kind                base_url                          enabled     default_model\n"
        "a                     openai-compatible   https://a.example                 false\n"
        "litellm               openai-compatible   http://litellm:4000/v1            true        claude-sonnet\n"
    )


def test_the_list_is_json_for_programs(tmp_path: Path) -> None:
    record = added(tmp_path, *README, "--api-key", KEY)
    assert json.loads(run(tmp_path, "list", "--json").stdout) == {"data": [record]}


def test_looking_makes_no_files(tmp_path: Path) -> None:
    assert json.loads(run(tmp_path, "list", "--json").stdout) == {"data": []}
    assert not (tmp_path / "data").exists()


def test_one_provider_is_shown_as_it_was_when_it_was_added(tmp_path: Path) -> None:
    record = added(tmp_path, *README, "--api-key", KEY)
    assert json.loads(run(tmp_path, "show", "litellm").stdout) == record


def test_a_provider_can_be_removed_once(tmp_path: Path) -> None:
    added(tmp_path, *README, "--api-key", KEY)
    first, second = run(tmp_path, "remove", "litellm"), run(tmp_path, "remove", "litellm")
    assert (first.exit_code, first.stdout, first.stderr) == (0, "removed litellm\n", "")
    assert (second.exit_code, second.stdout, second.stderr) == (2, "", "not found: litellm\n")
    assert stored(tmp_path) == {}


def test_a_provider_that_is_not_there_cannot_be_shown(tmp_path: Path) -> None:
    result = run(tmp_path, "show", "nobody")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "not found: nobody\n")


def test_a_store_that_cannot_be_understood_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data/providers.lenv"
    path.write_text("# providers\nPROVIDER: {\n")
    for arguments in (["list"], ["show", "x"], ["remove", "x"], ["add", *LITELLM]):
        result = run(tmp_path, *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"Error: {path}, line 2")
    assert path.read_text() == "# providers\nPROVIDER: {\n"


def test_commands_and_routers_lock_the_same_file(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path), token_secret=Secret(SECRET))
    StoredProviders(config, lambda _: None).add({"name": "a", "base_url": "http://a"})
    desk = ProviderDesk(Secret(SECRET), config, {})
    assert {str(path) for path in tmp_path.iterdir()} == {desk.lock, *desk.paths}


# --- importing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        LINKS,
        '{"name": "litellm", "base_url": "http://litellm:4000/v1"}',
        '{"providers": [{"name": "litellm", "base_url": "http://litellm:4000/v1"}]}',
        '[{"name": "litellm", "api_base": "http://litellm:4000/v1"}]',
        '# store\nPROVIDER: {"name": "litellm", "kind": "open-a-i-compatible", "base_url": "http://litellm:4000/v1"}\n',
    ],
)
@pytest.mark.parametrize("from_stdin", [False, True])
def test_providers_are_imported_from_every_form(content: str, from_stdin: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(content)
    result = run(tmp_path, "import", "-" if from_stdin else "file", stdin=content.encode())
    assert (result.exit_code, result.stdout, result.stderr) == (0, "imported 1 provider(s)\n", "")
    assert str(stored(tmp_path)["litellm"].base_url) == "http://litellm:4000/v1"


def test_a_store_of_the_original_is_imported_with_its_keys(tmp_path: Path) -> None:
    line = (
        'PROVIDER: {"name":"litellm","kind":"open-a-i-compatible","base_url":"http://l:1/v1","models":[],'
        '"encrypted_api_key":"aes256gcm:AAECAwQFBgcICQoL2r2J/wywEXY96fQIUEk6u5pOO4wAGBk=","enabled":true}\n'
    )
    (tmp_path / "theirs.lenv").write_text(line)
    assert run(tmp_path, "import", "theirs.lenv", TOKEN_SECRET="secret").exit_code == 0
    envelope = stored(tmp_path)["litellm"].encrypted_api_key
    assert envelope is not None
    assert Sealer(Secret("secret")).open(envelope, "litellm", "http://l:1/v1").reveal() == "sk-test"


def test_keys_in_an_imported_file_are_sealed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(f"litellm\n  base-url http://litellm:4000/v1\n  api-key {KEY}\n")
    assert run(tmp_path, "import", "file").exit_code == 0
    assert key_of(tmp_path) == KEY


@pytest.mark.parametrize(
    ("content", "place"), [("", "line 1"), ("a\n base-url http://a\n nonsense 1\n", "line 3"), ("[{}, 1", "line 1")]
)
def test_a_file_that_cannot_be_imported_exits_1_and_names_the_line(content: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(content)
    result = run(tmp_path, "import", "file")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: file, {place}: ")
    assert not (tmp_path / "data").exists()


def test_a_file_that_is_not_there_exits_1(tmp_path: Path) -> None:
    result = run(tmp_path, "import", "gone")
    assert (result.exit_code, result.stderr) == (1, "Error: cannot read gone: No such file or directory\n")
