"""Files as the core asks for them; every function here may block and runs outside the event loop."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from protocol.commands import JobResult
from protocol.files import FileContent, FilesLoaded, FilesUnchanged, Missing, Unreadable


def load(paths: Sequence[str], fingerprint: object | None) -> JobResult:
    """Read small files, unless none has changed since the result that carried ``fingerprint``."""
    current = tuple(_identity(path) for path in paths)
    if current == fingerprint:
        return FilesUnchanged()
    return FilesLoaded([(path, _content(path)) for path in paths], current)


def _identity(path: str) -> object:
    """What changes when a file is rewritten, replaced, removed, or made readable."""
    try:
        status = os.stat(path)
    except OSError as error:
        return error.errno
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, status.st_ctime_ns


def _content(path: str) -> FileContent:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return Unreadable("not a regular file")
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Missing()
    except OSError as error:
        return Unreadable(error.strerror or type(error).__name__)
