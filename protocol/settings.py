"""How one setting is declared: its names, what it takes, what it is for. The table of them all is ``Config``."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar, overload

from protocol.kinds import BOOLEAN, PATH, PATHS, Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table.

    :param name: the field of ``Config``; the flag follows from it.
    :param env: the key in the environment, in ``.lenv`` and in ``.env``.
    :param default: as an operator would write it; None = not set.
    :param under_home: the default relative to the home directory, which ``default`` stands in for where there is none.
    :param command_line: whether there is a flag as well.
    :param any_case: the environment has it in lower case, too, which then counts.
    """

    name: str
    env: str
    kind: Kind[Any]
    default: str | None
    group: str
    about: str
    under_home: str | None = None
    command_line: bool = True
    any_case: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called in the environment and in files; of several in one place the last one counts."""
        return (self.env, self.env.lower()) if self.any_case else (self.env,)

    @property
    def flag(self) -> str | None:
        return f"--{self.name.replace('_', '-')}" if self.command_line else None

    @property
    def label(self) -> str:
        """Every name it goes by, for messages."""
        return self.env if self.flag is None else f"{self.flag} / {self.env}"

    @property
    def is_switch(self) -> bool:
        """A boolean: its flag takes no value and means true."""
        return self.kind is BOOLEAN

    @property
    def shown_default(self) -> str | None:
        return self.default if self.under_home is None else f"$HOME/{self.under_home}"

    def value_from(self, values: Mapping[str, str], home: str | None) -> object:
        """The value of the text under ``env``; an empty text is the same as none.

        :raises SettingError: the text is not one that this setting takes.
        """
        text = values.get(self.env, "")
        if not self.kind.verbatim:
            text = text.strip()
        if self.kind is PATHS:
            text = ",".join(expanded(part.strip(), home) for part in text.split(","))
        if text:
            return self._read(expanded(text, home) if self.kind is PATH else text)
        if home and self.under_home is not None:
            return self._read(expanded(f"~/{self.under_home}", home))
        return None if self.default is None else self._read(self.default)

    def _read(self, text: str) -> object:
        try:
            return self.kind.read(text)
        except ValueError as error:
            raise SettingError(self, text, reason_of(error)) from None


class SettingError(ValueError):
    """A text that a setting cannot take. The message names the setting and says what is allowed."""

    def __init__(self, setting: Setting, text: str, reason: str) -> None:
        hidden = setting.kind.secret or "@" in text  # what stands before the @ of a URL is a user's password
        problem = "cannot use this value" if hidden else f"cannot use {text[:100]!r}"
        because = f": {reason}" if reason else ""
        super().__init__(f"{setting.label}: {problem}{because}; allowed: {setting.kind.allowed}")
        self.setting = setting


@overload
def setting(
    env: str,
    kind: Kind[T],
    default: str,
    group: str,
    about: str,
    *,
    under_home: str | None = ...,
    command_line: bool = ...,
) -> T: ...
@overload
def setting(
    env: str,
    kind: Kind[T],
    default: None,
    group: str,
    about: str,
    *,
    command_line: bool = ...,
    any_case: bool = ...,
) -> T | None: ...
def setting(
    env: str,
    kind: Kind[T],
    default: str | None,
    group: str,
    about: str,
    *,
    under_home: str | None = None,
    command_line: bool = True,
    any_case: bool = False,
) -> T | None:
    """Declare a field of a settings dataclass; its type follows from ``kind`` and ``default``."""
    row = Setting("", env, kind, default, group, about, under_home, command_line, any_case)
    value = None if default is None else kind.read(default)
    declared: T | None = field(default=value, metadata={Setting: row})
    return declared


def table(config: type[Any]) -> tuple[Setting, ...]:
    """The rows that a settings dataclass declares, in order."""
    return tuple(replace(declared.metadata[Setting], name=declared.name) for declared in fields(config))


def expanded(path: str, home: str | None) -> str:
    """``~`` and ``~/...`` under ``home``: a shell does that on its command line, nobody does it in a file."""
    if home and (path == "~" or path.startswith("~/")):
        return home.rstrip("/") + path[1:]
    return path


def reason_of(error: ValueError) -> str:
    return "" if isinstance(error, UnicodeError) else str(error)
