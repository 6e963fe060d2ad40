"""What a look at the router's surroundings brings: one line each, and what is wrong there."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

ALLOWED_TO_OTHERS = 0o077


class Severity(Enum):
    """``WARNING``: it works, but should be looked into. ``FAILURE``: the router cannot work like this."""

    WARNING = "warning"
    FAILURE = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, in words that hold no secret."""

    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result.

    :param label: what was looked at; unlike the value it does not change between versions.
    :param value: what is there.
    """

    label: str
    value: str
    findings: tuple[Finding, ...] = ()

    @property
    def status(self) -> str:
        """``ok``, or the worst of the findings."""
        severities = {finding.severity for finding in self.findings}
        worst = Severity.FAILURE if Severity.FAILURE in severities else Severity.WARNING
        return worst.value if severities else "ok"


def check(label: str, value: str, findings: Iterable[Finding] = ()) -> Check:
    """A check of any findings."""
    return Check(label, value, tuple(findings))


def warning(message: str) -> Finding:
    return Finding(Severity.WARNING, message)


def failure(message: str) -> Finding:
    return Finding(Severity.FAILURE, message)


def private(path: str) -> list[Finding]:
    """What is wrong with a file that nobody but its owner should read; a missing file is none of our concern here."""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return []
    if not mode & ALLOWED_TO_OTHERS:
        return []
    return [warning(f"other users of this machine may open {path} (mode {mode:04o}); try `chmod 600` on it")]


def may_write(directory: str) -> bool:
    """Whether this user may put files into it."""
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
