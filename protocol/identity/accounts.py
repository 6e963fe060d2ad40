"""The operator's accounts: whose credential a request goes out with, and how fresh that credential is."""

from collections.abc import Iterator
from typing import Final, final

from protocol.commands import FilesUnchanged, JobResult
from protocol.errors import LocalError
from protocol.identity.credentials import CREDENTIAL_FILES, Credential, find_credential

RECHECK_SECONDS: Final = 1.0
"""A credential file that changed on disk is noticed by the first request after this long."""


@final
class Account:
    """One account: a directory of credential files, and an API key to fall back on when no file has a credential."""

    def __init__(self, name: str, home: str, api_key: Credential | None = None) -> None:
        self.name = name
        self.paths = [f"{home.rstrip('/')}/{file}" for file in CREDENTIAL_FILES]
        self.credential: Credential | None = api_key
        self.fingerprint: object | None = None
        self._api_key = api_key
        self._checked_at: float | None = None
        self._source = ""
        self._file = ""

    def fresh(self, now: float) -> bool:
        """The files were looked at less than ``RECHECK_SECONDS`` ago."""
        return self._checked_at is not None and now - self._checked_at < RECHECK_SECONDS

    def usable(self, wall: float) -> bool:
        """There is a credential, and nothing says that its time is over."""
        credential = self.credential
        return credential is not None and (credential.expires_at is None or credential.expires_at > wall)

    def checked(self, result: JobResult, wall: float, now: float) -> list[str]:
        """Take in what the shell found; returns sentences for the log, none of which holds a secret."""
        self._checked_at = now
        if isinstance(result, FilesUnchanged):
            return []
        self.fingerprint = result.fingerprint
        found = find_credential(result.files, wall=wall)
        if found.credential is None and self._file and any(self._file in warning for warning in found.warnings):
            # The file is there but makes no sense, most likely because it is being written: its next change will tell.
            return [*found.warnings, f"account {self.name} keeps the credential it had"]
        self._file = found.source
        credential = found.credential or self._api_key
        source = found.source or ("ANTHROPIC_API_KEY" if self._api_key is not None else "")
        notes = list(found.warnings)
        if source and (source != self._source or credential != self.credential):
            notes.append(f"account {self.name} uses the credential from {source}")
        elif not source:
            notes.append(f"account {self.name} has no usable credential")
        self._source = source
        self.credential = credential
        return notes


@final
class Accounts:
    """All accounts by name. There is one for now, and one code path for any number."""

    def __init__(self, accounts: list[Account]) -> None:
        if not accounts:
            raise LocalError("a router needs an account, even one without a credential")
        self._accounts = {account.name: account for account in accounts}

    def __getitem__(self, name: str) -> Account:
        return self._accounts[name]

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def choose(self) -> Account:
        """The account the next request goes to."""
        return next(iter(self._accounts.values()))
