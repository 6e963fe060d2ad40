"""``/metrics`` and ``/v1/usage``: what the router has counted, for everybody and for the operator."""

from collections.abc import Callable

import msgspec

from protocol.call import Call
from protocol.effects import Answer, Script
from protocol.exposition import choose_format
from protocol.identity.roster import Roster
from protocol.identity.token_desk import TokenDesk
from protocol.metrics import Metrics
from protocol.scripts.tokens import answered
from protocol.values import ResponseHead

InFlight = Callable[[], int]


def metrics_page(call: Call, metrics: Metrics, roster: Roster, in_flight: InFlight) -> Script:
    """The counters as Prometheus reads them; the page names nobody."""
    form = choose_format(call.head.headers)
    page = metrics.page(form, in_flight=in_flight(), accounts=roster.snapshots(call.at))
    yield Answer(ResponseHead(200, [(b"content-type", form.value.encode("ascii"))]), page)


def usage(call: Call, metrics: Metrics, roster: Roster, desk: TokenDesk, in_flight: InFlight) -> Script:
    """The same as JSON under the original's keys, and what each token has used."""
    counted = metrics.usage(in_flight=in_flight(), accounts=roster.snapshots(call.at))
    tokens = {}
    for token_id, used in desk.usage.counts.items():
        record = desk.ledger.find(token_id)
        tokens[token_id] = {"label": "" if record is None else record.label, **msgspec.structs.asdict(used)}
    yield answered({**counted, "tokens": tokens})
