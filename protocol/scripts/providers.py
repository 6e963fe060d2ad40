"""``/api/providers``: the operator says which OpenAI-compatible providers there are."""

from collections.abc import Callable
from typing import Any

from protocol.call import Call
from protocol.effects import Script, Store, change_store
from protocol.errors import Refusal
from protocol.identity.provider_desk import ProviderDesk
from protocol.identity.provider_import import read_draft
from protocol.identity.providers import FieldFault, ProviderRecord, Removal, upsert
from protocol.scripts.tokens import answered, read_json


def list_providers(call: Call, desk: ProviderDesk) -> Script:
    """All stored records, without their keys."""
    yield from change_store(Store.PROVIDERS)
    yield answered({"data": [record.redacted() for record in desk.stored.values()]})


def show_provider(call: Call, desk: ProviderDesk, name: str) -> Script:
    """One record, without its key."""
    yield from change_store(Store.PROVIDERS)
    yield answered(found(desk, name).redacted())


def upsert_provider(call: Call, desk: ProviderDesk, entropy: Callable[[int], bytes]) -> Script:
    """Store a record under its name, in the place of one that has it."""
    asked = yield from read_json(call, dict[str, Any], "provider")
    try:
        draft = read_draft(asked, desk.guard)
    except FieldFault as fault:
        raise Refusal(400, str(fault), param=fault.field) from None
    call.annotations["provider"] = draft.record.name
    call.annotations["base_url"] = str(draft.record.base_url)
    update = upsert(desk.path, [draft], desk.sealer, entropy)
    yield from change_store(Store.PROVIDERS, update)
    (record,) = update.outcome(desk.contents)
    yield answered(record.redacted())


def delete_provider(call: Call, desk: ProviderDesk, name: str) -> Script:
    """Forget a record and its key."""
    yield from change_store(Store.PROVIDERS)
    call.annotations["provider"] = found(desk, name).name
    yield from change_store(Store.PROVIDERS, Removal(desk.path, name))
    yield answered({"deleted": name})


def found(desk: ProviderDesk, name: str) -> ProviderRecord:
    """The stored record of this name.

    :raises Refusal: 404 where there is none.
    """
    record = desk.stored.get(name)
    if record is None:
        raise Refusal(404, "provider not found")
    return record
