"""The data directory and what the router keeps there."""

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cli.checks.findings import Check, Finding, check, failure, may_write, private, warning
from cli.token_admin import contents
from protocol.config import Config, StoragePolicy, UpstreamProvider
from protocol.errors import Refusal
from protocol.files import Contents, CorruptFile, FileContent, Missing
from protocol.identity.provider_desk import ProviderDesk
from protocol.identity.sealing import CannotOpen
from protocol.identity.token_files import BINARY_NAME, TEXT_NAME, read_tokens, token_files
from protocol.identity.token_usage import read_usage
from protocol.values import Secret

STORE_LABELS = {TEXT_NAME: "lino store", BINARY_NAME: "binary store"}


def store_checks(config: Config, secret: Secret | None, environment: Mapping[str, str]) -> list[Check]:
    """The data directory, then each file that the policy uses, then the providers.

    :param secret: what their keys are sealed under; None = it will be made.
    """
    files = token_files(config.storage_policy, config.data_dir)
    return [
        directory_check(config),
        *map(tokens_check, files.records),
        *map(usage_check, files.usage),
        providers_check(config, secret, environment),
    ]


# --- the directory ----------------------------------------------------------------------------------------------------


def directory_check(config: Config) -> Check:
    path = config.data_dir
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return check("data_dir", "will be created on first write", can_be_created(path))
    except OSError as error:
        return check("data_dir", "unusable", [failure(f"{path}: {error.strerror}")])
    if not stat.S_ISDIR(status.st_mode):
        return check("data_dir", "unusable", [failure(f"{path} is not a directory")])
    mode = stat.S_IMODE(status.st_mode)
    return check("data_dir", f"present (mode {mode:04o})", [*directory_findings(path, mode), *left_over(config)])


def directory_findings(path: str, mode: int) -> Iterator[Finding]:
    if not may_write(path):
        yield failure(f"this user may not write into {path}: run this as the router's user, or change DATA_DIR")
    if mode & 0o022:
        yield failure(f"other users of this machine may replace what is in {path}; try `chmod 700` on it")


def can_be_created(path: str) -> list[Finding]:
    there = next(str(parent) for parent in Path(os.path.abspath(path)).parents if os.path.exists(parent))
    if os.path.isdir(there) and may_write(there):
        return []
    return [failure(f"{path} cannot be created in {there}; change DATA_DIR")]


def left_over(config: Config) -> Iterator[Finding]:
    """A store that another policy has left has records, revocations among them, that this one does not read."""
    read = token_files(config.storage_policy, config.data_dir).records
    for path in token_files(StoragePolicy.BOTH, config.data_dir).records:
        if path not in read and os.path.exists(path):
            yield warning(f"{path} is there, but not read with STORAGE_POLICY {config.storage_policy.value}")


# --- the files --------------------------------------------------------------------------------------------------------


def tokens_check(path: str) -> Check:
    return file_check(
        STORE_LABELS[os.path.basename(path)], path, lambda files: counted(len(read_tokens(files)), "token")
    )


def usage_check(path: str) -> Check:
    return file_check("usage store", path, lambda files: counted(len(read_usage(files)), "token"))


def file_check(label: str, path: str, summed_up: Callable[[Contents], str]) -> Check:
    """A file that exists, can be understood, and is private.

    :param summed_up: what is in it; raises CorruptFile.
    """
    files = contents((path,))
    if is_empty(files[0][1]):
        return check(label, f"{path} (<empty>)", private(path))
    try:
        return check(label, f"{path} (present, {summed_up(files)})", private(path))
    except CorruptFile as error:
        return check(label, f"{path} (present, UNREADABLE)", [failure(str(error)), *private(path)])


def is_empty(content: FileContent) -> bool:
    return isinstance(content, Missing) or (isinstance(content, bytes) and not content)


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


# --- providers --------------------------------------------------------------------------------------------------------


def providers_check(config: Config, secret: Secret | None, environment: Mapping[str, str]) -> Check:
    """The provider store, each key in it, and the provider that requests are sent to."""
    # A secret that is still to be made has sealed nothing.
    desk = ProviderDesk(secret or Secret(secrets.token_hex()), config, environment)

    def summed_up(files: Contents) -> str:
        desk.loaded(files, 0.0)
        return counted(len(desk.stored), "provider")

    found = file_check("provider store", desk.path, summed_up)
    return check(found.label, found.value, [*found.findings, *key_findings(desk), *selected(desk, config)])


def key_findings(desk: ProviderDesk) -> Iterator[Finding]:
    for record in desk.stored.values():
        if record.encrypted_api_key is not None:
            try:
                desk.sealer.open(record.encrypted_api_key, record.name, str(record.base_url))
            except CannotOpen as error:
                yield warning(str(error))


def selected(desk: ProviderDesk, config: Config) -> Iterator[Finding]:
    """Whether the provider that requests are sent to can be asked."""
    if config.upstream_provider is not UpstreamProvider.OPENAI_COMPATIBLE:
        return
    name = config.openai_compatible_provider_name
    try:
        provider = desk.resolve(name)
    except Refusal as refusal:
        yield failure(refusal.message)
    else:
        if provider.warning:
            yield warning(f"provider {name!r}: {provider.warning}")
