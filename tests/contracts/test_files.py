"""What holds for every file: a size one person can hold in mind, and nothing left behind."""

import re
from pathlib import Path

import pytest

from tests.contracts.checkout import CODE, ROOT, python_files, text_files

MAX_LINES = 600
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
CONFLICT = re.compile(r"^(?:<{7}|>{7}|={7})(?: |$)", re.MULTILINE)
CREDENTIAL = re.compile(r"sk-ant-(?:oat|api)\d\d-[A-Za-z0-9_-]{40,}|-----BEGIN [A-Z ]*PRIVATE KEY-----")


@pytest.mark.parametrize("path", python_files(*CODE), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_at_most_600_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_no_file_is_unfinished_or_names_the_machine_it_was_written_on() -> None:
    patterns = [UNFINISHED, CONFLICT, CREDENTIAL]
    if len(ROOT.parts) > 2:  # /app is also a place in the container image
        patterns.append(re.compile(re.escape(str(ROOT))))
    found = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, hit.start()) + 1} {hit.group()!r}"
        for path, text in text_files()
        for pattern in patterns
        for hit in pattern.finditer(text)
    ]
    assert found == []
