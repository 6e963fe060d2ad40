"""Where providers are administered: in the store of this machine, or by a running router. Both speak the API's JSON."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, final
from urllib.parse import quote

from cli.output import ConfigurationError, NotFound, Report, RuntimeFailure
from cli.remote import RemoteFailure, RemoteRouter
from cli.secret_file import token_secret
from cli.token_admin import contents
from protocol.config import Config
from protocol.errors import Refusal
from protocol.files import Contents, CorruptFile, Update, UpdateFailed
from protocol.identity.provider_import import read_draft, read_import
from protocol.identity.providers import (
    STORE_FILE,
    ProviderDraft,
    ProviderRecord,
    Removal,
    read_store,
    upsert,
)
from protocol.identity.sealing import Envelope, Sealer
from protocol.identity.upstream_url import OriginGuard
from transports import data_files


class ProviderAdmin(ABC):
    """Who adds providers and removes them. Every method may raise a ``click.ClickException`` for the operator."""

    @abstractmethod
    def add(self, fields: Mapping[str, Any]) -> Any:
        """Store one provider, in the place of one of its name; the record as it is shown.

        :raises FieldFault: a field cannot be used.
        """

    @abstractmethod
    def import_all(self, content: bytes) -> int:
        """Store all providers in a file of any form; how many those are.

        :raises ImportFault: it holds none, or one that cannot be used; nothing was stored then.
        """

    @abstractmethod
    def records(self) -> list[Any]:
        """All stored records without their keys, by name."""

    @abstractmethod
    def record(self, name: str) -> Any:
        """One of them.

        :raises NotFound: there is none.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Forget a provider and its key.

        :raises NotFound: there is none.
        """


# --- the store of this machine ----------------------------------------------------------------------------------------


@final
class StoredProviders(ProviderAdmin):
    """The store file of the data directory, which running routers read again when it changes.

    :param envelope: how new keys are sealed.
    """

    def __init__(self, config: Config, report: Report, envelope: Envelope = Envelope.V2) -> None:
        self._config = config
        self._report = report
        self._envelope = envelope
        self._guard = OriginGuard(config.allowed_provider_hosts)
        self._path = f"{config.data_dir}/{STORE_FILE}"

    def add(self, fields: Mapping[str, Any]) -> Any:
        (record,) = self._store([read_draft(fields, self._guard)])
        return record.redacted()

    def import_all(self, content: bytes) -> int:
        return len(self._store(read_import(content, self._guard)))

    def records(self) -> list[Any]:
        return [record.redacted() for record in self._stored().values()]

    def record(self, name: str) -> Any:
        record = self._stored().get(name)
        if record is None:
            raise NotFound(name)
        return record.redacted()

    def remove(self, name: str) -> None:
        self.record(name)
        self._changed(Removal(self._path, name))

    def _store(self, drafts: Sequence[ProviderDraft]) -> list[ProviderRecord]:
        sealer = Sealer(token_secret(self._config, self._report), self._envelope)
        change = upsert(self._path, drafts, sealer, os.urandom)
        after = self._changed(change)
        try:
            return change.outcome(after)
        except Refusal as refusal:
            raise RuntimeFailure(refusal.message) from None

    def _stored(self) -> dict[str, ProviderRecord]:
        ((path, content),) = contents((self._path,))
        try:
            return read_store(path, content)
        except CorruptFile as error:
            raise RuntimeFailure(str(error)) from None

    def _changed(self, change: Update) -> Contents:
        """What the file holds after a change."""
        outcome = data_files.update(f"{self._path}.lock", (self._path,), change)
        if isinstance(outcome, UpdateFailed):
            raise RuntimeFailure(outcome.reason)
        return outcome.files


# --- a running router -------------------------------------------------------------------------------------------------


@final
class RouterProviders(ProviderAdmin):
    """The store of a router that is asked over HTTP."""

    def __init__(self, config: Config, router: RemoteRouter) -> None:
        self._guard = OriginGuard(config.allowed_provider_hosts)
        self._router = router

    def add(self, fields: Mapping[str, Any]) -> Any:
        return self._router.ask("POST", PATH, fields)

    def import_all(self, content: bytes) -> int:
        asked = [sent(draft) for draft in read_import(content, self._guard)]
        for done, fields in enumerate(asked):
            try:
                self.add(fields)
            except RemoteFailure as failure:
                told = f"{failure.message}; {done} of {len(asked)} providers were imported before that"
                raise RemoteFailure(told, failure.status) from None
        return len(asked)

    def records(self) -> list[Any]:
        answer = self._router.ask("GET", PATH)
        records = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(records, list):
            raise RemoteFailure(f"no router answers at {self._router}: its answer is no list of providers")
        return records

    def record(self, name: str) -> Any:
        return self._of(name, "GET")

    def remove(self, name: str) -> None:
        self._of(name, "DELETE")

    def _of(self, name: str, method: str) -> Any:
        try:
            return self._router.ask(method, f"{PATH}/{quote(name, safe='')}")
        except RemoteFailure as failure:
            if failure.status == HTTPStatus.NOT_FOUND:
                raise NotFound(name) from None
            raise


PATH: Final = "/api/providers"


def sent(draft: ProviderDraft) -> dict[str, Any]:
    """A draft as the API takes it.

    :raises ConfigurationError: its key is sealed, and no router takes that from outside.
    """
    if draft.key.encrypted_api_key is not None:
        sealed = f"the key of provider {draft.record.name!r} is sealed"
        raise ConfigurationError(f"{sealed}; give it in the clear, or import the file on the router's machine")
    fields = draft.record.redacted()
    del fields["has_encrypted_api_key"]
    if draft.key.api_key is not None:
        fields["api_key"] = draft.key.api_key.reveal()
    if draft.key.api_key_env is not None:
        fields["api_key_env"] = draft.key.api_key_env
    return fields
