"""What the settings say, in the words of the original's ``doctor``, and what is doubtful about them."""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from cli.checks.findings import Check, Finding, check, failure, private, warning
from cli.effective import SET, UNSET
from cli.output import ConfigurationError
from cli.secret_file import FILE_NAME, read_secret
from cli.sources import Sources
from protocol.config import SETTINGS, Config
from protocol.identity.tokens import weak_secret
from protocol.values import Origin, Secret

LEAST_ADMIN_KEY_CHARACTERS = 16


def settings_checks(config: Config, sources: Sources) -> list[Check]:
    """One for each setting that matters when something does not work."""
    provider = f"{config.openai_compatible_provider_name} ({config.openai_compatible_base_url})"
    return [
        check("listen_addr", listen_address(config)),
        check("upstream_provider", config.upstream_provider.value),
        check("upstream_base_url", str(config.upstream_base_url), in_the_clear(config.upstream_base_url.origin)),
        check("openai_provider", provider),
        check("claude_code_home", config.claude_code_home),
        check("data_dir", config.data_dir),
        check("storage_policy", config.storage_policy.value.capitalize()),
        check("enable_openai_api", shown(not config.disable_openai_api)),
        check("enable_anthropic_api", shown(not config.disable_anthropic_api)),
        check("enable_metrics", shown(not config.disable_metrics)),
        check("additional_account_dirs", f"{len(config.additional_account_dirs)} configured"),
        check("admin_key", UNSET if config.admin_key is None else SET, admin_key_findings(config)),
        files_check(sources),
    ]


def listen_address(config: Config) -> str:
    if config.unix_socket is not None:
        return f"unix:{config.unix_socket}"
    return f"[{config.host}]:{config.port}" if ":" in config.host else f"{config.host}:{config.port}"


def shown(enabled: bool) -> str:
    return "true" if enabled else "false"


def in_the_clear(origin: Origin) -> list[Finding]:
    if origin.tls or is_loopback(origin.host):
        return []
    return [warning("credentials and prompts travel unencrypted to this address; use https")]


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def admin_key_findings(config: Config) -> Iterator[Finding]:
    beyond = config.unix_socket is None and not is_loopback(config.host)
    if config.admin_key is None and beyond:
        yield warning(
            "the router listens beyond this machine without an admin key: what passes connections on here, such as a "
            "tunnel or a TCP proxy, lets others administer it; set TOKEN_ADMIN_KEY"
        )
    elif config.admin_key is not None and len(config.admin_key.reveal()) < LEAST_ADMIN_KEY_CHARACTERS:
        yield warning(f"it has less than {LEAST_ADMIN_KEY_CHARACTERS} characters and may be guessed")


def files_check(sources: Sources) -> Check:
    """The files that settings were read from, what is wrong with their lines, and who else may read secrets there."""
    secrets = {row.env for row in SETTINGS if row.kind.secret}
    held: dict[str, set[str]] = {}
    for key, place in sources.places.items():
        held.setdefault(place.partition(" line ")[0], set()).add(key)
    read = [name for name in (".lenv", ".env") if name in held]
    findings = [warning(doubt) for doubt in sources.warnings]
    for name in read:
        findings += private(name) if held[name] & secrets else []
    others = f"; other keys: {', '.join(sources.others)}" if sources.others else ""
    return check("settings_files", (", ".join(read) or "<none>") + others, findings)


def secret_check(config: Config) -> tuple[Check, Secret | None]:
    """Where the token secret is, whether it is any good, and what it is; None if there is none yet."""
    if config.token_secret is not None:
        return check("token_secret", SET, strength(config.token_secret)), config.token_secret
    path = Path(config.token_secret_file or f"{config.data_dir}/{FILE_NAME}")
    if config.token_secret_file is None and not path.exists():
        return check("token_secret", f"{path} (will be made at the first start)"), None
    doubts: list[str] = []
    try:
        secret = read_secret(path, lambda log: doubts.append(log.event))
    except ConfigurationError as error:
        return check("token_secret", f"{path} (MISSING)", [failure(error.message)]), None
    return check("token_secret", f"{path} (present)", [*map(warning, doubts), *strength(secret)]), secret


def strength(secret: Secret) -> list[Finding]:
    if not weak_secret(secret):
        return []
    weak = "it is shorter than 32 bytes and may be guessed from any token; `openssl rand -hex 32` makes a good one"
    return [warning(weak)]
