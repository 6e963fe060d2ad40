"""One of the operator's accounts: whose credential a request goes out with, and how good that credential is."""

from collections.abc import Callable
from typing import Final, final

from protocol.files import Contents, FileContent, FilesLoaded, FilesSeen, FilesUnchanged, Missing
from protocol.identity.credentials import CREDENTIAL_FILES, Credential, Kind, find_credential
from protocol.identity.login_file import recovery_path
from protocol.identity.refresh import Refresher

RECHECK_SECONDS: Final = 1.0
"""A credential file that changed on disk is noticed by the first request after this long."""

NewRefresher = Callable[[str], Refresher]
"""Makes the renewer of the login in the file at a path."""


@final
class Account:
    """A directory of credential files, and an API key to fall back on when no file has a credential.

    :param data_dir: where recovery copies of renewed logins are.
    :param new_refresher: None = logins are used as they are found, and never renewed.
    """

    def __init__(
        self,
        name: str,
        home: str,
        data_dir: str = "",
        new_refresher: NewRefresher | None = None,
        api_key: Credential | None = None,
    ) -> None:
        self.name = name
        self.home = home
        self._files = [f"{home.rstrip('/')}/{file}" for file in CREDENTIAL_FILES]
        self.paths = list(self._files)
        if new_refresher is not None:
            self.paths += [recovery_path(data_dir, path) for path in self._files]
        self.fingerprint: object | None = None
        self.refresher: Refresher | None = None
        """What renews the login in use; None for an API key."""
        self._new_refresher = new_refresher
        self._refreshers: dict[str, Refresher] = {}
        self._found: Credential | None = api_key
        self._api_key = api_key
        self._checked_at: float | None = None
        self._source = ""
        self._file = ""

    def same_as(self, other: "Account") -> bool:
        """Both are the same directory and key."""
        return (self.home, self._api_key) == (other.home, other._api_key)

    # Questions -------------------------------------------------------------------------------------------------------

    @property
    def credential(self) -> Credential | None:
        """What to send: the newest of the login in the file and its renewals, or the API key."""
        refresher = self.refresher
        renewed = None if refresher is None else refresher.credential
        return renewed or self._found

    @property
    def source(self) -> str:
        """The file that the credential came from, or the name of the variable, or nothing."""
        return self._source

    def fresh(self, now: float) -> bool:
        """The files were looked at less than ``RECHECK_SECONDS`` ago."""
        return self._checked_at is not None and now - self._checked_at < RECHECK_SECONDS

    def usable(self, wall: float) -> bool:
        """There is a credential, and nothing says that its time is over."""
        credential = self.credential
        return credential is not None and (credential.expires_at is None or credential.expires_at > wall)

    def worth_sending(self, wall: float) -> bool:
        """There is a credential to try. One that seems to have expired is tried where nothing can renew it: the
        stored time is only a hint.
        """
        if self.usable(wall):
            return True
        refresher = self.refresher
        return self.credential is not None and (refresher is None or not (refresher.renewable or refresher.needs_login))

    @property
    def renewable(self) -> bool:
        """A better credential can be had."""
        return self.refresher is not None and self.refresher.renewable

    @property
    def renewing(self) -> bool:
        """A better credential is on its way."""
        refresher = self.refresher
        return refresher is not None and refresher.pending

    # Facts -----------------------------------------------------------------------------------------------------------

    def checked(self, result: FilesSeen, wall: float, now: float) -> list[str]:
        """Take in what the shell found; returns sentences for the log, none of which holds a secret."""
        self._checked_at = now
        if isinstance(result, FilesUnchanged):
            return []
        self.fingerprint = result.fingerprint
        files = result.files[: len(self._files)]
        found = find_credential(files, wall=wall)
        if found.credential is None and self._file and any(self._file in warning for warning in found.warnings):
            # The file is there but makes no sense, most likely because it is being written: its next change will tell.
            return [*found.warnings, f"account {self.name} keeps the credential it had"]
        before, source = self.credential, self._source
        self._file = found.source
        self._found = found.credential or self._api_key
        self._source = found.source or ("ANTHROPIC_API_KEY" if self._api_key is not None else "")
        self._show_refresher(found.credential, result)
        notes = list(found.warnings)
        if self._source and (source != self._source or before != self.credential):
            notes.append(f"account {self.name} uses the credential from {self._source}")
        elif not self._source:
            notes.append(f"account {self.name} has no usable credential")
        return notes

    def _show_refresher(self, credential: Credential | None, result: FilesLoaded) -> None:
        """Let the login's renewer see the file and its recovery copy."""
        if credential is None or credential.kind is not Kind.OAUTH or self._new_refresher is None:
            self._refreshers.pop(self._file, None)
            self.refresher = None
            return
        path = self._file
        if path not in self._refreshers:
            self._refreshers[path] = self._new_refresher(path)
        self.refresher = self._refreshers[path]
        position = self._files.index(path)
        self.refresher.seen(_content(result.files, position), _content(result.files, position + len(self._files)))


def _content(files: Contents, position: int) -> FileContent:
    return files[position][1] if position < len(files) else Missing()
