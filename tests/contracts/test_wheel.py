"""What users install: three packages with their types, a command, the licence, and nothing else."""

import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.contracts.checkout import ROOT, SHIPPED, module_name, project, python_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")))
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> str:
    """The wheel's own metadata folder."""
    (name,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    return name


def test_the_wheel_ships_the_three_packages_and_nothing_else(wheel: zipfile.ZipFile, metadata: str) -> None:
    assert {name.partition("/")[0] for name in wheel.namelist()} == {*SHIPPED, metadata}


def test_the_wheel_ships_every_module_and_its_types(wheel: zipfile.ZipFile) -> None:
    shipped = {path.relative_to(ROOT).as_posix() for path in python_files(*SHIPPED)}
    assert {name for name in wheel.namelist() if name.endswith(".py")} == shipped
    assert {f"{package}/py.typed" for package in SHIPPED} <= set(wheel.namelist())


def test_the_wheel_names_its_command_version_and_licence(wheel: zipfile.ZipFile, metadata: str) -> None:
    headers = HeaderParser().parsestr(wheel.read(f"{metadata}/METADATA").decode())
    assert headers["Name"] == "link-assistant-router"
    assert headers["Version"] == project()["project"]["version"]
    assert headers["License-Expression"] == "Unlicense"
    assert f"{metadata}/licenses/LICENSE" in wheel.namelist()
    assert "link-assistant-router = cli.__main__:main" in wheel.read(f"{metadata}/entry_points.txt").decode()


def test_the_shipped_packages_import_without_the_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    modules = [module_name(path) for path in python_files(*SHIPPED) if path.name != "__main__.py"]
    program = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "for name in sys.argv[1:]:\n"
        f"    assert importlib.import_module(name).__file__.startswith({str(tmp_path)!r}), name\n"
    )
    child = subprocess.run(
        [sys.executable, "-B", "-P", "-c", program, *modules],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
