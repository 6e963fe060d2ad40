import json
from pathlib import Path
from typing import Any

import pytest

from protocol.config import SETTINGS
from tests.cli.support import invoke

SHOW = ("--print-config",)


def shown(folder: Path, *arguments: str, **environment: str) -> dict[str, dict[str, Any]]:
    result = invoke([*SHOW, "--json", *arguments], folder, environment)
    assert result.exit_code == 0, result.stderr
    return {row["setting"]: row for row in json.loads(result.stdout)["settings"]}


def test_every_setting_is_there_in_the_order_of_the_table(tmp_path: Path) -> None:
    rows = shown(tmp_path)
    assert [(name, row["flag"]) for name, row in rows.items()] == [(row.env, row.flag) for row in SETTINGS]
    assert {row["source"] for row in rows.values()} == {"default"}


def test_each_value_says_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("# ours\nROUTER_HOST: 127.0.0.1\nLOG_FORMAT: json\n")
    (tmp_path / ".env").write_text("ROUTER_HOST=::1\nVERBOSE=on\n")
    rows = shown(tmp_path, "--disable-metrics", LOG_FORMAT="text")
    names = ("ROUTER_PORT", "ROUTER_HOST", "VERBOSE", "LOG_FORMAT", "DISABLE_METRICS")
    assert [(rows[name]["value"], rows[name]["source"]) for name in names] == [
        (8080, "default"),
        ("127.0.0.1", ".lenv line 2"),
        (True, ".env line 2"),
        ("text", "the environment"),
        (True, "the command line"),
    ]


def test_an_empty_value_is_told_from_none(tmp_path: Path) -> None:
    assert shown(tmp_path, ROUTER_PORT="")["ROUTER_PORT"] == {
        "setting": "ROUTER_PORT",
        "flag": "--port",
        "value": 8080,
        "source": "default, since it is empty in the environment",
    }


@pytest.mark.parametrize(
    ("name", "text", "value", "cell"),
    [
        ("UPSTREAM_PROVIDER", "Claude", "anthropic", "anthropic"),
        ("DRAIN_GRACE_SECS", "1.50", 1.5, "1.5"),
        ("DRAIN_GRACE_SECS", "300", 300.0, "300"),
        ("SSE_KEEPALIVE_SECS", "0", None, "<unset>"),
        ("MAX_HEAD_BYTES", "1 MiB", 1048576, "1048576"),
        ("UPSTREAM_BASE_URL", "HTTPS://Host/p/", "https://host/p", "https://host/p"),
        ("CLAUDE_CODE_HOME", "~/x", "{home}/x", "{home}/x"),
        ("ADDITIONAL_ACCOUNT_DIRS", "a, ~/b", ["a", "{home}/b"], "a,{home}/b"),
        ("ADDITIONAL_ACCOUNT_DIRS", "", [], "<unset>"),
        ("MODEL_MAP", "a=b, c=d", {"a": "b", "c": "d"}, "a=b,c=d"),
        ("ACCOUNT_REQUEST_LIMITS", "primary=5, 7", {"primary": 5, "*": 7}, "primary=5,*=7"),
        ("NO_PROXY", " .example, 10.0.0.0/8 ", ".example, 10.0.0.0/8", ".example, 10.0.0.0/8"),
        ("FALLBACK_MODEL", "", None, "<unset>"),
        ("DISABLE_METRICS", "no", False, "false"),
    ],
)
def test_values_are_shown_as_they_are_in_effect(name: str, text: str, value: Any, cell: str, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    expected = json.loads(json.dumps(value).replace("{home}", home))
    assert shown(tmp_path, **{name: text})[name]["value"] == expected
    table = invoke(SHOW, tmp_path, {name: text}).stdout
    (line,) = (line for line in table.splitlines() if line.startswith(f"{name} "))
    assert line.endswith(f"  {cell.replace('{home}', home)}")


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.kind.secret], ids=lambda row: row.env)
def test_of_a_secret_only_whether_there_is_one(row: Any, tmp_path: Path) -> None:
    hush = "http://user:hush@proxy" if row.kind.metavar == "URL" else "hush"
    assert shown(tmp_path, **{row.env: hush})[row.env]["value"] == "set"
    assert shown(tmp_path)[row.env]["value"] is None
    result = invoke(SHOW, tmp_path, {row.env: hush})
    assert "hush" not in result.output
    assert any(line.split() == [row.env, "the", "environment", "set"] for line in result.stdout.splitlines())


def test_a_table_is_what_people_get(tmp_path: Path) -> None:
    header, *rows = invoke(SHOW, tmp_path).stdout.splitlines()
    assert header.split() == ["setting", "source", "value"]
    assert len(rows) == len(SETTINGS)


def test_doubts_about_the_files_go_to_stderr(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("ROUTER_PRT: 1\n")
    result = invoke([*SHOW, "--json"], tmp_path)
    assert result.stderr == ".lenv line 1: ROUTER_PRT has no effect; did you mean ROUTER_PORT?\n"
    json.loads(result.stdout)


def test_it_stands_behind_serve_as_well(tmp_path: Path) -> None:
    assert invoke(["serve", *SHOW], tmp_path).stdout == invoke(SHOW, tmp_path).stdout


@pytest.mark.parametrize(
    "arguments", [["--json"], ["serve", "--json"], [*SHOW, "tokens", "list"], ["--json", "tokens", "list"]]
)
def test_where_it_makes_no_sense_it_is_refused(arguments: list[str], tmp_path: Path) -> None:
    result = invoke(arguments, tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--print-config" in result.stderr


def test_a_value_that_cannot_be_read_exits_2(tmp_path: Path) -> None:
    result = invoke(SHOW, tmp_path, {"ROUTER_PORT": "x"})
    assert (result.exit_code, result.stdout) == (2, "")
    assert "(from the environment)" in result.stderr
