"""Writes the pages about settings, commands and routes from what the program knows: ``python -m cli.documentation``."""

from collections.abc import Iterable, Iterator
from inspect import cleandoc
from itertools import groupby
from pathlib import Path
from typing import Final

import click

from cli.output import PROGRAM
from cli.root import root
from protocol.config import NEXT_START, SETTINGS
from protocol.exchange import ENDS, LIFECYCLE, Phase, Step
from protocol.exposition import Family
from protocol.metrics import ABOUT, USAGE_ABOUT, Metrics
from protocol.routing import ROUTES
from protocol.settings import Setting

GENERATED: Final = "<!-- Written by `python -m cli.documentation`; edit its sources instead. -->"

SOURCES: Final = """\
Every setting has a name in the environment, and most have a flag. A value is taken from the first of these that has it:

1. the command line, before or after the command,
2. the environment,
3. `.lenv` in the current directory,
4. `.env` in the current directory,
5. the default.

An empty value counts as an answer, "not set": it hides what later sources say, and the default applies. A value that a
setting cannot take ends the program with exit code 2 and a message that names the setting, where the value came from,
and what is allowed.

`.lenv` has one `KEY: value` on a line, with a colon and a blank:

```
# settings of the router
TOKEN_SECRET: a long random text
ROUTER_PORT: 8080
UPSTREAM_READ_TIMEOUT_SECS: 120
```

- All that follows the first colon and blank is the value, `#` and further colons included. A pair of quotes around it
  is taken off. Blanks at its ends belong to a secret or a path, with a warning; elsewhere they do not count.
- Empty lines and lines that begin with `#` say nothing. When a key stands there twice, the last one counts.
- Other programs may keep their keys in the same file. The log warns about a line without a colon and blank, a key that
  is almost one of ours, and a setting of the Rust program whose feature is not there yet.

`.env` has the usual `KEY=value` lines, with `export`, quotes and comments; variables in values are not replaced.

Words and units are read in any case. Paths may begin with `~/`. A secret on a command line can be seen by every user of
the machine: prefer the environment or a file.
"""

TOKEN_SECRET: Final = """\
## The token secret

Whoever knows the secret can make tokens, and a token is valid only under the secret it was signed with. It is taken
from `TOKEN_SECRET`, else from the file that `TOKEN_SECRET_FILE` names, else from `token_secret` in `DATA_DIR`. When
there is none of these, the first start makes one of 256 bits, keeps it in that last file, readable by its owner alone,
and says so in the log. Line ends at the end of a file do not count. A secret of less than 32 bytes works, with a
warning.

Routers that are to accept each other's tokens need the same secret.
"""

RELOADING: Final = """\
## Changing settings while it runs

On SIGHUP the router reads `.lenv` and `.env` again (the environment of a running process and its command line cannot
change) and goes on with what they say now, without touching a request that is under way. The log names every setting
that has changed. These take effect with the next start only: {later}. Settings that cannot be used are an error in the
log, and everything stays as it was. Credential files, token records and stored providers need no signal: they are
noticed within a second.
"""

STOPPING: Final = """\
## Stopping

On SIGTERM or SIGINT the router accepts nothing new and lets running answers finish for `DRAIN_GRACE_SECS`; then it ends
each stream with an error event, so that no client takes it for complete. A second signal ends them at once. Whatever
started the router must wait longer than that before it kills the process, and most wait only 10 to 90 seconds unless
told otherwise: `docker stop --time`, `stop_grace_period` in a Compose file, `terminationGracePeriodSeconds` in
Kubernetes, `TimeoutStopSec` in a systemd unit.
"""

COMMANDS: Final = """\
Every command also takes the flags of [the settings](configuration.md), before or after its name. stdout has the result
and nothing else; the log goes to stderr. Exit codes: 0 = done, 1 = failed while running, 2 = wrong usage or
configuration.
"""


ROUTES_NOTE: Final = """\
What is not in this table is answered 404 here and never forwarded; a method that is not listed is a 405, or a 401 for
those without a token where one is needed. A `{name}` stands for one segment of the path. `EXTRA_UPSTREAM_PATHS` adds
further paths under the prefix. Relayed routes need a token, as `Authorization: Bearer la_sk_...` or
`x-api-key: la_sk_...`; admin routes need the admin key, or a client on this machine while none is set.
"""


EXCHANGE_NOTE: Final = """\
## An exchange

One request of a client, from its head to the last byte of the answer. Each exchange ends exactly once, and the access
log says how: `done`, `cut` or `left`. A step that the table does not have is a fault of ours.
"""


METRICS_NOTE: Final = """\
Every request counts once, when it is over: answered by an upstream or refused by the router, whole or broken off. The
counters are in memory and begin at 0 with the process. `DISABLE_METRICS` hides all of this page's routes.

`GET /metrics` is open to everybody who can connect, and names nobody: an account appears as `primary` or by its place
in `ADDITIONAL_ACCOUNT_DIRS` (`account-1`, ...), a stored provider as `other`, a path as the pattern of its route. It
comes in Prometheus' text format 0.0.4, or in OpenMetrics 1.0 for a scraper that asks for it.

```yaml
scrape_configs:
  - job_name: router
    static_configs: [{targets: ["localhost:8080"]}]
```
"""

USAGE_NOTE: Final = """\
## The same as JSON

`GET /v1/usage` is for the operator alone: with the admin key, or from the router's own machine while none is set. Here
accounts and tokens go by their names.
"""

TOKEN_COUNTS: Final = """\
An entry of `tokens` has the token's `label`, `requests`, `input_tokens`, `output_tokens`, `cache_creation_tokens`,
`cache_read_tokens` and `last_used` (epoch seconds). Unlike the counters these are [kept](tokens.md#usage): they are
those of all routers on the data directory and outlive the process.
"""


def routes_page() -> str:
    """Every route, as the router matches them."""
    rows = [
        (f"`{' '.join(route.methods)}`", f"`{route.pattern}`", route.surface.value, route.about) for route in ROUTES
    ]
    return page([GENERATED, "# Routes", ROUTES_NOTE, table(("Methods", "Path", "Surface", "What it does"), rows)])


def configuration_page() -> str:
    """Every setting, by group."""
    parts = [GENERATED, "# Configuration", SOURCES]
    for group, rows in groupby(SETTINGS, key=lambda row: row.group):
        parts += [f"## {group}", table(("Setting", "Default", "Takes", "What it does"), map(setting_cells, rows))]
    later = ", ".join(f"`{row.env}`" for row in SETTINGS if row.name in NEXT_START)
    return page([*parts, TOKEN_SECRET, RELOADING.format(later=later), STOPPING])


def commands_page() -> str:
    """Every command with its own options."""
    context = click.Context(root, info_name=PROGRAM)
    return page([GENERATED, "# Commands", COMMANDS, *command_parts(root, context)])


def state_machines_page() -> str:
    """Every lifecycle that is a table, drawn from it."""
    drawn = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Phase.ASKING.name}"]
    drawn += [f"    {before.name} --> {after.name}: {step.value}" for (before, step), after in LIFECYCLE.items()]
    drawn += [f"    {phase.name} --> [*]" for phase in Phase if phase in ENDS]
    phases = table(("Phase", "What it means"), [(f"`{phase.name}`", phase.value) for phase in Phase])
    steps = table(("Step", *(f"in `{phase.name}`" for phase in Phase if phase not in ENDS)), map(step_cells, Step))
    return page([GENERATED, "# State machines", EXCHANGE_NOTE, "\n".join([*drawn, "```"]), phases, steps])


def metrics_page() -> str:
    """Every family of the page for Prometheus, and every key of its JSON twin."""
    families = Metrics(ROUTES, version="").families()
    names = table(("Name", "Type", "Labels", "What it counts"), map(family_cells, families))
    keys = table(("Key", "What it counts"), [(f"`{key}`", about) for key, about in {**ABOUT, **USAGE_ABOUT}.items()])
    return page([GENERATED, "# Metrics", METRICS_NOTE, names, USAGE_NOTE, keys, TOKEN_COUNTS])


def family_cells(family: Family) -> tuple[str, ...]:
    return f"`{family.whole_name}`", family.kind.value, ", ".join(f"`{name}`" for name in family.labels), family.about


def step_cells(step: Step) -> tuple[str, ...]:
    following = [LIFECYCLE.get((phase, step)) for phase in Phase if phase not in ENDS]
    cells = ["not possible" if phase is None else f"`{phase.name}`" for phase in following]
    return f"`{step.name}`: {step.value}", *cells


def setting_cells(row: Setting) -> tuple[str, ...]:
    names = f"`{row.env}`" if row.flag is None else f"`{row.flag}`<br>`{row.env}`"
    default = f"`{row.shown_default}`" if row.shown_default else "not set"
    homeless = f"; without a home directory `{row.default}`" if row.under_home else ""
    return names, default + homeless, row.kind.allowed, row.about


def command_parts(command: click.Command, context: click.Context) -> Iterator[str]:
    """A section for the command and, after it, one for each of its subcommands."""
    yield f"## {context.command_path}"
    yield f"`{' '.join([context.command_path, *command.collect_usage_pieces(context)])}`"
    yield cleandoc(command.help or "")
    own = [option for option in command.params if isinstance(option, click.Option)]
    if own:
        yield table(("Option", "Default", "What it does"), map(option_cells, own))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.commands[name]
            yield from command_parts(inner, click.Context(inner, info_name=name, parent=context))


def option_cells(option: click.Option) -> tuple[str, ...]:
    choices = option.type.choices if isinstance(option.type, click.Choice) else ()
    value = "" if option.is_flag else " " + (option.metavar or "|".join(map(str, choices)))
    return f"`{option.opts[0]}{value}`", f"`{option.default}`" if option.show_default else "", option.help or ""


def table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def page(parts: Iterable[str]) -> str:
    return "\n\n".join(part.strip() for part in parts) + "\n"


PAGES: Final = {
    "configuration.md": configuration_page,
    "cli.md": commands_page,
    "routes.md": routes_page,
    "state-machines.md": state_machines_page,
    "metrics.md": metrics_page,
}
"""The generated pages in ``docs/``."""


def main() -> None:
    docs = Path(__file__).parents[1] / "docs"
    for name, written in PAGES.items():
        (docs / name).write_text(written(), encoding="utf-8")


if __name__ == "__main__":
    main()
