"""Which login of an account is the one to use: the credential file's, the recovery copy's, or one in memory."""

from collections import deque
from typing import Final, final

from protocol.files import FileContent, Missing
from protocol.identity.login_file import later, read_login
from protocol.login_jobs import Login, Place
from protocol.values import Secret

REMEMBERED_LINKS: Final = 32
"""How many tokens are remembered as spent or replaced."""


@final
class KnownLogins:
    """The logins that are known of one account, by where they are kept, and the refresh tokens known as spent."""

    def __init__(self) -> None:
        self.best: Login | None = None
        """The login to use: the file's unless one of ours follows it. A file that was removed is a logout."""
        self.file: Login | None = None
        self._recovery: Login | None = None
        self._memory: Login | None = None
        self._logged_out = False
        self._spent: deque[Secret] = deque(maxlen=REMEMBERED_LINKS)
        self._replaced: deque[Secret] = deque(maxlen=REMEMBERED_LINKS)

    def is_spent(self, login: Login) -> bool:
        return login.refresh is not None and login.refresh in self._spent

    def learn(self, file: FileContent, recovery: FileContent) -> None:
        """What the credential file and its recovery copy hold now."""
        self._logged_out = isinstance(file, Missing)
        self.file = read_login(file)
        self._recovery = read_login(recovery)
        if self._memory is not None and self._has_moved_on(self._memory):
            self._memory = None
        self._judge()

    def renewed(self, login: Login, *, of: Login) -> None:
        """``of`` was exchanged for ``login``, which follows whatever there was before."""
        for older in (of, self._recovery, self.file):
            if older is not None:
                self._replaced.append(older.access)
                if older.refresh != login.refresh:
                    self.spend(older)
        self._memory = login
        self._judge()

    def spend(self, login: Login) -> None:
        """Its refresh token is good for nothing any more."""
        if login.refresh is not None and login.refresh not in self._spent:
            self._spent.append(login.refresh)
            self._judge()

    def kept(self, place: Place) -> None:
        """What was last to be saved is in ``place`` now."""
        if place is Place.FILE:
            self.file, self._recovery = self.best, None
        else:
            self._recovery = self.best
        self._judge()

    def superseded(self, file: FileContent) -> None:
        """Somebody's newer login is in the file: ours is history."""
        self._memory = None
        self.learn(file, b"")

    def _judge(self) -> None:
        """After anything new: which one is the best now."""
        best = self.file
        for other in (self._recovery, self._memory):
            if other is not None and self._outranks(other, best):
                best = other
        self.best = None if self._logged_out else best

    def _has_moved_on(self, ours: Login) -> bool:
        """The file holds a login that we do not know: somebody has logged in, or renewed the one that we had."""
        return self.file is not None and self.file.refresh != ours.refresh and not self.is_spent(self.file)

    def _outranks(self, other: Login, best: Login | None) -> bool:
        """Never lets an older link of the chain pass for a newer one: whoever sends a spent token may end the login."""
        if best is None or best.refresh is None:
            return best is None
        if self.is_spent(other) and not self.is_spent(best):
            return False
        if other is self._memory and (
            best.access in self._replaced or (self.is_spent(best) and not self.is_spent(other))
        ):
            return True
        follows = other is self._recovery or other.refresh == best.refresh or self.is_spent(best)
        return follows and later(other, best)
