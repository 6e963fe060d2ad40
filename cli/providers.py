"""``providers``: the OpenAI-compatible upstreams, in the store of this machine or at a running router."""

import sys
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from cli.options import Invocation, RouterGroup, utf8
from cli.output import RuntimeFailure
from cli.provider_admin import ProviderAdmin, RouterProviders, StoredProviders
from cli.remote import router_at
from cli.results import Column, json_option, show_json, table_text
from cli.tokens import router_option
from protocol.config import OpenAiApi
from protocol.identity.provider_import import ImportFault
from protocol.identity.providers import FieldFault, ProviderKind
from protocol.identity.sealing import Envelope
from protocol.values import BaseUrl

ENVELOPES: Final = {"v1": Envelope.V1, "v2": Envelope.V2}

envelope_option: Final = click.option(
    "--envelope",
    type=click.Choice(tuple(ENVELOPES)),
    help="How a new key is sealed: v2 unless said otherwise; v1 is weaker, and what the Rust program can open.",
)


@click.group(cls=RouterGroup)
def providers() -> None:
    """Manage the OpenAI-compatible providers that requests may be sent to.

    This is done in the data directory: run it with the router's settings, on its machine. Keys are stored encrypted and
    never shown. With --url a running router does it.
    """


@providers.command("add")
@click.option("--name", required=True, callback=utf8, metavar="NAME", help="What the provider is called here.")
@click.option(
    "--kind",
    callback=utf8,
    metavar="KIND",
    help=f"What it is: {ProviderKind.OPENAI_COMPATIBLE.value}, also the default.",
)
@click.option(
    "--base-url",
    required=True,
    callback=utf8,
    metavar="URL",
    help="Base URL of its API, such as http://litellm:4000/v1.",
)
@click.option("--model", "default_model", callback=utf8, metavar="MODEL", help="The model for requests that name none.")
@click.option(
    "--models", callback=utf8, metavar="MODEL,...", help="The models that it is asked for, and that are listed."
)
@click.option(
    "--api-key", callback=utf8, metavar="KEY", help="Its key. Others on this machine can read it from the command line."
)
@click.option("--api-key-stdin", is_flag=True, help="Take the key from the first line of standard input.")
@click.option(
    "--api-key-env",
    callback=utf8,
    metavar="NAME",
    help="The environment variable that has the key, where the router runs.",
)
@click.option(
    "--enabled", callback=utf8, metavar="BOOLEAN", default="true", show_default=True, help="Whether it is used."
)
@click.option("--api", type=click.Choice([api.value for api in OpenAiApi]), help="Which of OpenAI's APIs it has.")
@click.option(
    "--proxy", callback=utf8, metavar="URL", help="The proxy to reach it through: http, https, socks5 or socks5h."
)
@click.option(
    "--models-prefix",
    callback=utf8,
    metavar="NAME",
    help="What stands for its name in NAME/MODEL; the name itself if not set.",
)
@envelope_option
@router_option
@click.pass_context
def add_provider(
    ctx: click.Context,
    /,
    url: BaseUrl | None,
    envelope: str | None,
    api_key: str | None,
    api_key_stdin: bool,
    **fields: str | None,
) -> None:
    """Add a provider, or replace the one of this name, and print what is stored, without the key.

    A stored key is kept when none is given, as long as the base URL and the proxy stay the same; "" takes it away.
    """
    if api_key_stdin:
        if api_key is not None:
            raise click.UsageError("--api-key and --api-key-stdin exclude each other", ctx)
        api_key = key_from_stdin(ctx)
    elif api_key:
        click.echo("Others on this machine can read a key on a command line; there is --api-key-stdin.", err=True)
    given = {name: value for name, value in {**fields, "api_key": api_key}.items() if value is not None}
    try:
        stored = administration(ctx, url, envelope).add(given)
    except FieldFault as fault:
        raise click.UsageError(str(fault), ctx) from None
    show_json(stored)


@providers.command("list")
@router_option
@json_option
@click.pass_context
def list_providers(ctx: click.Context, url: BaseUrl | None, as_json: bool) -> None:
    """Show every stored provider."""
    records = administration(ctx, url).records()
    if as_json:
        show_json({"data": records})
    else:
        click.echo(table_text(COLUMNS, map(cells, records)))


@providers.command("show")
@click.argument("name", callback=utf8)
@router_option
@click.pass_context
def show_provider(ctx: click.Context, name: str, url: BaseUrl | None) -> None:
    """Print one provider as JSON; of its key only whether there is one."""
    show_json(administration(ctx, url).record(name))


@providers.command("remove")
@click.argument("name", callback=utf8)
@router_option
@click.pass_context
def remove_provider(ctx: click.Context, name: str, url: BaseUrl | None) -> None:
    """Forget a provider and its key."""
    administration(ctx, url).remove(name)
    click.echo(f"removed {name}")


@providers.command("import")
@click.argument("path", metavar="PATH")
@envelope_option
@router_option
@click.pass_context
def import_providers(ctx: click.Context, path: str, envelope: str | None, url: BaseUrl | None) -> None:
    """Add all providers of a file, or of standard input for "-"; those of the same name are replaced.

    It holds a JSON record or a list of them, the lines of a provider store, or names with indented fields below them.
    """
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise RuntimeFailure(f"cannot read {path}: {error.strerror}") from None
    try:
        number = administration(ctx, url, envelope).import_all(content)
    except ImportFault as fault:
        raise RuntimeFailure(f"{path}, {fault}") from None
    click.echo(f"imported {number} provider(s)")


def administration(ctx: click.Context, url: BaseUrl | None, envelope: str | None = None) -> ProviderAdmin:
    """The router at ``url``, else the store of this machine."""
    config, report = ctx.ensure_object(Invocation).configure()
    if url is None:
        return StoredProviders(config, report, ENVELOPES[envelope or "v2"])
    if envelope is not None:
        raise click.UsageError("--envelope is for the store of this machine; a router seals keys by itself", ctx)
    return RouterProviders(config, router_at(url, config))


def key_from_stdin(ctx: click.Context) -> str:
    try:
        key = sys.stdin.buffer.readline().decode().strip()
    except UnicodeDecodeError:
        raise click.UsageError("the key on standard input is not UTF-8 text", ctx) from None
    if not key:
        raise click.UsageError("there is no key on standard input", ctx)
    return key


# --- for people -------------------------------------------------------------------------------------------------------

COLUMNS: Final = (
    Column("name", 20), Column("kind", 18), Column("base_url", 32), Column("enabled", 10), Column("default_model"),
)  # fmt: skip


class ListedProvider(msgspec.Struct):
    """As much of a record as is shown."""

    name: str
    kind: str = ""
    base_url: str = ""
    enabled: bool = True
    default_model: str | None = None


def cells(record: Any) -> list[str]:
    try:
        provider = msgspec.convert(record, ListedProvider)
    except msgspec.ValidationError as error:
        raise RuntimeFailure(f"a record of a provider has another shape: {error}") from None
    return [
        provider.name,
        provider.kind,
        provider.base_url,
        "true" if provider.enabled else "false",
        provider.default_model or "",
    ]
