import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.completion import SHELLS
from tests.cli.support import invoke
from tests.contracts.checkout import ROOT

VARIABLE = "_LINK_ASSISTANT_ROUTER_COMPLETE"


def offered(words: str, folder: Path) -> list[str]:
    """What the program offers a bash for the last of these words, as its script asks."""
    asked = {VARIABLE: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    result = invoke([], folder, asked)
    assert result.exit_code == 0
    return result.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_for_the_name_of_the_program(shell: str, tmp_path: Path) -> None:
    result = invoke(["completion", shell], tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{VARIABLE}={shell}_complete" in result.stdout
    assert "link-assistant-router" in result.stdout


def test_another_shell_exits_2(tmp_path: Path) -> None:
    result = invoke(["completion", "tcsh"], tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("link-assistant-router to", ["plain,tokens"]),
        ("link-assistant-router tokens re", ["plain,revoke"]),
        ("link-assistant-router providers im", ["plain,import"]),
        ("link-assistant-router tokens issue --max-r", ["plain,--max-requests"]),
        ("link-assistant-router --storage-policy b", ["plain,binary", "plain,both"]),
        ("link-assistant-router serve --log-format ", ["plain,text", "plain,json"]),
        ("link-assistant-router doctor --on", ["plain,--online"]),
        ("link-assistant-router --claude-code-home x", ["file,x"]),
        ("link-assistant-router completion ", ["plain,bash", "plain,zsh", "plain,fish"]),
        ("link-assistant-router tokens issue --label ", []),
    ],
)
def test_commands_options_and_words_are_offered(words: str, offers: list[str], tmp_path: Path) -> None:
    assert offered(words, tmp_path) == offers


def test_settings_are_offered_behind_every_command(tmp_path: Path) -> None:
    assert offered("link-assistant-router tokens list --data", tmp_path) == ["plain,--data-dir"]


def test_settings_that_cannot_be_read_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".lenv").write_text("ROUTER_PORT: x\n")
    assert offered("link-assistant-router --port x to", tmp_path) == ["plain,tokens"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_a_bash_that_ran_the_script_completes(tmp_path: Path) -> None:
    program = tmp_path / "link-assistant-router"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli "$@"\n')
    program.chmod(0o755)
    asked = """
        eval "$(link-assistant-router completion bash)"
        COMP_WORDS=(link-assistant-router tokens re) COMP_CWORD=2
        _link_assistant_router_completion link-assistant-router
        echo "${COMPREPLY[@]}"
    """
    shell = subprocess.run(
        ["bash", "--norc", "-c", asked],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (shell.stdout, shell.stderr) == ("revoke\n", "")
