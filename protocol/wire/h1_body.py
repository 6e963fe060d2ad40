"""HTTP/1.1 message bodies: one reader and one writer for each framing (RFC 9112 sections 6 and 7).

Every byte of a relayed stream passes through here, so a read costs one method call and a framed write one more.
"""

import re
from abc import ABC, abstractmethod
from typing import ClassVar, Final, final

from protocol.errors import LocalError, Refusal

MAX_CHUNK_LINE: Final = 256
"""Longest accepted chunk-size line in bytes with its CRLF; tiny chunks with long extensions waste a receiver's time."""

MAX_TRAILER_BYTES: Final = 16 * 1024
"""Longest accepted trailer section in bytes."""

_CRLF: Final = b"\r\n"
_HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
_MAX_SIZE_DIGITS: Final = 16
_EXTENDED_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,16});[\t\x20-\x7e\x80-\xff]*")
_TRAILER: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_BETWEEN_CHUNKS: Final = -1


class BodyReader(ABC):
    """Takes a connection's bytes from the end of a head on and gives back the body's.

    ``done`` is true once the body is whole; ``length`` is its size in bytes where the head told it; ``reusable`` tells
    whether another message may follow on the connection.
    """

    __slots__ = ("_rest", "done", "length", "reusable")

    def __init__(self, length: int | None, *, reusable: bool) -> None:
        self.done = False
        self.length = length
        self.reusable = reusable
        self._rest = b""

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """The part of the body that this read holds, ``b""`` if none."""

    @abstractmethod
    def finish(self) -> bool:
        """The peer will send nothing more: whether that leaves the body whole rather than cut short."""

    def take_rest(self) -> bytes:
        """What came after the body's last byte: the start of the next message."""
        rest, self._rest = self._rest, b""
        return rest


@final
class LengthReader(BodyReader):
    """A body of ``length`` bytes (RFC 9112 section 6.2)."""

    __slots__ = ("_missing",)

    def __init__(self, length: int) -> None:
        super().__init__(length, reusable=True)
        self._missing = length
        self.done = length == 0

    def feed(self, data: bytes) -> bytes:
        if self.done:
            raise LocalError("this body has ended")
        missing = self._missing - len(data)
        if missing > 0:
            self._missing = missing
            return data
        self.done = True
        if missing == 0:
            return data
        self._rest = data[missing:]
        return data[:missing]

    def finish(self) -> bool:
        return self.done


@final
class UntilCloseReader(BodyReader):
    """A response body that ends where the connection does (RFC 9112 section 6.3, last rule)."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None, reusable=False)

    def feed(self, data: bytes) -> bytes:
        if self.done:
            raise LocalError("this body has ended")
        return data

    def finish(self) -> bool:
        self.done = True
        return True


@final
class ChunkedReader(BodyReader):
    """A body in chunks (RFC 9112 section 7.1); extensions and trailers are checked in form and dropped.

    :param fault_status: of the ``Refusal`` for a malformed body: 400 from a client, 502 from an upstream.
    """

    __slots__ = ("_fault_status", "_held", "_missing", "_scanned", "_trailers")

    def __init__(self, fault_status: int, *, reusable: bool = True) -> None:
        super().__init__(None, reusable=reusable)
        self._fault_status = fault_status
        self._missing = _BETWEEN_CHUNKS  # else: bytes of the open chunk still to come, before its CRLF
        self._held = b""  # the start of a chunk-size line, or of the CRLF after a chunk
        self._trailers: bytearray | None = None
        self._scanned = 0

    def feed(self, data: bytes) -> bytes:
        missing = self._missing
        if missing >= len(data):  # the middle of a chunk larger than a read: nothing to copy
            self._missing = missing - len(data)
            return data
        if self._trailers is not None:
            self._read_trailers(self._trailers, data)
            return b""
        if self._held:
            data = self._held + data
            self._held = b""
        pieces: list[bytes] = []
        at = 0
        available = len(data)
        while at < available:
            if missing < 0:
                end = data.find(_CRLF, at, at + MAX_CHUNK_LINE)
                if end < 0:
                    self._hold_size_line(data[at:])
                    break
                line = data[at:end]
                # int() alone would also take "+5", "1_0", " 5" and "0x5".
                plain = line and end - at <= _MAX_SIZE_DIGITS and not line.strip(_HEX_DIGITS)
                missing = int(line, 16) if plain else self._extended_size(line)
                at = end + 2
                if missing == 0:
                    missing = _BETWEEN_CHUNKS
                    self._trailers = bytearray(_CRLF)  # the line's own, so that a blank line always ends the section
                    self._read_trailers(self._trailers, data[at:])
                    break
            stop = at + missing
            pieces.append(data[at:stop])
            if data[stop : stop + 2] != _CRLF:
                self._hold_chunk_end(data[stop : stop + 2])
                missing = max(0, stop - available)
                break
            at = stop + 2
            missing = _BETWEEN_CHUNKS
        self._missing = missing
        return b"".join(pieces)

    def finish(self) -> bool:
        return self.done

    def _extended_size(self, line: bytes) -> int:
        match = _EXTENDED_SIZE.fullmatch(line)
        if match is None:
            raise malformed(self._fault_status, "a chunk size is not a hexadecimal number")
        return int(match[1], 16)

    def _hold_size_line(self, line: bytes) -> None:
        """Keep the start of a chunk-size line, unless no end can make it one."""
        if len(line) >= MAX_CHUNK_LINE:
            raise malformed(self._fault_status, f"a chunk-size line is longer than {MAX_CHUNK_LINE} bytes")
        start = line.removesuffix(b"\r")
        if len(start) > _MAX_SIZE_DIGITS or start.strip(_HEX_DIGITS) or line == b"\r":
            self._extended_size(start)
        self._held = line

    def _hold_chunk_end(self, end: bytes) -> None:
        """Keep what has come of the CRLF after a chunk, if anything."""
        if not _CRLF.startswith(end):
            raise malformed(self._fault_status, "a chunk does not end where its size says")
        self._held = end

    def _read_trailers(self, trailers: bytearray, data: bytes) -> None:
        if self.done:
            raise LocalError("this body has ended")
        trailers += data
        end = trailers.find(b"\r\n\r\n", max(0, self._scanned - 3))
        stop = len(trailers) if end < 0 else end + 4
        count_lines(trailers, self._scanned, stop, self._fault_status)
        if stop > MAX_TRAILER_BYTES:
            raise malformed(self._fault_status, f"its trailer section is longer than {MAX_TRAILER_BYTES} bytes")
        if end < 0:
            self._scanned = stop
            return
        for line in trailers[2:end].split(_CRLF) if end else ():
            if not _TRAILER.fullmatch(line):
                raise malformed(self._fault_status, "a trailer field is not of the form name: value")
        self.done = True
        self._rest = bytes(trailers[stop:])


class BodyWriter(ABC):
    """Puts a body on the wire.

    ``open_ended`` writers take as much as comes, so an error can still be told inside a body that has begun.
    ``cut_is_visible`` is false where closing the connection early looks to the receiver like the end of the body,
    so that only a reset can tell it otherwise.
    """

    __slots__ = ()

    open_ended: ClassVar[bool] = False
    cut_is_visible: ClassVar[bool] = True

    @abstractmethod
    def frame(self, data: bytes) -> bytes:
        """The bytes to send for this part of the body."""

    @abstractmethod
    def end(self) -> bytes:
        """The bytes that end the body."""


@final
class LengthWriter(BodyWriter):
    """A body that was announced as ``length`` bytes."""

    __slots__ = ("_missing",)

    def __init__(self, length: int) -> None:
        self._missing = length

    def frame(self, data: bytes) -> bytes:
        missing = self._missing - len(data)
        if missing < 0:
            raise LocalError("the body is longer than its Content-Length")
        self._missing = missing
        return data

    def end(self) -> bytes:
        if self._missing:
            raise LocalError("the body is shorter than its Content-Length")
        return b""


@final
class ChunkedWriter(BodyWriter):
    """A body in chunks, one for each part; an empty part sends nothing, because an empty chunk would end the body."""

    __slots__ = ("_ended",)

    open_ended = True

    def __init__(self) -> None:
        self._ended = False

    def frame(self, data: bytes) -> bytes:
        if self._ended:
            raise LocalError("this body has ended")
        return b"%x\r\n%b\r\n" % (len(data), data) if data else b""

    def end(self) -> bytes:
        if self._ended:
            raise LocalError("this body has ended")
        self._ended = True
        return b"0\r\n\r\n"


@final
class UntilCloseWriter(BodyWriter):
    """A body that ends where the connection does, for HTTP/1.0 clients."""

    __slots__ = ()

    open_ended = True
    cut_is_visible = False

    def frame(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


@final
class NoBodyWriter(BodyWriter):
    """A message that has no body, such as the response to HEAD: whatever is given as its body stays off the wire."""

    __slots__ = ()

    def frame(self, data: bytes) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""


def malformed(fault_status: int, problem: str) -> Refusal:
    """The answer to a message with broken syntax: 400 blames the client, any other status the upstream."""
    whose = "the request" if fault_status == 400 else "the upstream's response"
    return Refusal(fault_status, f"{whose} is malformed: {problem}")


def count_lines(buffer: bytearray, scanned: int, stop: int, fault_status: int) -> int:
    """How many lines end in ``buffer[scanned:stop]``; ``buffer[:scanned]`` went through here before.

    :raises Refusal: a CR or LF stands alone. It is refused at once: its sender may well be waiting for an answer.
    """
    since = max(0, scanned - 1)  # a CR may have been the last byte so far
    lines = buffer.count(_CRLF, since, stop)
    if buffer.count(b"\n", scanned, stop) != lines or buffer.count(b"\r", since, stop - 1) != lines:
        raise malformed(fault_status, "a line does not end with CRLF")
    return lines
