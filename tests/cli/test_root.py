import tomllib
from pathlib import Path

import pytest

from cli.root import main
from tests.cli.support import invoke
from tests.contracts.checkout import ROOT
from transports.version import version


def test_the_version_is_the_distributions(tmp_path: Path) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version() == declared
    assert invoke(["--version"], tmp_path).stdout == f"link-assistant-router {declared}\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["tokens", "issue", "--help"], 0),
        (["providers", "--help"], 0),
        (["doctor", "--help"], 0),
        (["--bogus"], 2),
        (["bogus"], 2),
        (["tokens", "bogus"], 2),
        (["serve", "--transport", "curio"], 2),
        (["--port"], 2),
        (["--verbose=maybe"], 2),
    ],
)
def test_exit_codes_tell_use_from_misuse(arguments: list[str], exit_code: int, tmp_path: Path) -> None:
    result = invoke(arguments, tmp_path)
    assert result.exit_code == exit_code
    assert (result.stdout == "") == (exit_code != 0)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["token"], "tokens"),
        (["docter"], "doctor"),
        (["tokens", "lst"], "list"),
        (["providers", "delete", "remove"], None),
        (["providers", "imprt"], "import"),
        (["--prot", "1"], "--port"),
        (["tokens", "list", "--jsn"], "--json"),
        (["tokens", "issue", "--max-request", "1"], "--max-requests"),
    ],
)
def test_what_was_probably_meant_is_said(arguments: list[str], meant: str | None, tmp_path: Path) -> None:
    result = invoke(arguments, tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert ("Did you mean" in result.stderr) == (meant is not None)
    assert meant is None or f"'{meant}'" in result.stderr


def test_main_ends_the_process_with_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tokens", "issue", "--port", "x"])
    assert ended.value.code == 2
    assert "ROUTER_PORT" in capsys.readouterr().err
