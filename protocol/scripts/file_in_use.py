"""The uploaded file that a message refers to: no account knows it but the one that holds it."""

from typing import final

from protocol.call import Call
from protocol.identity.affinity import Hints, file_in
from protocol.identity.roster import Roster


@final
class FileInUse:
    """One message's file, if it has one.

    While nobody knows who holds it, as after a restart, a 404 is taken for "not here": only then is the body searched.

    :param body: None where it cannot be looked at.
    """

    def __init__(self, roster: Roster, hints: Hints, body: bytes | None) -> None:
        self.holder = None if hints.file is None else roster.holder(hints.file)
        self._roster = roster
        self._file = hints.file
        self._body = body

    def is_elsewhere(self) -> bool:
        """After a 404: another account may have it."""
        if self._file is None and self._body is not None:
            self._file = file_in(self._body)
        return self._file is not None and self.holder is None

    def answered(self, call: Call, status: int) -> None:
        """What the account that was asked last made of the message."""
        if self._file is not None and call.account is not None and 200 <= status < 300:
            self._roster.remember_resource(self._file, call.account)
