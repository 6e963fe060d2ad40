from pathlib import Path

import pytest

from cli.options import SETTING_OPTIONS
from protocol.config import SETTINGS
from protocol.settings import Setting
from tests.cli.support import SECRET, invoke

ISSUE = ("tokens", "issue")

VALUED = [row for row in SETTINGS if row.flag and not row.is_switch]


def test_every_setting_with_a_flag_is_an_option() -> None:
    assert [option.opts for option in SETTING_OPTIONS] == [[row.flag] for row in SETTINGS if row.flag]


@pytest.mark.parametrize("row", VALUED, ids=lambda row: row.flag)
def test_a_wrong_value_exits_2_and_names_the_option_and_what_is_allowed(row: Setting, tmp_path: Path) -> None:
    wrong = "\udc80" if row.kind.secret else "\0"
    result = invoke([*ISSUE, f"{row.flag}={wrong}"], tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {row.label}: cannot use ")
    assert result.stderr.endswith(f"allowed: {row.kind.allowed} (from the command line)\n")


@pytest.mark.parametrize(
    ("environment", "lenv", "dotenv", "place"),
    [
        ({"VERBOSE": "maybe"}, "", "", "the environment"),
        ({}, "\nVERBOSE: maybe\n", "", ".lenv line 2"),
        ({}, "", "VERBOSE=maybe\n", ".env line 1"),
    ],
)
def test_a_wrong_value_is_traced_to_its_source(
    environment: dict[str, str], lenv: str, dotenv: str, place: str, tmp_path: Path
) -> None:
    (tmp_path / ".lenv").write_text(lenv)
    (tmp_path / ".env").write_text(dotenv)
    result = invoke(ISSUE, tmp_path, environment)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: --verbose / VERBOSE: cannot use 'maybe'; "
        f"allowed: true, false (also 1, 0, yes, no, on, off) (from {place})\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "x", "tokens", "issue"],
        ["tokens", "--port", "x", "issue"],
        ["tokens", "issue", "--port", "x"],
        ["--port", "1", "tokens", "issue", "--port=x"],
    ],
)
def test_settings_stand_before_or_after_the_command_and_the_last_one_counts(
    arguments: list[str], tmp_path: Path
) -> None:
    result = invoke(arguments, tmp_path)
    assert result.exit_code == 2
    assert "--port / ROUTER_PORT: cannot use 'x'" in result.stderr


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    result = invoke([*ISSUE, "--port", "80"], tmp_path, {"ROUTER_PORT": "x", "TOKEN_SECRET": SECRET})
    assert result.exit_code == 0


@pytest.mark.parametrize("word", ["1", "TRUE", "yes", "On", "0", "false", "No", "OFF", ""])
def test_a_boolean_takes_every_usual_word(word: str, tmp_path: Path) -> None:
    result = invoke(ISSUE, tmp_path, {"DISABLE_ANTHROPIC_API": word, "TOKEN_SECRET": SECRET})
    assert result.exit_code == 0


@pytest.mark.parametrize("provider", ["gonka", "Crater", "forgefed"])
def test_a_provider_that_is_yet_to_come_exits_2(provider: str, tmp_path: Path) -> None:
    result = invoke(ISSUE, tmp_path, {"UPSTREAM_PROVIDER": provider})
    assert result.exit_code == 2
    assert "not available in this version; allowed: anthropic" in result.stderr


def test_a_pattern_that_no_route_can_have_exits_2(tmp_path: Path) -> None:
    result = invoke([*ISSUE, "--extra-upstream-paths", "/v1/agents, /v1/models?limit=1"], tmp_path)
    assert result.exit_code == 2
    assert "--extra-upstream-paths / EXTRA_UPSTREAM_PATHS: cannot use '/v1/models?limit=1'" in result.stderr


def test_warnings_about_the_sources_are_logged(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("TOKEN_SECRET=x\n")
    result = invoke(ISSUE, tmp_path, {"TOKEN_SECRET": SECRET})
    assert result.exit_code == 0
    assert " WARN .lenv line 1 has no effect" in result.stderr


def test_a_log_that_is_off_is_silent(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("RUST_LOG: off\nTOKEN_SECRET=x\n")
    assert invoke(ISSUE, tmp_path, {"TOKEN_SECRET": SECRET}).stderr == ""


@pytest.mark.parametrize("command", [[], ["serve"], ["tokens"], ["tokens", "issue"]])
def test_help_never_shows_a_value_of_the_environment(command: list[str], tmp_path: Path) -> None:
    environment = {row.env: "hush" for row in SETTINGS}
    result = invoke([*command, "--help"], tmp_path, environment)
    assert result.exit_code == 0
    assert "hush" not in result.output


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_help_lists_every_setting_with_its_environment_name(command: list[str], tmp_path: Path) -> None:
    words = set(
        invoke([*command, "--help"], tmp_path).stdout.replace("[", " ").replace("]", " ").replace(";", " ").split()
    )
    assert {row.flag for row in SETTINGS if row.flag} <= words
    assert {row.env for row in SETTINGS if row.flag} <= words


def test_help_of_other_commands_is_about_them(tmp_path: Path) -> None:
    shown = invoke(["tokens", "issue", "--help"], tmp_path).stdout
    assert "--ttl-hours" in shown
    assert "--max-head-bytes" not in shown
    assert "link-assistant-router --help" in shown
