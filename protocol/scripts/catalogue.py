"""``/v1/models`` before OpenAI-compatible providers: what each lists, else what the operator has listed for it."""

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from protocol.call import Call
from protocol.effects import Answer, Effect, Fetched, Outcome, Script, read_response
from protocol.errors import Refusal
from protocol.identity.provider_choice import Provider
from protocol.identity.providers import ProviderRecord
from protocol.scripts.providing import Providing, fetch_from, look, request_to
from protocol.scripts.translated import JSON, speaks_anthropic
from protocol.values import ResponseHead
from protocol.wire.headers import is_identity

CACHE_SECONDS: Final = 60.0
"""How long a provider's list is good for; so is the word that it has none."""

MAX_LIST: Final = 4 * 1024 * 1024

Entry = dict[str, Any]
"""One model as OpenAI's API lists it."""


class _Page(msgspec.Struct):
    data: list[dict[str, Any]]


def list_models(call: Call, providing: Providing) -> Script:
    """All models of all providers, in the shape of the client's own API."""
    entries = yield from _entries(call, providing)
    if speaks_anthropic(call.head):
        data = [anthropic_entry(entry) for entry in entries]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        page: Entry = {"data": data, "has_more": False, "first_id": first, "last_id": last}
    else:
        page = {"object": "list", "data": entries}
    yield Answer(ResponseHead(200, [JSON]), msgspec.json.encode(page))


def show_model(call: Call, providing: Providing, name: str) -> Script:
    """One of them."""
    entries = yield from _entries(call, providing)
    entry = next((entry for entry in entries if entry["id"] == name), None)
    if entry is None:
        raise Refusal(404, f"The model '{name}' does not exist here.", param="model", code="model_not_found")
    shown = anthropic_entry(entry) if speaks_anthropic(call.head) else entry
    yield Answer(ResponseHead(200, [JSON]), msgspec.json.encode(shown))


def _entries(call: Call, providing: Providing) -> Generator[Effect, Outcome, list[Entry]]:
    """Each model once. The default provider's go by their names, others' also as ``provider/model``."""
    yield from look(call, providing)
    desk = providing.desk
    entries: dict[str, Entry] = {}
    records = [record for record in desk.providers.records().values() if record.enabled]
    for record in sorted(records, key=lambda record: record.name != providing.default):
        known = desk.catalogue.get(record.name)
        if known is None or known[0] + CACHE_SECONDS <= call.at or known[1] is not record:
            listed = yield from _listed(call, providing, record)
            known = desk.catalogue[record.name] = (call.at, record, listed)
        for entry in known[2]:
            name = entry["id"]
            if record.name == providing.default or name in record.models:
                entries.setdefault(name, entry)
            if record.name != providing.default:
                prefixed = f"{record.models_prefix or record.name}/{name}"
                entries.setdefault(prefixed, {**entry, "id": prefixed})
    return list(entries.values())


def _listed(call: Call, providing: Providing, record: ProviderRecord) -> Generator[Effect, Outcome, list[Entry]]:
    """What one provider says of itself; what the operator says of it where it says nothing of use."""
    try:
        provider: Provider = providing.desk.resolve(record.name)
    except Refusal:
        return configured(record)
    headers = [(b"accept", b"application/json"), (b"accept-encoding", b"identity")]
    outcome = yield from fetch_from(call, provider, request_to(providing, provider, b"GET", "/models", headers))
    if not isinstance(outcome, Fetched) or outcome.head.status != 200 or not is_identity(outcome.head.headers):
        return configured(record)
    said = yield from read_response(MAX_LIST)
    try:
        data = msgspec.json.decode(said, type=_Page).data
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return configured(record)
    return [entry for entry in data if isinstance(entry.get("id"), str)] or configured(record)


def configured(record: ProviderRecord) -> list[Entry]:
    """The models that the operator lists for a provider."""
    names = record.models or ((record.default_model,) if record.default_model else ())
    return [{"id": name, "object": "model", "created": 0, "owned_by": record.name} for name in names]


def anthropic_entry(entry: Entry) -> Entry:
    """The same model as Anthropic's API lists it."""
    created = entry.get("created")
    moment = datetime.fromtimestamp(created if isinstance(created, int) and 0 <= created < 2**40 else 0, UTC)
    return {
        "type": "model",
        "id": entry["id"],
        "display_name": entry["id"],
        "created_at": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
