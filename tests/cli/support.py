"""The program as a user meets it: in this process for speed, or as a process of its own."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path

from click.testing import CliRunner, Result

from cli.output import PROGRAM
from cli.root import root
from protocol.config import SETTINGS
from tests.contracts.checkout import ROOT

SECRET = "a-secret-of-more-than-thirty-two-bytes"


def invoke(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, stdin: bytes = b""
) -> Result:
    """Run the program here, in ``folder``, with no settings but those of ``environment``."""
    clean: dict[str, str | None] = {name: None for row in SETTINGS for name in row.names}
    runner = CliRunner(env={**clean, "HOME": str(folder / "home"), **(environment or {})})
    with chdir(folder):
        return runner.invoke(root, list(arguments), prog_name=PROGRAM, input=stdin)


def start(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, module: str = "cli"
) -> subprocess.Popen[bytes]:
    """Start the program as a process of its own, in ``folder``, with no settings but those of ``environment``."""
    return subprocess.Popen(
        [sys.executable, "-bb", "-m", module, *arguments],
        cwd=folder,
        env={"HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
