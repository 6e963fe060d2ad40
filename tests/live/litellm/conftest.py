"""A LiteLLM proxy as a process of its own, and routers before it with the ``.lenv`` that docs/litellm.md shows."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import anthropic
import httpx2
import openai
import pytest

from cli.practice import PracticeUpstream
from tests.contracts.checkout import ROOT
from tests.live.clients import new_client
from tests.live.routers import RouterProcess, new_token

SCRIPT: Final = Path(__file__).parent / "proxy.sh"
INSTALLED: Final = Path(os.environ.get("LITELLM_VENV", ROOT / "build" / "litellm-venv")) / "bin" / "litellm"
MASTER_KEY: Final = "sk-litellm-master-key"
LONGEST_START: Final = 120.0
"""Seconds. It imports several hundred modules."""

DOCUMENTED: Final = "http://litellm:4000"


def documented_settings(origin: str) -> str:
    """The ``.lenv`` of docs/litellm.md, with LiteLLM where it is in the test."""
    page = (ROOT / "docs" / "litellm.md").read_text()
    settings = page.partition("```yaml\n")[2].partition("```")[0]
    assert DOCUMENTED in settings
    return settings.replace(DOCUMENTED, origin)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == SCRIPT.parent:
            item.add_marker(pytest.mark.litellm)
            if not INSTALLED.exists():
                item.add_marker(pytest.mark.skip(reason="`make live` installs LiteLLM"))


@pytest.fixture(scope="session")
def litellm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of a LiteLLM proxy that answers."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    folder = tmp_path_factory.mktemp("litellm")
    with PracticeUpstream() as practice, (folder / "log").open("wb") as log:
        environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "PRACTICE_ORIGIN": practice.origin,
            "LITELLM_MASTER_KEY": MASTER_KEY,
            "LITELLM_VENV": str(INSTALLED.parent.parent),
        }
        command = ["sh", str(SCRIPT), "serve", str(port)]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            origin = f"http://127.0.0.1:{port}"
            wait_for(f"{origin}/health/liveliness", process, folder / "log")
            yield origin
        finally:
            process.terminate()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when something answers there."""
    give_up_at = time.monotonic() + LONGEST_START
    with httpx2.Client(trust_env=False) as client:
        while time.monotonic() < give_up_at and process.poll() is None:
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.2)
    pytest.fail(f"LiteLLM did not start:\n{log.read_text()[-4000:]}")


@pytest.fixture(scope="session", params=["trio", "asyncio"])
def router(request: pytest.FixtureRequest, litellm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of a router that was started in a folder with that ``.lenv``; its environment holds LiteLLM's key."""
    folder = tmp_path_factory.mktemp(f"router-{request.param}")
    (folder / ".lenv").write_text(documented_settings(litellm))
    with RouterProcess(request.param, folder, "http://nobody.invalid", LITELLM_MASTER_KEY=MASTER_KEY) as running:
        yield running.origin


@pytest.fixture(scope="session")
def openai_client(router: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=new_token(), base_url=f"{router}/v1", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="session")
def anthropic_client(router: str) -> Iterator[anthropic.Anthropic]:
    with new_client(router) as opened:
        yield opened
