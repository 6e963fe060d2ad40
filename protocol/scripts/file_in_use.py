"""The uploaded file that a message refers to: no account knows it but the one that holds it."""

from typing import final

from protocol.identity.affinity import Hints, file_in
from protocol.identity.roster import Roster


@final
class FileInUse:
    """One message's file, if it has one.

    What looks like the id of a file may be anything that a client has written, such as the input of a tool. So an
    account that made the file is asked first and no more than that, and nothing is learned from a message.

    :param body: None where it cannot be looked at.
    """

    def __init__(self, roster: Roster, hints: Hints, body: bytes | None) -> None:
        self.holder = None if hints.file is None else roster.holder(hints.file)
        self._file = hints.file
        self._body = body

    def is_elsewhere(self) -> bool:
        """After a 404: another account may have it. Only then is the body searched, unless it was before."""
        return self._file is not None or (self._body is not None and file_in(self._body) is not None)
