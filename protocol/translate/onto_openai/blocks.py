"""Content blocks of an Anthropic stream, strictly one after the other, whatever order their pieces come in.

Chat Completions streams may go on with one call after another has begun, or with text between two pieces of a call. A
block that is not the next one waits, with all its pieces, until those before it have ended: text and thinking when
anything else begins, a call when the JSON of its arguments is whole, everything when the answer ends.
"""

import re
from abc import ABC, abstractmethod
from collections import deque
from typing import Final, final

import msgspec

from protocol.errors import Refusal
from protocol.translate.onto_openai.thinking import UNSIGNED

MAX_WAITING: Final = 16 * 1024 * 1024
"""The most that may wait for its turn, in characters."""

_json: Final = msgspec.json.Encoder().encode
_MARK: Final = re.compile(r'["\\{}\[\]]')


class Block(ABC):
    """One block of an answer. Its pieces wait until it opens; from then on each has a frame of its own."""

    __slots__ = ("_before", "begun", "closed", "opened", "ready", "waiting")

    delta: bytes
    """The JSON of a delta up to its text."""

    def __init__(self) -> None:
        self.begun = False
        """Whether a piece has come."""

        self.opened = False
        self.closed = False
        self.ready = False
        """Whether there is something to tell, so that the block may open."""

        self.waiting: list[str] = []
        self._before = b""

    @property
    def ended(self) -> bool:
        """Whether nothing can be added once another block has begun."""
        return True

    @abstractmethod
    def start(self) -> dict[str, object]:
        """The block as it begins."""

    def add(self, piece: str) -> bytes:
        """One more piece: its frame, or nothing while the block is not open."""
        self.begun = True
        if self.opened:
            return self._before + _json(piece) + b"}}\n\n"
        self.waiting.append(piece)
        self.ready = self.ready or self.tells(piece)
        return b""

    def tells(self, piece: str) -> bool:
        """Whether this piece makes the block worth telling."""
        return True

    def open(self, index: int) -> bytes:
        """The start of the block and the pieces that have waited."""
        self.opened = True
        self._before = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % index + self.delta
        )
        opening = _frame(b"content_block_start", {"index": index, "content_block": self.start()})
        return opening + b"".join([self._before + _json(piece) + b"}}\n\n" for piece in self.waiting])

    def close(self, index: int) -> bytes:
        self.closed = True
        return _frame(b"content_block_stop", {"index": index})


@final
class Text(Block):
    """Text, unless it is blank from end to end: Anthropic's API would not take it back, so it is not told at all."""

    __slots__ = ()

    delta = b'{"type":"text_delta","text":'

    def start(self) -> dict[str, object]:
        return {"type": "text", "text": ""}

    def tells(self, piece: str) -> bool:
        return not piece.isspace()


@final
class Thinking(Block):
    """What the model thought, under a signature that says where it came from.

    :param done: nothing will be known of it but its text, so that anything else may follow.
    """

    __slots__ = ("_done", "_signature")

    delta = b'{"type":"thinking_delta","thinking":'

    def __init__(self, *, done: bool = True) -> None:
        super().__init__()
        self._done = done
        self._signature = UNSIGNED

    @property
    def ended(self) -> bool:
        return self._done

    def start(self) -> dict[str, object]:
        return {"type": "thinking", "thinking": "", "signature": ""}

    def thought_out(self, signature: str) -> None:
        """It is whole, and may be told even without a text."""
        self._signature = signature
        self._done = True
        self.ready = True

    def close(self, index: int) -> bytes:
        signature = {"type": "signature_delta", "signature": self._signature}
        return _frame(b"content_block_delta", {"index": index, "delta": signature}) + super().close(index)


@final
class ToolUse(Block):
    """A call of a tool; it opens when its name is known."""

    __slots__ = ("_scan", "_unscanned", "id", "name", "server_id")

    delta = b'{"type":"input_json_delta","partial_json":'

    def __init__(self, tool_id: str, server_id: str | None) -> None:
        super().__init__()
        self.id = tool_id
        self.server_id = server_id
        self.name = ""
        self._scan = JsonScan()
        self._unscanned: list[str] = []

    @property
    def ended(self) -> bool:
        # Looked at only when something else has begun, so that a lone call costs no scan.
        for piece in self._unscanned:
            self._scan.feed(piece)
        self._unscanned.clear()
        return self.ready and self._scan.whole

    def start(self) -> dict[str, object]:
        return {"type": "tool_use", "id": self.id, "name": self.name, "input": {}}

    def named(self, name: str) -> None:
        self.name = name
        self.ready = True

    def add(self, piece: str) -> bytes:
        self._unscanned.append(piece)
        return super().add(piece)

    def tells(self, piece: str) -> bool:
        return False


@final
class JsonScan:
    """Tells when the brackets of a JSON text are closed, in pieces of any size and in linear time."""

    __slots__ = ("_begun", "_depth", "_escaped", "_in_string")

    def __init__(self) -> None:
        self._begun = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def whole(self) -> bool:
        return self._begun and self._depth <= 0

    def feed(self, piece: str) -> None:
        at = 0
        if self._escaped and piece:
            at, self._escaped = 1, False
        while (found := _MARK.search(piece, at)) is not None:
            at, mark = found.end(), found[0]
            if not self._in_string:
                self._begun = self._begun or mark in "{["
                self._in_string = mark == '"'
                self._depth += _DEPTHS.get(mark, 0)
            elif mark == '"':
                self._in_string = False
            elif mark == "\\":
                self._escaped = at == len(piece)
                at += 1


_DEPTHS: Final = {"{": 1, "[": 1, "}": -1, "]": -1}


@final
class BlockQueue:
    """The blocks of one answer in the order in which they began; the first may be open. Each method gives the frames
    that can be written now.
    """

    __slots__ = ("_blocks", "_index", "_waiting")

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()
        self._index = 0
        self._waiting = 0

    @property
    def last(self) -> Block | None:
        """The block that began last, if it may still go on."""
        return self._blocks[-1] if self._blocks else None

    def begin(self, block: Block) -> None:
        """A block that comes after all that have begun."""
        self._blocks.append(block)

    def add(self, block: Block, piece: str) -> bytes:
        """A piece of a block that has begun.

        :raises Refusal: 502, the block is over, or more is waiting than is held.
        """
        if block.closed:
            raise Refusal(502, "the upstream went on with a part of its answer that was over")
        written = block.add(piece)
        if written and len(self._blocks) == 1:
            return written
        if not written:
            self._waiting += len(piece)
            if self._waiting > MAX_WAITING:
                raise Refusal(502, f"the upstream sent more than {MAX_WAITING} characters out of order")
        return written + self.advance()

    def add_arguments(self, call: ToolUse, piece: str) -> bytes:
        """A piece of a call's arguments; blank ones are none, and blanks around others mean nothing.

        :raises Refusal: as ``add``.
        """
        if not piece or (piece.isspace() and (call.closed or not call.begun)):
            return self.advance()
        return self.add(call, piece)

    def advance(self) -> bytes:
        """Open the first block if it can be, and close it for those behind it, as often as that goes."""
        written = []
        while self._blocks:
            block = self._blocks[0]
            written.append(self._opened(block))
            if len(self._blocks) == 1 or not block.ended:
                break
            written.append(self._closed())
        return b"".join(written)

    def finish(self) -> bytes:
        """The answer is over: what waits is told, and every block is closed.

        :raises Refusal: 502, a call never got a name.
        """
        written = [self.advance()]
        while self._blocks:
            block = self._blocks[0]
            if isinstance(block, ToolUse) and not block.ready:
                raise Refusal(502, "the upstream sent a tool call without a name")
            written += (self._opened(block), self._closed())
        return b"".join(written)

    def _opened(self, block: Block) -> bytes:
        if block.opened or not block.ready:
            return b""
        opening = block.open(self._index)
        self._forget(block)
        return opening

    def _closed(self) -> bytes:
        """The first block ends; one that never opened had nothing to tell."""
        block = self._blocks.popleft()
        if not block.opened:
            self._forget(block)
            return b""
        self._index += 1
        return block.close(self._index - 1)

    def _forget(self, block: Block) -> None:
        self._waiting -= sum(map(len, block.waiting))
        block.waiting.clear()


def _frame(event: bytes, fields: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event, _json({"type": event.decode("ascii"), **fields}))
