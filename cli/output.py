"""What the program says: its version, its log on stderr, and errors with their exit codes. stdout is for results."""

import sys
import time
from collections.abc import Callable
from typing import IO, Final, TypeAlias

import click

from protocol.commands import Log
from protocol.config import Config
from transports.logs import LogWriter, least_level

Report: TypeAlias = Callable[[Log], None]

PROGRAM: Final = "link-assistant-router"


class ConfigurationError(click.ClickException):
    """The operator has something to correct before the program can run. Exit code 2, as for a wrong option."""

    exit_code = 2


class RuntimeFailure(click.ClickException):
    """The program cannot go on, although it was configured rightly. Exit code 1."""

    exit_code = 1


class NotFound(click.ClickException):
    """There is nothing of the name or id that was given. Exit code 2, and one plain line."""

    exit_code = 2

    def show(self, file: IO[str] | None = None) -> None:
        click.echo(f"not found: {self.message}", file=file, err=True)


def log_writer(config: Config) -> LogWriter:
    """Log lines on stderr, as the settings want them."""
    least = least_level(config.rust_log, verbose=config.verbose)
    return LogWriter(write_to_stderr, config.log_format, least, time.time)


def write_to_stderr(line: bytes) -> None:
    if sys.stderr is None:  # started without one: descriptor 2 may be a client's connection by now
        return
    buffered = sys.stderr.buffer
    # Unbuffered, because what a broken pipe leaves in the buffer would fail again at exit and change the exit code.
    getattr(buffered, "raw", buffered).write(line)
