"""Log records as lines on a stream: one write per record, text for people or JSON for programs."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, TypeAlias

from protocol.commands import Log, LogLevel
from protocol.config import LogFormat

Field: TypeAlias = str | int | float | None

LOG_TARGET: Final = "link_assistant_router"
"""What ``RUST_LOG`` directives call this program."""


class LogWriter:
    """Writes the records that are severe enough. A stream that is gone is no reason to stop: the line is lost.

    :param write: takes a whole line at once, such as an unbuffered stream's ``write``; a slow reader blocks it.
    :param least: the least severe level that is written; None = nothing is.
    :param wall: seconds since the epoch, now.
    """

    def __init__(
        self, write: Callable[[bytes], object], log_format: LogFormat, least: LogLevel | None, wall: Callable[[], float]
    ) -> None:
        self._write = write
        self._wall = wall
        self.become(log_format, least)

    def become(self, log_format: LogFormat, least: LogLevel | None) -> None:
        """Write in this form, and no less severe than this, from here on."""
        self._line = json_line if log_format is LogFormat.JSON else text_line
        self._least = least

    def __call__(self, log: Log) -> None:
        if self._least is None or log.level < self._least:
            return
        try:
            self._write(self._line(log, self._wall()))
        except (OSError, ValueError):  # a broken pipe, a full disk, a closed file
            return


def least_level(directives: str, *, verbose: bool) -> LogLevel | None:
    """The least severe level that a ``RUST_LOG`` text lets through, at most DEBUG if ``verbose``; None = nothing.

    The text is a list such as ``warn,link_assistant_router=debug``: a directive for us, or for one of our modules,
    wins over a bare level, and without either it is INFO. Other programs read the same variable, so what is not for us
    or not understood has no effect.
    """
    bare: LogLevel | None = LogLevel.INFO
    ours: list[LogLevel | None] = []
    for directive in directives.split(","):
        target, equals, level = (part.strip() for part in directive.partition("="))
        if not equals and target.lower() in LEVELS:
            bare = LEVELS[target.lower()]
        elif target.partition("::")[0] == LOG_TARGET and (level or "trace").lower() in LEVELS:
            ours.append(LEVELS[(level or "trace").lower()])
    chosen = min(ours, key=severity) if ours else bare
    return min(chosen, LogLevel.DEBUG, key=severity) if verbose else chosen


def severity(level: LogLevel | None) -> float:
    return math.inf if level is None else level


LEVELS: Final[Mapping[str, LogLevel | None]] = {
    "off": None, "error": LogLevel.ERROR, "warn": LogLevel.WARN, "info": LogLevel.INFO, "debug": LogLevel.DEBUG,
    "trace": LogLevel.TRACE,
    "0": None, "1": LogLevel.ERROR, "2": LogLevel.WARN, "3": LogLevel.INFO, "4": LogLevel.DEBUG, "5": LogLevel.TRACE,
}  # fmt: skip
"""Level names and numbers as the ``RUST_LOG`` convention has them."""


def text_line(log: Log, wall: float) -> bytes:
    """``2026-11-23T02:40:38.123456Z  INFO the event key=value key="two words"``, whatever the values hold."""
    fields = "".join(f" {escaped(key)}={shown(value)}" for key, value in log.fields.items())
    return f"{timestamp(wall)} {log.level.name:>5} {escaped(log.event)}{fields}\n".encode()


def json_line(log: Log, wall: float) -> bytes:
    """One flat object: ``timestamp``, ``level``, ``message``, then the fields, which cannot replace those three."""
    record: dict[str, Field] = {"timestamp": timestamp(wall), "level": log.level.name, "message": log.event}
    for key, value in log.fields.items():
        record.setdefault(key, None if isinstance(value, float) and not math.isfinite(value) else value)
    # ASCII only: nothing in the line can steer a terminal, and lone surrogates survive.
    return json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def timestamp(wall: float) -> str:
    second = math.floor(wall)
    return f"{_to_the_second(second)}.{int((wall - second) * 1e6):06}Z"


@lru_cache(maxsize=2)
def _to_the_second(second: int) -> str:
    """Formatting a date costs more than the rest of a line, and lines come many to the second."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def shown(value: Field) -> str:
    """A field's value: bare where it cannot be misread, else in quotes with its quotes and backslashes escaped."""
    if not isinstance(value, str):
        return "null" if value is None else str(value)
    if value and value.isprintable() and not AMBIGUOUS.intersection(value):
        return value
    return '"' + escaped(value.replace("\\", "\\\\").replace('"', '\\"')) + '"'


AMBIGUOUS: Final = frozenset(' "\\=')


def escaped(text: str) -> str:
    """``text`` with everything that is not plainly visible (line ends, terminal codes, bidi marks) spelled out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else spelled(char) for char in text)


def spelled(char: str) -> str:
    return SHORT_ESCAPES.get(char) or f"\\u{{{ord(char):x}}}"


SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
