import json
from pathlib import Path

import pytest

from cli.doctor import all_checks
from cli.sources import Sources
from protocol.config import SETTINGS, Config
from protocol.values import Secret
from tests.cli.checks.support import ACCESS, QUIET, REFRESH, write_login
from tests.cli.support import SECRET, invoke
from transports.version import version


def run(folder: Path, *arguments: str, **others: str) -> tuple[int, str]:
    result = invoke(["doctor", *arguments], folder, {**QUIET, "DATA_DIR": str(folder / "data"), **others})
    assert result.stderr == ""
    return result.exit_code, result.stdout


def test_a_line_for_each_check_with_its_label_in_23_columns(tmp_path: Path) -> None:
    assert run(tmp_path) == (
        0,
        f"""\
Link.Assistant.Router v{version()}
listen_addr            : 127.0.0.1:0
upstream_provider      : anthropic
upstream_base_url      : https://api.anthropic.com
openai_provider        : litellm (http://localhost:4000/v1)
claude_code_home       : {tmp_path}/home/.claude
data_dir               : {tmp_path}/data
storage_policy         : Both
enable_openai_api      : true
enable_anthropic_api   : true
enable_metrics         : true
additional_account_dirs: 0 configured
admin_key              : set
settings_files         : <none>
token_secret           : set
port                   : any free one
primary credentials    : ANTHROPIC_API_KEY (set)
data_dir               : will be created on first write
lino store             : {tmp_path}/data/tokens.lino (<empty>)
binary store           : {tmp_path}/data/tokens.bin (<empty>)
usage store            : {tmp_path}/data/token_usage.json (<empty>)
provider store         : {tmp_path}/data/providers.lenv (<empty>)

0 failed, 0 warnings
""",
    )


def test_what_was_found_stands_below_its_line_and_is_counted(tmp_path: Path) -> None:
    code, shown = run(tmp_path, ANTHROPIC_API_KEY="", TOKEN_ADMIN_KEY="short")
    assert code == 1
    assert (
        "admin_key              : set\n"
        "  WARNING: it has less than 16 characters and may be guessed\n"
        "settings_files         : <none>\n"
    ) in shown
    assert (
        f"primary credentials    : {tmp_path}/home/.claude (MISSING)\n"
        "  FAILED: no credential was found: log in with Claude Code and "
    ) in shown
    assert shown.endswith("\n\n1 failed, 1 warning\n")


@pytest.mark.parametrize(("others", "code"), [({}, 0), ({"TOKEN_SECRET": "weak"}, 0), ({"ANTHROPIC_API_KEY": ""}, 1)])
def test_the_exit_code_tells_of_failures_and_not_of_warnings(others: dict[str, str], code: int, tmp_path: Path) -> None:
    assert [run(tmp_path, *arguments, **others)[0] for arguments in ([], ["--json"])] == [code, code]


def test_json_has_the_same_and_every_setting(tmp_path: Path) -> None:
    code, shown = run(tmp_path, "--json", TOKEN_ADMIN_KEY="short")
    answer = json.loads(shown)
    assert code == 0
    assert list(answer) == ["version", "failed", "warnings", "checks", "settings"]
    assert (answer["version"], answer["failed"], answer["warnings"]) == (version(), 0, 1)
    assert {
        "label": "admin_key",
        "value": "set",
        "status": "warning",
        "findings": [{"severity": "warning", "message": "it has less than 16 characters and may be guessed"}],
    } in answer["checks"]
    assert [row["setting"] for row in answer["settings"]] == [row.env for row in SETTINGS]


def test_verbose_adds_where_every_value_came_from(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("# ours\nVERBOSE: yes\n")
    _, shown = run(tmp_path)
    assert "\n\nsetting " in shown
    assert any(line.split() == ["VERBOSE", ".lenv", "line", "2", "true"] for line in shown.splitlines())


def test_looking_changes_nothing_and_shows_no_secret(tmp_path: Path) -> None:
    write_login(tmp_path / "home/.claude", seconds=-60)
    write_login(tmp_path / "data")
    (tmp_path / "data/token_secret").write_text(SECRET)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for arguments in ([], ["--json"], ["--verbose"]):
        _, shown = run(tmp_path, *arguments, TOKEN_SECRET="")
        for secret in (SECRET, ACCESS, REFRESH, QUIET["TOKEN_ADMIN_KEY"], QUIET["ANTHROPIC_API_KEY"]):
            assert secret not in shown
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_names_of_files_cannot_command_the_terminal(tmp_path: Path) -> None:
    _, shown = run(tmp_path, CLAUDE_CODE_HOME="\x1b[2J")
    assert "\x1b" not in shown


def test_a_setting_that_cannot_be_read_exits_2(tmp_path: Path) -> None:
    result = invoke(["doctor"], tmp_path, {"ROUTER_PORT": "x"})
    assert (result.exit_code, result.stdout) == (2, "")
    assert "ROUTER_PORT" in result.stderr


def test_labels_stay_short(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path), token_secret=Secret(SECRET), port=0, additional_account_dirs=("a",) * 100)
    labels = [made.label for made in all_checks(config, Sources({}, {}, ()), online=False)]
    assert "extra account 100" in labels
    assert max(map(len, labels)) == 23


def test_a_machine_without_a_home_is_looked_at_too(tmp_path: Path) -> None:
    _, shown = run(tmp_path, HOME="")
    assert "\nclaude_code_home       : /root/.claude\n" in shown
