"""``protocol`` does no I/O and reads no clock and no entropy: by what it names, and by what it does when it runs."""

import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.contracts.by_hand import an_eventful_day
from tests.contracts.checkout import ROOT, imported_modules, module_name, python_files

PROTOCOL = python_files("protocol")

THIRD_PARTIES = {"cryptography", "h11", "jwt", "msgspec"}

# What the core may use of the standard library: data, text, numbers. Everything else needs a reason to be added here.
STANDARD_LIBRARY = {
    "abc", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses", "datetime", "enum", "functools",
    "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math", "operator", "re", "string", "struct", "types",
    "typing", "urllib.parse", "uuid", "warnings", "zlib",
}  # fmt: skip

HARMLESS_NAMES = {
    "http",
    "http.HTTPStatus",
}  # the package has nothing but names of statuses; its submodules have sockets

AMBIENT_CALLS = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
    ("uuid", "uuid1"), ("uuid", "uuid4"), ("uuid", "getnode"),
}  # fmt: skip
AMBIENT_NAMES = {"uuid1", "uuid4", "getnode"}
AMBIENT_FUNCTIONS = {"print", "open", "input", "breakpoint", "exec", "eval", "__import__"}


def allowed(module: str) -> bool:
    if module in HARMLESS_NAMES or module.partition(".")[0] in THIRD_PARTIES | {"protocol"}:
        return True
    return any(module == name or module.startswith(f"{name}.") for name in STANDARD_LIBRARY)


@pytest.mark.parametrize("path", PROTOCOL, ids=module_name)
def test_a_core_module_imports_only_what_is_pure(path: Path) -> None:
    tree = ast.parse(path.read_bytes())
    forbidden = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for module, line in imported_modules(tree)
        if not allowed(module)
    ]
    assert forbidden == []


@pytest.mark.parametrize("path", PROTOCOL, ids=module_name)
def test_a_core_module_names_no_clock_no_entropy_and_no_console(path: Path) -> None:
    found = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        match node:
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
                ambient = (owner, name) in AMBIENT_CALLS
            case ast.Call(func=ast.Name(id=name)):
                ambient = name in AMBIENT_FUNCTIONS
            case ast.alias(name=name):
                ambient = name in AMBIENT_NAMES
            case _:
                continue
        if ambient:
            found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', '?')} uses {name}")
    assert found == []


@pytest.mark.parametrize("path", python_files("transports"), ids=module_name)
def test_a_transport_never_prints(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call)]
    assert [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"] == []


WATCH = """
    import importlib, json, sys
    import h11, jwt, msgspec   # jwt loads socket and ssl itself; what counts is what the core does

    seen = []

    def watch(event, arguments):
        if event == "open" and str(arguments[0]).endswith((".py", ".pyc", ".so")):
            return   # an import
        if event.partition(".")[0] in {"open", "socket", "ssl", "subprocess", "os", "shutil", "tempfile", "urllib"}:
            if event not in {"os.listdir", "os.scandir"}:   # the import system looks into folders
                seen.append(event)

    sys.addaudithook(watch)
"""
IMPORT_EVERYTHING = """
    for name in sys.argv[1:]:
        importlib.import_module(name)
    print(json.dumps(seen))
"""
RUN_A_DAY = """
    from tests.contracts.by_hand import an_eventful_day
    assert len(an_eventful_day().commands) > 20
    print(json.dumps(seen))
"""


def audited(program: str, *arguments: str) -> list[str]:
    """The audit events that a program reports on its last line; it runs by itself because a hook cannot be removed."""
    child = subprocess.run(
        [sys.executable, "-B", "-c", textwrap.dedent(WATCH) + textwrap.dedent(program), *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    events: list[str] = json.loads(child.stdout.splitlines()[-1])
    return events


def test_importing_the_core_opens_nothing() -> None:
    assert audited(IMPORT_EVERYTHING, *(module_name(path) for path in PROTOCOL)) == []


def test_running_the_core_opens_nothing() -> None:
    assert audited(RUN_A_DAY) == []


def test_the_audit_would_see_a_file_or_a_socket_being_opened() -> None:
    program = """
        import socket
        socket.socket().close()
        open("pyproject.toml").close()
        print(json.dumps(seen))
    """
    assert {"socket.__new__", "open"} <= set(audited(program))


def test_the_same_inputs_cause_the_same_commands() -> None:
    assert an_eventful_day().commands == an_eventful_day().commands
