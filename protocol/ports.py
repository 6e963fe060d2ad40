"""The two ends of an exchange, as it sees them.

An HTTP/1.1 connection is one of each at a time; an HTTP/2 stream or an embedding server can be one just as well.
"""

from abc import ABC, abstractmethod

from protocol.effects import Failed
from protocol.values import RequestHead, ResponseHead


class Responder(ABC):
    """The client's end: where one response goes."""

    __slots__ = ()

    @abstractmethod
    def send_head(self, head: ResponseHead, length: int | None) -> None:
        """Start the response; ``length`` bytes of body follow, or an unknown number for None."""

    @abstractmethod
    def send_body(self, data: bytes) -> None: ...

    @abstractmethod
    def send_end(self) -> None:
        """The response is complete."""

    @abstractmethod
    def cut(self, frame: bytes | None) -> None:
        """End the response so that the client can tell it is not complete, after an in-band error ``frame`` if any."""

    @abstractmethod
    def hold_body(self, held: bool) -> None:
        """Stop or go on taking the request body from the client."""

    @abstractmethod
    def want_body(self) -> None:
        """The request body is going to be used: tell a client that waits for ``100 Continue``."""


class UpstreamEvents(ABC):
    """What an upstream channel tells the one that opened it."""

    __slots__ = ()

    @abstractmethod
    def upstream_ready(self) -> None:
        """Connected, the request head is on its way, the body may follow."""

    @abstractmethod
    def upstream_head(self, head: ResponseHead) -> None: ...

    @abstractmethod
    def upstream_body(self, data: bytes) -> None: ...

    @abstractmethod
    def upstream_end(self) -> None: ...

    @abstractmethod
    def upstream_failed(self, failure: Failed) -> None:
        """Nothing further will come, whether or not a head or part of a body came before."""

    @abstractmethod
    def upstream_full(self, full: bool) -> None:
        """The upstream takes request bytes slower than they come, or has caught up again."""


class Channel(ABC):
    """The upstream's end: one request and its response."""

    __slots__ = ()

    @abstractmethod
    def request(self, head: RequestHead, body_length: int | None, events: UpstreamEvents) -> None:
        """Send a request head, now or once connected; ``body_length`` None means chunked.

        ``events.upstream_ready`` follows, perhaps before this returns.
        """

    @abstractmethod
    def send_body(self, data: bytes) -> None: ...

    @abstractmethod
    def send_end(self) -> None: ...

    @abstractmethod
    def hold(self, held: bool) -> None:
        """Stop or go on taking the response from the upstream."""

    @abstractmethod
    def cancel(self) -> None:
        """The answer is not wanted any more; no event follows."""


class CredentialWaiter(ABC):
    """Someone who waits for an account's files to be looked at."""

    __slots__ = ()

    @abstractmethod
    def credentials_checked(self) -> None: ...
