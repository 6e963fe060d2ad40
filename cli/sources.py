"""Where settings come from: the command line, then the environment, then ``.lenv``, then ``.env``, then the defaults.

The two files are looked for in the current directory only. An empty value counts: it hides what later sources say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Final

from dotenv.parser import parse_stream

from cli.output import ConfigurationError
from protocol.config import SETTINGS


@dataclass(frozen=True, slots=True)
class Entry:
    """One value that was found, and where, in words that follow "from"."""

    key: str
    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The texts that count, by environment name, where each was found, and what an operator should know about them.

    :param others: keys in the files that are no settings of ours, and where.
    """

    values: Mapping[str, str]
    places: Mapping[str, str]
    warnings: tuple[str, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says: its entries in order, the last of a key counting, and warnings about its lines."""

    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]


def gather(command_line: Mapping[str, str], environment: Mapping[str, str], directory: Path) -> Sources:
    """Merge the sources by their order.

    :param command_line: values of the options that were given, by environment name.
    :raises ConfigurationError: a file is there but cannot be read.
    """
    lenv = read_lenv(file_text(directory / ".lenv"), ".lenv")
    dotenv = read_dotenv(file_text(directory / ".env"), ".env")
    found: dict[str, Entry] = {}
    for layer in (
        (Entry(key, text, "the command line") for key, text in command_line.items()),
        (Entry(key, environment[name], "the environment") for name, key in NAMES.items() if name in environment),
        lenv.entries,
        dotenv.entries,
    ):
        # Within a layer the last entry of a key counts, between layers the first.
        found = {entry.key: entry for entry in layer if entry.key in KNOWN} | found
    ahead = (
        f"{key} in the environment has no effect in this version"
        for key in ORIGINALS
        if key in environment and key not in KNOWN
    )
    return Sources(
        {key: entry.text for key, entry in found.items()},
        {key: entry.place for key, entry in found.items()},
        (*ahead, *lenv.warnings, *dotenv.warnings),
        tuple(f"{entry.key} ({entry.place})" for entry in (*lenv.entries, *dotenv.entries) if entry.key not in KNOWN),
    )


def read_lenv(text: str, name: str) -> Reading:
    """Read ``KEY: value`` lines.

    The first ``": "`` divides; the value is all that follows, blanks included, less a pair of quotes around it. Blank
    lines and lines that begin with ``#`` say nothing, and there are no comments after a value.
    """
    entries, warnings = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        place = f"{name} line {number}"
        key, divider, value = line.removesuffix("\r").partition(": ")
        if not divider:
            warnings.append(f'{place} has no effect: it is not "KEY: value", with a colon and a blank')
            continue
        entry = Entry(NAMES.get(key.strip(), key.strip()), unquoted(value), place)
        entries.append(entry)
        warnings += doubts(entry)
        if entry.key in VERBATIM and entry.text != entry.text.strip():
            warnings.append(f"{place}: the blanks around the value of {entry.key} belong to it; quotes make that plain")
    return Reading(tuple(entries), tuple(warnings))


def read_dotenv(text: str, name: str) -> Reading:
    """Read ``KEY=value`` lines as dotenv has them: ``export``, quotes, escapes, comments; nothing is interpolated."""
    entries, warnings = [], []
    for binding in parse_stream(StringIO(text)):
        place = f"{name} line {first_line(binding.original.line, binding.original.string)}"
        if binding.error:
            warnings.append(f'{place} has no effect: it is not "KEY=value"')
        elif binding.key is not None and binding.value is not None:
            entry = Entry(NAMES.get(binding.key, binding.key), binding.value, place)
            entries.append(entry)
            warnings += doubts(entry)
    return Reading(tuple(entries), tuple(warnings))


def first_line(line: int, statement: str) -> int:
    """The parser counts the blank lines before a statement as part of it; people do not."""
    return line + statement[: len(statement) - len(statement.lstrip())].count("\n")


def unquoted(value: str) -> str:
    bare = value.strip()
    inner = bare[1:-1]
    if len(bare) >= 2 and bare[0] == bare[-1] and bare[0] in "\"'" and bare[0] not in inner:
        return inner
    return value


def doubts(entry: Entry) -> Iterator[str]:
    """What looks like a setting of ours and is none. Other keys pass: the file may serve other programs too."""
    if entry.key in KNOWN:
        return
    if entry.key in ORIGINALS:
        yield f"{entry.place}: {entry.key} has no effect in this version"
        return
    for meant in get_close_matches(entry.key.upper(), KNOWN, n=1, cutoff=0.85):
        yield f"{entry.place}: {entry.key} has no effect; did you mean {meant}?"


def file_text(path: Path) -> str:
    """The text of a file; a missing one is empty, and so is a folder (a virtual environment may be called ``.env``)."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return ""
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"cannot read {path}: byte {error.start} is not UTF-8") from None


KNOWN: Final = tuple(row.env for row in SETTINGS)
NAMES: Final = {name: row.env for row in SETTINGS for name in row.names}
"""What a setting may be called, and what it is known as."""
VERBATIM: Final = frozenset(row.env for row in SETTINGS if row.kind.verbatim)

ORIGINALS: Final = (
    "ROUTING_MODE", "CLAUDE_CLI_BIN", "EXPERIMENTAL_COMPATIBILITY",
    "MPP_ENABLE", "MPP_AMOUNT", "MPP_CURRENCY", "MPP_RECIPIENT", "MPP_METHOD",
    "GONKA_PRIVATE_KEY", "GONKA_SOURCE_URL", "GONKA_MODEL",
    "CRATER_FORGEFED_INBOX", "CRATER_FORGEFED_ACTOR", "CRATER_FORGEFED_TARGET", "CRATER_POLL_INTERVAL_MS",
    "CRATER_POLL_TIMEOUT_SECS",
    "ACTIVITYPUB_ACTOR_BASE_URL", "ACTIVITYPUB_PUBLIC_KEY_PEM",
)  # fmt: skip
"""Settings of the Rust program. One that is not ours yet belongs to a feature that this version does not have."""
