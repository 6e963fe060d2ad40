"""What ``demo`` shows: a request through the whole router, with the practice upstream in the provider's place."""

import http.client
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from cli.output import Report, RuntimeFailure
from cli.practice import PRACTICE_TOKEN, PracticeUpstream
from cli.secret_file import token_secret
from protocol.config import Config
from protocol.egress import DirectHosts
from protocol.identity.tokens import issue
from protocol.values import BaseUrl
from transports import trio as server
from transports.server import Running

QUESTION: Final = "Hello! Is anybody there?\n/slow 25"
TOKEN_HOURS: Final = 24


def give_tour(config: Config, report: Report, *, once: bool) -> None:
    """Show one request on its way through a router before a practice upstream, then serve on unless ``once``.

    :raises RuntimeFailure: the router cannot start, or the request fails.
    """
    with tempfile.TemporaryDirectory() as directory, PracticeUpstream() as upstream:
        demo_config = practice_config(config, Path(directory), upstream.origin)
        tour = Tour(replace(demo_config, token_secret=token_secret(demo_config, report)), upstream.origin, once=once)
        try:
            server.run(tour.config, report, on_listening=tour.start)
        except OSError as error:
            raise RuntimeFailure(error.strerror or str(error)) from None
        tour.join()


def practice_config(config: Config, directory: Path, origin: str) -> Config:
    """The operator's settings, but with everything that could reach a real account or real data replaced."""
    home = directory / "claude"
    home.mkdir()
    (home / ".credentials.json").write_text(json.dumps({"claudeAiOauth": {"accessToken": PRACTICE_TOKEN}}))
    return replace(
        config,
        host="127.0.0.1",
        port=config.port if is_free(config.port) else 0,
        unix_socket=None,
        token_secret=None,
        token_secret_file=None,
        data_dir=str(directory / "data"),
        claude_code_home=str(home),
        anthropic_api_key=None,
        upstream_base_url=BaseUrl.parse(origin),
        no_proxy=DirectHosts((), everything=True),
        disable_anthropic_api=False,
        disable_openai_api=False,
    )


def is_free(port: int) -> bool:
    """Whether the demo can have the port that people expect."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Tour:
    """What the demo shows once the router listens, from a thread of its own."""

    def __init__(self, config: Config, upstream: str, *, once: bool) -> None:
        self.config = config
        self._upstream = upstream
        self._once = once
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: Exception | None = None

    def start(self, running: Running) -> None:
        self._running = running
        self._thread.start()

    def join(self) -> None:
        """Wait for the tour, and fail as it failed."""
        self._thread.join()
        if self._failure is not None:
            raise RuntimeFailure(f"the demo request failed: {self._failure}")

    def _run(self) -> None:
        try:
            self._show()
        except Exception as error:
            self._failure = error
        if self._once or self._failure is not None:
            self._running.drain(0)

    def _show(self) -> None:
        address = self._running.addresses[0]
        token = self._issue()
        click.echo(f"\nPractice upstream  {self._upstream}  (stands in for api.anthropic.com)")
        click.echo(f"Router             http://{address}")
        click.echo(f"Issued a token     {token[:24]}...  good for {TOKEN_HOURS} hours\n")
        click.echo(f"Asking through the router: {QUESTION.partition(chr(10))[0]}")
        for after, text in ask(address, token):
            click.echo(f"  {after * 1000:6.1f} ms  {text!r}")
        click.echo("\nThe client sent its la_sk_ token; the upstream saw the operator's credential and nothing else.")
        if not self._once:
            click.echo(directions(f"http://{address}", token))

    def _issue(self) -> str:
        if self.config.token_secret is None:
            raise RuntimeError("no token secret")
        issued = issue(
            self.config.token_secret, ttl_hours=TOKEN_HOURS, label="demo", wall=time.time(), entropy=os.urandom
        )
        return issued.token.reveal()


def ask(address: str, token: str) -> Iterator[tuple[float, str]]:
    """One streaming request; yields each piece of text and how many seconds after the request it came."""
    connection = http.client.HTTPConnection(address, timeout=30)
    body = {
        "model": "claude-practice",
        "max_tokens": 200,
        "stream": True,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    began = time.perf_counter()
    connection.request("POST", "/v1/messages", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != http.client.OK:
        raise RuntimeError(f"{response.status} {response.read().decode(errors='replace')}")
    for line in response:
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            if event["type"] == "content_block_delta":
                yield time.perf_counter() - began, event["delta"]["text"]
    connection.close()


def directions(base: str, token: str) -> str:
    """How to point clients at a router."""
    return f"""
Now point a client at it, in another terminal:

  Claude Code
    export ANTHROPIC_BASE_URL={base}/api/latest/anthropic
    export ANTHROPIC_AUTH_TOKEN={token}
    claude

  curl
    curl -sN {base}/v1/messages \\
      -H "Authorization: Bearer {token}" \\
      -H "Content-Type: application/json" -H "anthropic-version: 2023-06-01" \\
      -d '{{"model": "claude-practice", "max_tokens": 100, "stream": true,
           "messages": [{{"role": "user", "content": "Hello"}}]}}'

  Python
    anthropic.Anthropic(base_url="{base}", api_key="{token}")
    openai.OpenAI(base_url="{base}/v1", api_key="{token}")

Serving until Ctrl-C."""
