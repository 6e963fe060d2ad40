"""The router's book of tokens: which were issued, which may no longer be used.

The book is in memory, so that asking it costs nothing; files share it with other processes and with the next run. A
change holds from the moment it is made here, and is lasting once ``unsaved`` is false. Books only grow (see
``merge`` in ``token_record``): nothing that is loaded takes back a revocation, and a file that lost one gets it again
with the next save.
"""

from collections.abc import Collection
from typing import final

from protocol.errors import Refusal
from protocol.files import Contents, Update
from protocol.identity.token_files import KEEP_SECONDS, read_tokens, saving
from protocol.identity.token_record import TokenRecord, merge, worthless
from protocol.identity.tokens import CHALLENGE, Claims, unauthorized


@final
class Unrecorded(Refusal):
    """A token has limits, and nothing here says which.

    :param kept: whether another process may have written them down a moment ago.
    """

    def __init__(self, kept: bool) -> None:
        retry = [(b"retry-after", b"1")] if kept else []
        super().__init__(
            401, "Token is limited, and its limits are not known to this router", headers=[CHALLENGE, *retry]
        )


@final
class Ledger:
    """All records that this process knows.

    :param kept: whether there are files; without them nothing is ever unsaved.
    :param keep_seconds: how long records of tokens that ended by themselves are kept.
    """

    def __init__(self, *, kept: bool = True, keep_seconds: float = KEEP_SECONDS) -> None:
        self._kept = kept
        self._keep_seconds = keep_seconds
        self._book: dict[str, TokenRecord] = {}
        self._unsaved: set[str] = set()

    # Asking ----------------------------------------------------------------------------------------------------------

    def admit(self, claims: Claims, wall: float) -> TokenRecord:
        """The record of a token that is genuine by its signature, if it may be used at ``wall`` (epoch seconds). A
        token that was never recorded stands for itself, unless it has limits: only the record says which.

        :raises Unrecorded: 401, it has limits, and they are not known.
        :raises Refusal: 403 if it was revoked, 401 if it has ended.
        """
        record = self._book.get(claims.sub)
        if record is None:
            if claims.limited:
                raise Unrecorded(self._kept)
            record = TokenRecord(claims.sub, claims.label, claims.iat, claims.exp, account=claims.account)
        if record.revoked:
            raise Refusal(403, "Token has been revoked")
        if record.expires_at and record.expires_at <= wall:
            raise unauthorized("Token has expired")
        return record

    def find(self, token_id: str) -> TokenRecord | None:
        """The record of this id."""
        return self._book.get(token_id)

    def records(self) -> list[TokenRecord]:
        """All, the oldest first."""
        return sorted(self._book.values(), key=lambda record: (record.issued_at, record.id))

    @property
    def ids(self) -> Collection[str]:
        """Of all records."""
        return self._book.keys()

    # Changing --------------------------------------------------------------------------------------------------------

    def apply(self, change: TokenRecord) -> TokenRecord:
        """Enter an ``issuance``, a ``revocation`` or an ``expiration``; what the record says then."""
        present = self._book.get(change.id)
        record = change if present is None else merge(present, change)
        if record != present:
            self._book[record.id] = record
            self._unsaved.add(record.id)
        return record

    def purge(self, wall: float) -> None:
        """Drop the records of tokens that ended by themselves long before ``wall`` (epoch seconds)."""
        for record in list(self._book.values()):
            if worthless(record, wall, self._keep_seconds):
                del self._book[record.id]
                self._unsaved.discard(record.id)

    # Keeping ---------------------------------------------------------------------------------------------------------

    @property
    def unsaved(self) -> bool:
        """The files, as they were last seen, lack something."""
        return self._kept and bool(self._unsaved)

    def saving(self, wall: float, *more: TokenRecord) -> Update:
        """Add all that is known now, and ``more``, to what the files hold. Its result goes to ``loaded``."""
        return saving((*self._book.values(), *more), wall, self._keep_seconds)

    def loaded(self, files: Contents, wall: float) -> None:
        """The files hold this now: take over what others wrote, keep what is not in there yet.

        :raises CorruptFile: one cannot be understood; then the book stays as it is.
        """
        held = read_tokens(files)
        for record in held.values():
            self.apply(record)
        self.purge(wall)
        self._unsaved = {record.id for record in self._book.values() if held.get(record.id) != record}
