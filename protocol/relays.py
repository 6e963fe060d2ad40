"""What happens to a response body on its way through: bytes in, bytes out, at once."""

from abc import ABC, abstractmethod

from protocol.errors import Refusal
from protocol.values import Tokens


class Relay(ABC):
    """Transforms one response body. After ``finish`` or ``abort`` it is spent.

    ``failed`` turns true when the client was told of an error inside the body, so that the response must not end as a
    complete one does. It is looked at after every chunk, hence no property.
    """

    __slots__ = ()

    failed: bool

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """The bytes to send now for these bytes received; ``b""`` means nothing yet."""

    @abstractmethod
    def finish(self) -> bytes:
        """The upstream ended its body cleanly: whatever is left to send."""

    @abstractmethod
    def abort(self, error: Refusal) -> bytes | None:
        """The body was cut: an in-band error to send before the unclean close, or None where the format has none."""

    @property
    def complete(self) -> bool:
        """The client was told everything, so whatever becomes of the upstream now cannot spoil the response."""
        return False

    @property
    def tokens(self) -> Tokens | None:
        """What the body says that the answer was billed for, by what has come so far."""
        return None

    @property
    def answer_id(self) -> str | None:
        """The id of the message that the body is, if it is one that a thread can go on from."""
        return None

    def comment(self) -> bytes | None:
        """A keep-alive that means nothing to the client, or None where none may be sent at this point."""
        return None


class Passthrough(Relay):
    """Any body, byte for byte. A cut shows as a response that never ends properly."""

    __slots__ = ()

    failed = False

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""

    def abort(self, error: Refusal) -> bytes | None:
        return None
