"""What the core tells the shell to do. Every input method of the gateway returns a list of these, in order.

Facts go in as method calls in the past tense, orders come out as these values in the imperative; nothing else crosses.
"""

from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import TypeAlias

import msgspec

from protocol.egress import Destination
from protocol.files import FilesLoaded, FilesUnchanged, Update, UpdateFailed
from protocol.login_jobs import FileResult, FileWork
from protocol.values import ConnId, JobId


class Write(msgspec.Struct, frozen=True, gc=False):
    """Send ``data`` on ``conn``, at once if the socket takes it, else as soon as it does."""

    conn: ConnId
    data: bytes


class Close(msgspec.Struct, frozen=True):
    """Close ``conn`` once what was written has gone out; nothing more is reported of it.

    ``reset`` asks for an abortive close (TCP RST), for peers that would take a plain end for a complete answer.
    """

    conn: ConnId
    reset: bool = False


class ShutdownWrite(msgspec.Struct, frozen=True):
    """Send what was written, then end the sending side only, so that the last bytes survive unread input."""

    conn: ConnId


class Pause(msgspec.Struct, frozen=True):
    """Stop reading ``conn`` until ``Resume``."""

    conn: ConnId


class Resume(msgspec.Struct, frozen=True):
    """Read ``conn`` again."""

    conn: ConnId


class Connect(msgspec.Struct, frozen=True):
    """Open a connection to ``destination`` (verified TLS for https) and report ``connected`` or ``lost``."""

    conn: ConnId
    destination: Destination


class LoadFiles(msgspec.Struct, frozen=True):
    """Read ``paths`` and report ``completed`` with FilesLoaded, or with FilesUnchanged since ``fingerprint``."""

    job: JobId
    paths: Sequence[str]
    fingerprint: object | None = None


class UpdateFiles(msgspec.Struct, frozen=True):
    """Under the lock file ``lock``: read ``paths``, put in place what ``update`` makes of them, each file as a whole or
    not at all, and report ``completed`` with what they hold then (FilesLoaded), or with UpdateFailed.
    """

    job: JobId
    lock: str
    paths: Sequence[str]
    update: Update


class AppendFile(msgspec.Struct, frozen=True):
    """Append ``data`` to a file, at once and lastingly, and report ``completed`` with None or with UpdateFailed."""

    job: JobId
    path: str
    data: bytes


class WorkOnLogin(msgspec.Struct, frozen=True):
    """Carry out ``work`` on a credential file and report ``completed`` with its result."""

    job: JobId
    work: FileWork


class LogLevel(IntEnum):
    """As in the ``RUST_LOG`` convention."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4


class Log(msgspec.Struct, frozen=True):
    """One log record: a sentence and its named values, free of secrets by construction."""

    level: LogLevel
    event: str
    fields: Mapping[str, str | int | float | None]


class StopListening(msgspec.Struct, frozen=True):
    """Accept no further connections."""


class Drained(msgspec.Struct, frozen=True):
    """Everything has ended; the shell may exit."""


Job: TypeAlias = LoadFiles | UpdateFiles | AppendFile | WorkOnLogin
"""What is done off the event loop."""

Command: TypeAlias = Write | Close | ShutdownWrite | Pause | Resume | Connect | Job | Log | StopListening | Drained


class Loss(Enum):
    """Why a connection is gone, as far as the shell can tell."""

    REFUSED = "connection refused"
    UNRESOLVED = "host name not found"
    TLS = "TLS failure"
    RESET = "connection reset"
    FAILED = "connection failed"


JobResult: TypeAlias = FilesLoaded | FilesUnchanged | UpdateFailed | FileResult | None
