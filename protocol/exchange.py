"""One client request from its head to the last byte of the answer.

The exchange drives the script that decides, and carries the bytes that the script never sees. Its lifecycle is a table
(below); each exchange ends exactly once.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Final, Protocol, final

from protocol.call import Call, http_date
from protocol.commands import LogLevel
from protocol.effects import (
    Answer,
    BodyPeeked,
    BodyRead,
    ChangeStore,
    CheckCredentials,
    CredentialsChecked,
    Effect,
    Failed,
    Fetch,
    Fetched,
    Outcome,
    PeekBody,
    ReadBody,
    ReadResponse,
    Reply,
    Script,
    StoreChanged,
    refusal_for,
)
from protocol.egress import Proxy
from protocol.errors import LocalError, Refusal
from protocol.ports import Channel, CredentialWaiter, Responder, UpstreamEvents
from protocol.relays import Relay
from protocol.request_body import RequestBody
from protocol.timers import Timer, TimerOwner, Timers
from protocol.values import Origin, ResponseHead, Tokens

BUG: Final = Refusal(500, "internal error in the router")

EARLY_LIMIT: Final = 64 * 1024
"""Response bytes that may wait for the script's decision before the upstream is held."""


LOOK_SECONDS: Final = 1.0
"""How long the disk may take to tell whether a store has changed; what is known has to do then."""
CHANGE_SECONDS: Final = 15.0
"""How long it may take to change one: longer than another process may hold its lock."""


class Phase(Enum):
    """Where an exchange stands; the last three are ends."""

    __hash__ = object.__hash__  # members are single objects; Enum would hash their names in Python

    ASKING = "nothing has been sent to the client"
    RELAYING = "the response head has been sent"
    DONE = "answered to the last byte"
    CUT = "the answer was broken off, visibly"
    LEFT = "the client went away"


class Step(Enum):
    """What moves an exchange along."""

    __hash__ = object.__hash__  # members are single objects; Enum would hash their names in Python

    REPLIED = "head sent"
    FINISHED = "last byte sent"
    BROKEN = "cannot go on"
    CLIENT_LEFT = "client gone"


LIFECYCLE: Final[Mapping[tuple[Phase, Step], Phase]] = {
    (Phase.ASKING, Step.REPLIED): Phase.RELAYING,
    (Phase.ASKING, Step.CLIENT_LEFT): Phase.LEFT,
    (Phase.RELAYING, Step.FINISHED): Phase.DONE,
    (Phase.RELAYING, Step.BROKEN): Phase.CUT,
    (Phase.RELAYING, Step.CLIENT_LEFT): Phase.LEFT,
}
ENDS: Final = frozenset({Phase.DONE, Phase.CUT, Phase.LEFT})


class House(Protocol):
    """What the gateway does for the exchanges and connections that live in it."""

    now: float
    timers: Timers

    def open_channel(self, origin: Origin, *, fresh: bool, via: Proxy | None = None, guarded: bool = False) -> Channel:
        """An idle connection to ``origin``, or a new one that is being made; the rest as in ``UpstreamRequest``."""

    def check_credentials(self, effect: CheckCredentials, waiter: CredentialWaiter | None) -> None:
        """Bring the account up to date and tell ``waiter``, if there is one."""

    def change(self, effect: ChangeStore, done: Callable[[str | None], None]) -> None:
        """Carry out a change of a store and tell ``done`` why it could not be, or None."""

    def log(self, level: LogLevel, event: str, fields: Mapping[str, str | int | float | None]) -> None: ...

    def exchange_ended(self, exchange: "Exchange") -> None: ...


@final
class Exchange(UpstreamEvents, CredentialWaiter, TimerOwner):
    """Drives one script; see the module."""

    __slots__ = (
        "_body_limit",
        "_changes",
        "_channel",
        "_client_full",
        "_comment_interval",
        "_early",
        "_early_end",
        "_early_failure",
        "_early_size",
        "_fixed_body",
        "_gathering",
        "_house",
        "_last_sent_at",
        "_peeking",
        "_reading",
        "_relay",
        "_responder",
        "_script",
        "body",
        "call",
        "first_byte_at",
        "from_upstream",
        "phase",
        "sent",
        "status",
        "to_upstream",
        "upstream_head_at",
    )

    def __init__(
        self,
        call: Call,
        script: Script,
        body: RequestBody,
        responder: Responder,
        house: House,
        comment_interval: float | None,
    ) -> None:
        self.call = call
        self.body = body
        self.phase = Phase.ASKING
        self.sent = 0
        self.from_upstream = 0
        self.to_upstream = 0
        self.status = 0
        self.upstream_head_at: float | None = None
        self.first_byte_at: float | None = None
        self._script = script
        self._responder = responder
        self._house = house
        self._comment_interval = comment_interval
        self._channel: Channel | None = None
        self._changes = 0
        self._client_full = False
        self._relay: Relay | None = None
        self._fixed_body: bytes | None = None
        self._peeking: PeekBody | None = None
        self._reading: ReadBody | None = None
        self._gathering: ReadResponse | None = None
        self._early: list[bytes] | None = None
        self._early_end = False
        self._early_failure: Failed | None = None
        self._early_size = 0
        self._last_sent_at = 0.0

    @property
    def ended(self) -> bool:
        return self.phase in ENDS

    @property
    def tokens(self) -> Tokens | None:
        """What the answer was billed for, as far as that is known."""
        return self.call.tokens if self._relay is None else self._relay.tokens

    @property
    def answer_id(self) -> str | None:
        """The id of the message that was relayed, if it was one."""
        return None if self._relay is None else self._relay.answer_id

    def start(self) -> None:
        """Run the script up to its first effect that takes time. Body bytes may have come before."""
        if not self.ended:
            self._advance(None)

    # What the client does ------------------------------------------------------------------------------------------

    def request_body(self, data: bytes) -> None:
        """More of the request body; after the exchange has ended it is dropped."""
        if self.ended:
            return
        try:
            self.body.add(data)
        except Refusal as refusal:
            self.refuse(refusal)
            return
        if self.body.handed_on and self._channel is not None:
            self.to_upstream += len(data)
            self._channel.send_body(data)
        elif self._peeking is not None and self.body.received > self._peeking.limit:
            self._peeked()
        elif self._reading is not None and self.body.received > self._reading.limit:
            self.refuse(Refusal(413, f"request body exceeds the limit of {self._reading.limit} bytes"))
        elif self._reading is None and self._peeking is None and self.body.overfull:
            self._responder.hold_body(True)

    def request_end(self) -> None:
        """The request body is whole."""
        self.body.complete = True
        if self.ended:
            return
        if self.body.handed_on and self._channel is not None:
            self._channel.send_end()
        elif self._peeking is not None:
            self._peeked()
        elif self._reading is not None:
            self._reading = None
            self._advance(BodyRead(self.body.whole(), self._house.now))

    def client_left(self) -> None:
        """The client is gone: whatever runs on its behalf is cancelled at once."""
        if not self.ended:
            self._end(Step.CLIENT_LEFT)

    def client_full(self, full: bool) -> None:
        """The client takes bytes slower than they come, or has caught up again."""
        self._client_full = full
        if self._relay is not None and self._channel is not None:
            self._channel.hold(full)

    def refuse(self, refusal: Refusal) -> None:
        """End with an error: a whole response while nothing was sent, otherwise a visible break."""
        if self.ended:
            return
        relay = self._relay
        if relay is not None and relay.complete:
            self._finish(b"")
            return
        self.call.annotations["error"] = refusal.message
        if self.phase is Phase.ASKING:
            self._drop_channel()
            self._answer(*self.call.refuse(refusal))
        else:
            self._break_off(None if relay is None else relay.abort(refusal))

    # What the upstream does ----------------------------------------------------------------------------------------

    def upstream_ready(self) -> None:
        channel = self._channel
        if channel is None:
            raise LocalError("a channel that nobody opened is ready")
        self.call.went_upstream = True
        if self._fixed_body is not None:
            self.to_upstream += len(self._fixed_body)
            channel.send_body(self._fixed_body)
            channel.send_end()
            return
        waiting = self.body.hand_on()
        self._responder.hold_body(False)
        if waiting:
            self.to_upstream += len(waiting)
            channel.send_body(waiting)
        if self.body.complete:
            channel.send_end()

    def upstream_head(self, head: ResponseHead) -> None:
        self.upstream_head_at = self._house.now
        self._early = []
        self._advance(Fetched(head, self._house.now))

    def upstream_body(self, data: bytes) -> None:
        self.from_upstream += len(data)
        relay = self._relay
        if relay is None:
            self._keep_early(data)
            return
        try:
            out = relay.feed(data)
        except Refusal as refusal:
            self.refuse(refusal)
            return
        if out:
            self.sent += len(out)
            self._last_sent_at = self._house.now
            self._responder.send_body(out)
        if relay.failed:
            self._break_off(None)

    def upstream_end(self) -> None:
        self._channel = None
        relay = self._relay
        if relay is not None:
            self._end_relay(relay)
            return
        self._early_end = True
        if self._gathering is not None:
            self._gathered()

    def upstream_failed(self, failure: Failed) -> None:
        self._channel = None
        if self._early is None:
            self._advance(failure)
        elif self._relay is None and self._gathering is None:
            self._early_failure = failure  # the script may have no use for that response, or be elsewhere already
        else:
            self.refuse(refusal_for(failure))

    def upstream_full(self, full: bool) -> None:
        self._responder.hold_body(full)

    def credentials_checked(self) -> None:
        if not self.ended:
            self._advance(CredentialsChecked(self._house.now))

    def timer_fired(self, timer: Timer) -> None:
        """The disk has taken too long; or there is a pause in the response, so that something is said that means
        nothing, if the format allows it here.
        """
        if timer is Timer.DISK:
            self._changed(self._changes, "the disk does not answer")
            return
        relay, interval = self._relay, self._comment_interval
        if relay is None or interval is None or self.ended:
            return
        now = self._house.now
        if now >= self._last_sent_at + interval:
            comment = relay.comment()
            if comment is not None:
                self.sent += len(comment)
                self._responder.send_body(comment)
            self._last_sent_at = now
        self._house.timers.set(self, Timer.COMMENT, self._last_sent_at + interval)

    # The script ----------------------------------------------------------------------------------------------------

    def _advance(self, outcome: Outcome) -> None:
        try:
            effect = self._script.send(outcome)
            while isinstance(effect, CheckCredentials) and not effect.wait:  # perhaps hundreds of them
                self._house.check_credentials(effect, None)
                effect = self._script.send(CredentialsChecked(self._house.now))
            self._carry_out(effect)
        except StopIteration:
            self.refuse(BUG)
            raise LocalError(f"the script for {self.call.head.path!r} ended without an answer") from None
        except Refusal as refusal:
            self.refuse(refusal)
        except Exception:
            self.refuse(BUG)  # the client is told here, because nobody else may know of it any more
            raise

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Fetch():
                self._fetch(effect)
            case ReadBody():
                self._read_body(effect)
            case PeekBody():
                self._peek_body(effect)
            case ReadResponse():
                self._read_response(effect)
            case CheckCredentials():
                self._house.check_credentials(effect, self)
            case ChangeStore():
                self._change_store(effect)
            case Reply():
                self._reply(effect)
            case Answer():
                self._drop_channel()
                self._answer(effect.head, effect.body)

    def _fetch(self, effect: Fetch) -> None:
        self._drop_channel()
        request = effect.request
        self._early, self._early_end, self._early_failure, self._early_size = None, False, None, 0
        self._fixed_body = request.body
        length = self.body.length if request.body is None else len(request.body)
        if request.body is None:
            self.body.restart()
            self._responder.want_body()
        self._channel = self._house.open_channel(
            request.origin, fresh=effect.fresh, via=request.via, guarded=request.guarded
        )
        self._channel.request(request.head, length, self)

    def _read_body(self, effect: ReadBody) -> None:
        if (self.body.length or 0) > effect.limit:
            self.refuse(Refusal(413, f"request body exceeds the limit of {effect.limit} bytes"))
        elif self.body.complete:
            self._advance(BodyRead(self.body.whole(), self._house.now))
        else:
            self._reading = effect
            self._responder.hold_body(False)
            self._responder.want_body()

    def _peek_body(self, effect: PeekBody) -> None:
        self._peeking = effect
        if self.body.complete or max(self.body.received, self.body.length or 0) > effect.limit:
            self._peeked()
        else:
            self._responder.hold_body(False)
            self._responder.want_body()

    def _peeked(self) -> None:
        limit = 0 if self._peeking is None else self._peeking.limit
        self._peeking = None
        whole = self.body.complete and self.body.received <= limit
        self._advance(BodyPeeked(self.body.whole() if whole else None, self._house.now))

    def _read_response(self, effect: ReadResponse) -> None:
        if self._early_failure is not None:
            self.refuse(refusal_for(self._early_failure))
            return
        self._gathering = effect
        if self._channel is not None:
            self._channel.hold(False)
        if self._early_end:
            self._gathered()

    def _change_store(self, effect: ChangeStore) -> None:
        """A disk that hangs must not keep the client waiting for ever."""
        patience = LOOK_SECONDS if effect.update is None else CHANGE_SECONDS
        self._house.timers.set(self, Timer.DISK, self._house.now + patience)
        self._house.change(effect, partial(self._changed, self._changes))

    def _changed(self, change: int, reason: str | None) -> None:
        if not self.ended and change == self._changes:
            self._changes += 1
            self._house.timers.clear(self, Timer.DISK)
            self._advance(StoreChanged(reason, self._house.now))

    def _gathered(self) -> None:
        self._gathering = None
        self._advance(BodyRead(b"".join(self._early or []), self._house.now))

    def _reply(self, effect: Reply) -> None:
        """Start relaying; what came while the script was thinking goes out with the head."""
        if self._early_failure is not None:
            self.refuse(refusal_for(self._early_failure))
            return
        self._script.close()
        self._start_response(effect.head, effect.length)
        self.body.forget()
        self._relay = effect.relay
        early, self._early = self._early or [], []
        self.from_upstream -= self._early_size  # counted again as it is passed on
        if self._channel is not None:
            self._channel.hold(self._client_full)
        for data in early:
            if not self.ended:
                self.upstream_body(data)
        if self.ended:
            return
        if self._early_end:
            self.upstream_end()
        elif self._comment_interval is not None and effect.relay.comment() is not None:
            self._house.timers.set(self, Timer.COMMENT, self._house.now + self._comment_interval)

    def _keep_early(self, data: bytes) -> None:
        if self._early is None:
            raise LocalError("a response body came before its head")
        self._early.append(data)
        self._early_size += len(data)
        if self._gathering is not None:
            if self._early_size > self._gathering.limit:
                self.refuse(Refusal(502, f"the upstream's answer exceeds {self._gathering.limit} bytes"))
        elif self._channel is not None and self._early_size > EARLY_LIMIT:
            self._channel.hold(True)

    # The answer ----------------------------------------------------------------------------------------------------

    def _answer(self, head: ResponseHead, body: bytes) -> None:
        dated = ResponseHead(head.status, [*head.headers, (b"date", http_date(self.call.wall))], head.reason)
        self._start_response(dated, len(body))
        self._finish(body)

    def _start_response(self, head: ResponseHead, length: int | None) -> None:
        self._move(Step.REPLIED)
        self.status = head.status
        self.first_byte_at = self._last_sent_at = self._house.now
        head.headers.append((b"x-router-request-id", self.call.request_id.encode("ascii")))
        self._responder.send_head(head, length)

    def _end_relay(self, relay: Relay) -> None:
        last = relay.finish()
        if relay.failed:
            self._break_off(last)
        else:
            self._finish(last)

    def _break_off(self, frame: bytes | None) -> None:
        self._end(Step.BROKEN)
        self._responder.cut(frame)

    def _finish(self, last: bytes) -> None:
        if last:
            self.sent += len(last)
            self._responder.send_body(last)
        self._end(Step.FINISHED)
        self._responder.send_end()

    def _end(self, step: Step) -> None:
        self._move(step)
        self._script.close()
        self._drop_channel()
        self.body.forget()
        self._house.timers.clear(self, Timer.COMMENT)
        self._house.timers.clear(self, Timer.DISK)
        self._house.exchange_ended(self)

    def _move(self, step: Step) -> None:
        following = LIFECYCLE.get((self.phase, step))
        if following is None:
            raise LocalError(f"an exchange that is {self.phase.name} cannot take {step.name}")
        self.phase = following

    def _drop_channel(self) -> None:
        if self._channel is not None:
            self._channel.cancel()
            self._channel = None
