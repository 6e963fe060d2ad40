"""The files of this checkout, as the contracts see them."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
SHIPPED: Final = ("protocol", "transports", "cli")
CODE: Final = (*SHIPPED, "tests", "fuzz", "benchmarks", "examples")
PROSE: Final = ("docs", "deploy", "changelog.d", ".ci")


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def text_files() -> Iterator[tuple[Path, str]]:
    """Every file that people read, with its text: code, pages, deployment material and what lies at the top."""
    inside = [path for folder in (*CODE, *PROSE) for path in (ROOT / folder).rglob("*")]
    at_the_top = list(ROOT.iterdir())
    for path in sorted(inside + at_the_top):
        if path.is_file() and "__pycache__" not in path.parts and "corpus" not in path.parts:
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def module_name(path: Path) -> str:
    """``protocol/wire/sse.py`` is ``protocol.wire.sse``; a package's ``__init__`` is the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Each module an import statement names, with its line; ``from a import b`` names both ``a`` and ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module, node.lineno
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def project() -> dict[str, Any]:
    """``pyproject.toml``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
