"""Which version of the router this is."""

import tomllib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "link-assistant-router"


def version() -> str:
    """The installed distribution's version; in a checkout that is not installed, the one it would have."""
    try:
        return installed_version(DISTRIBUTION)
    except PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
