"""``doctor`` as a user runs it, its result by label."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.cli.support import SECRET, invoke

QUIET: Final = {
    "ROUTER_HOST": "127.0.0.1",
    "ROUTER_PORT": "0",
    "TOKEN_SECRET": SECRET,
    "TOKEN_ADMIN_KEY": "an-admin-key-of-some-length",
    "ANTHROPIC_API_KEY": "sk-ant-api03-hush",
}
"""Settings that doctor finds nothing wrong with."""

ACCESS, REFRESH = "sk-ant-oat01-hush", "sk-ant-ort01-hush"


@dataclass(frozen=True)
class Seen:
    """One check: its value, and what was found."""

    value: str
    status: str
    findings: list[str]


def examined(folder: Path, *arguments: str, settings: Mapping[str, str] = QUIET, **others: str) -> dict[str, Seen]:
    """The checks by label; of two with one label the later."""
    environment = {**settings, "DATA_DIR": str(folder / "data"), **others}
    result = invoke(["doctor", "--json", *arguments], folder, environment)
    answer: dict[str, Any] = json.loads(result.stdout)
    statuses = {made["status"] for made in answer["checks"]}
    assert result.exit_code == (1 if "failed" in statuses else 0)
    for secret in (SECRET, QUIET["TOKEN_ADMIN_KEY"], "hush"):
        assert secret not in result.output
    return {
        made["label"]: Seen(made["value"], made["status"], [finding["message"] for finding in made["findings"]])
        for made in answer["checks"]
    }


def write_login(
    home: Path,
    *,
    seconds: float | None = 3600,
    refresh: str | None = REFRESH,
    access: str = ACCESS,
    file: str = ".credentials.json",
    mode: int = 0o600,
) -> Path:
    """A login as Claude Code writes it, which expires in so many seconds; the path of its file."""
    home.mkdir(parents=True, exist_ok=True)
    login: dict[str, object] = {"accessToken": access}
    if refresh is not None:
        login["refreshToken"] = refresh
    if seconds is not None:
        login["expiresAt"] = int((time.time() + seconds) * 1000)
    path = home / file
    path.write_text(json.dumps({"claudeAiOauth": login}))
    path.chmod(mode)
    return path
