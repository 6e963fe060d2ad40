"""The OpenAI-compatible providers of one router: those that are stored, and the one that the settings describe."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from protocol.config import Config
from protocol.files import Contents, Update
from protocol.identity.provider_choice import BootProvider, Provider, Providers
from protocol.identity.providers import STORE_FILE, ProviderRecord, read_store
from protocol.identity.sealing import Sealer
from protocol.identity.upstream_url import OriginGuard
from protocol.values import Secret


@final
class ProviderDesk:
    """What the store file holds, in memory."""

    def __init__(self, secret: Secret, config: Config, environment: Mapping[str, str]) -> None:
        self.path = f"{config.data_dir}/{STORE_FILE}"
        self.sealer = Sealer(secret)
        self.looked_at = float("-inf")
        """When the file was last looked at, in monotonic seconds."""
        self.catalogue: dict[str, tuple[float, ProviderRecord, list[dict[str, Any]]]] = {}
        """By provider: when it was asked for its models (monotonic seconds), as what, and what it listed."""
        self._environment = environment
        self.guard = OriginGuard(config.allowed_provider_hosts)
        self.contents: Contents = ()
        self.stored: Mapping[str, ProviderRecord] = {}
        self._boot = boot_provider(config)

    def reconfigured(self, config: Config) -> None:
        """The settings describe another provider from now on."""
        self.guard = OriginGuard(config.allowed_provider_hosts)
        self._boot = boot_provider(config)

    @property
    def lock(self) -> str:
        return f"{self.path}.lock"

    @property
    def paths(self) -> Sequence[str]:
        return (self.path,)

    @property
    def providers(self) -> Providers:
        """All that can be asked."""
        return Providers(self.stored, self._boot)

    def resolve(self, name: str) -> Provider:
        """The provider of this name, with its key.

        :raises Refusal: 404, there is none; 503, it cannot be used.
        """
        return self.providers.resolve(name, environment=self._environment.get, sealer=self.sealer, guard=self.guard)

    def loaded(self, files: Contents, wall: float) -> None:
        """The store file holds this now.

        :raises CorruptFile: it cannot be understood; then what was known stays.
        """
        ((path, content),) = files
        self.stored = read_store(path, content)
        self.contents = files

    def news(self, wall: float) -> Update | None:
        """Nothing: each change is written when it is made."""
        return None


def boot_provider(config: Config) -> BootProvider:
    """The provider that the settings describe."""
    record = ProviderRecord(
        config.openai_compatible_provider_name,
        config.openai_compatible_base_url,
        default_model=config.openai_compatible_model,
        models=config.openai_compatible_models,
        api_key_env=config.openai_compatible_api_key_env,
        api=config.openai_compatible_api,
        max_output_tokens=config.openai_compatible_max_tokens,
        counts_tokens=config.openai_compatible_counts_tokens,
    )
    return BootProvider(record, config.openai_compatible_api_key)
