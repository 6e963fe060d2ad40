"""Which provider a request goes to, under which name of the model, and with which key."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocol.errors import Refusal
from protocol.identity.providers import ProviderRecord
from protocol.identity.sealing import CannotOpen, Sealer
from protocol.identity.upstream_url import OriginGuard
from protocol.kinds import VISIBLE
from protocol.values import Secret


@dataclass(frozen=True, slots=True)
class BootProvider:
    """The provider that the settings describe; ``api_key`` counts before ``record.api_key_env``."""

    record: ProviderRecord
    api_key: Secret | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that can be asked. ``warning`` is for the log: why there is no key where one is meant to be."""

    record: ProviderRecord
    key: Secret | None
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom to ask, by name, and for which model; None leaves it to the provider."""

    provider: str
    model: str | None


@dataclass(frozen=True, slots=True)
class Providers:
    """All providers: the stored ones, and that of the settings unless one of its name is stored."""

    stored: Mapping[str, ProviderRecord]
    boot: BootProvider | None = None

    def records(self) -> dict[str, ProviderRecord]:
        """By name, sorted."""
        boot = {} if self.boot is None else {self.boot.record.name: self.boot.record}
        return dict(sorted({**boot, **self.stored}.items()))

    def resolve(
        self, name: str, *, environment: Callable[[str], str | None], sealer: Sealer, guard: OriginGuard
    ) -> Provider:
        """The provider ``name`` with its key; ``environment`` looks a variable up.

        The guard judges what administrators have stored. The settings are the operator's own, and stand.

        :raises Refusal: 404, there is none; 503, it is disabled, may not be where it is, or has a key of no use.
        """
        record = _enabled(self.records().get(name), name)
        if name in self.stored:
            _admitted(record, guard)
        elif self.boot is not None and self.boot.api_key is not None:
            return Provider(record, _usable(self.boot.api_key, "the key in the settings", name))
        return _with_key(record, environment, sealer)

    def choose(self, model: str | None, *, default: str, fallbacks: Sequence[str] = ()) -> list[Choice]:
        """Whom to ask for ``model``, and whom in turn if that fails.

        The first is an enabled provider that lists the model, else the one that ``name/model`` names, else ``default``,
        with its own model where the request has none. Of several that list it the default comes first, then the order
        of ``fallbacks``, then that of the names. A provider that is the only one gets every model as it is: its models
        may have slashes of their own.

        :param fallbacks: ``name``, which is asked for the same model unless it lists others only, or ``name/model``.
            They do not stand in for a provider that the request has named.
        :raises Refusal: 404, the named or default provider is missing; 503, it is disabled and nobody stands in.
        """
        records = self.records()
        first = default
        if model and len(records) > 1:
            preferred = [default, *(_split(entry)[0] for entry in fallbacks), *records]
            ranked = [records[name] for name in dict.fromkeys(preferred) if name in records]
            listing = next((record for record in ranked if record.enabled and model in record.models), None)
            if listing is not None:
                first = listing.name
            elif (named := _named(model, ranked)) is not None:
                return [named]
        others = _standing_in(records, fallbacks, model)
        found = records.get(first)
        if found is None or found.enabled or not others:
            record = _enabled(found, first)
            others.insert(0, Choice(first, model or record.default_model))
        return list(dict.fromkeys(others))


# --- choosing ---------------------------------------------------------------------------------------------------------


def _named(model: str, ranked: Iterable[ProviderRecord]) -> Choice | None:
    """The choice that ``name/model`` makes; None for a model that only looks like that."""
    prefix, rest = _split(model)
    named = [record for record in ranked if rest and prefix == (record.models_prefix or record.name)]
    if not named:
        return None
    record = next((record for record in named if record.enabled), named[0])
    return Choice(_enabled(record, record.name).name, rest)


def _standing_in(records: Mapping[str, ProviderRecord], fallbacks: Iterable[str], model: str | None) -> list[Choice]:
    choices = []
    for name, other in map(_split, fallbacks):
        record = records.get(name)
        if record is None or not record.enabled:
            continue
        if other or not model or not record.models or model in record.models:
            choices.append(Choice(name, other or model or record.default_model))
    return choices


def _split(text: str) -> tuple[str, str]:
    """``name/model``, whose model may be empty and may have slashes."""
    name, _, model = text.partition("/")
    return name, model


def _enabled(record: ProviderRecord | None, name: str) -> ProviderRecord:
    if record is None:
        raise Refusal(404, f"provider {name!r} is not configured", code="provider_not_found")
    if not record.enabled:
        raise Refusal(503, f"provider {name!r} is disabled", code="provider_disabled")
    return record


# --- resolving --------------------------------------------------------------------------------------------------------


def _admitted(record: ProviderRecord, guard: OriginGuard) -> None:
    try:
        guard.check(record.base_url.origin.host)
        if record.proxy is not None:
            guard.check(record.proxy.host)
    except ValueError as error:
        # Where it is, is not for clients to know.
        raise Refusal(503, f"provider {record.name!r} is at a place that is not allowed") from error


def _with_key(record: ProviderRecord, environment: Callable[[str], str | None], sealer: Sealer) -> Provider:
    """The variable's key if it has one, else the stored one, else none."""
    variable = record.api_key_env
    value = "" if variable is None else (environment(variable) or "").strip()
    if value:
        return Provider(record, _usable(Secret(value), f"the environment variable {variable}", record.name))
    if record.encrypted_api_key is not None:
        try:
            key = sealer.open(record.encrypted_api_key, record.name, str(record.base_url))
        except CannotOpen as error:
            raise Refusal(503, str(error)) from None
        return Provider(record, _usable(key, "the stored key", record.name))
    return Provider(record, None, "" if variable is None else f"the environment variable {variable} has no key")


def _usable(key: Secret, source: str, name: str) -> Secret:
    if not VISIBLE.fullmatch(key.reveal()):
        raise Refusal(503, f"provider {name!r}: {source} is empty or holds characters that no header can carry")
    return key
