"""The major of the SDK before the current one, which sends its token as ``x-api-key`` and an older API version."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import pytest

from cli.practice import PRACTICE_TOKEN, PracticeUpstream, Record
from protocol.routing import LEGACY_PREFIX
from tests.contracts.checkout import ROOT
from tests.live.routers import LOOPS, RunningRouter, new_token

PREVIOUS_SDK = ROOT / ".venv" / "previous-anthropic"
CHILD = ROOT / "tests" / "live" / "previous_sdk_child.py"

pytestmark = pytest.mark.slow

Seen: TypeAlias = Callable[[str], Record]


@dataclass(frozen=True)
class Case:
    """One way to use the SDK."""

    loop: str
    holding: str
    prefix: str

    def base_url(self, routers: dict[str, RunningRouter]) -> str:
        return routers[self.loop].origin + self.prefix


CASES = [
    Case(loop, holding, prefix)
    for loop in LOOPS
    for holding, prefix in [("api_key", ""), ("auth_token", LEGACY_PREFIX)]
]


@pytest.fixture(scope="module")
def routers(upstream: PracticeUpstream) -> Iterator[dict[str, RunningRouter]]:
    with ExitStack() as stack:
        yield {loop: stack.enter_context(RunningRouter(loop, upstream.origin)) for loop in LOOPS}


@pytest.fixture(scope="module")
def reports(routers: dict[str, RunningRouter]) -> dict[Case, dict[str, Any]]:
    """What the child experienced in each case; it is one child for all, because it takes seconds to import the SDK."""
    assert (PREVIOUS_SDK / "anthropic").is_dir(), f"run `make setup`: the SDK's previous major is not in {PREVIOUS_SDK}"
    pairs = [(case.base_url(routers), case.holding) for case in CASES]
    child = subprocess.run(
        [sys.executable, str(CHILD), *chain.from_iterable(pairs)],
        env={"PYTHONPATH": str(PREVIOUS_SDK)},
        input=new_token(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (child.returncode, child.stderr) == (0, "")
    return dict(zip(CASES, json.loads(child.stdout), strict=True))


@pytest.fixture(params=CASES, ids=lambda case: f"{case.loop}-{case.holding}")
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture
def report(reports: dict[Case, dict[str, Any]], case: Case) -> dict[str, Any]:
    return reports[case]


@pytest.fixture
def seen(upstream: PracticeUpstream, routers: dict[str, RunningRouter], reports: object, case: Case) -> Seen:
    """Find the request of this case that carries a mark."""
    return lambda kind: next(
        record
        for record in upstream.requests
        if record.header("x-live-mark") == [f"{kind} {case.base_url(routers)}".strip()]
    )


def test_it_is_the_previous_major(report: dict[str, Any]) -> None:
    assert report["version"].startswith("1.")


def test_it_authenticates_its_own_way(seen: Seen, report: dict[str, Any]) -> None:
    plain = seen("")
    assert plain.header("authorization") == [f"Bearer {PRACTICE_TOKEN}"]
    assert plain.header("x-api-key") == []
    assert plain.header("anthropic-version") == ["2023-06-01"]
    assert "You said: “hello”." in report["text"]


def test_its_beta_endpoints_keep_their_query_and_flags(seen: Seen, report: dict[str, Any]) -> None:
    beta = seen("beta")
    assert beta.target == "/v1/messages?beta=true"
    assert beta.header("anthropic-beta") == ["effort-2025-11-24,oauth-2025-04-20"]
    assert report["beta"] == "end_turn"


def test_its_streams(report: dict[str, Any]) -> None:
    seen = report["streams"]
    assert (seen["kinds"][0], seen["kinds"][-1]) == ("message_start", "message_stop")
    assert {"thinking", "signature", "input_json"} <= set(seen["kinds"])
    assert seen["blocks"] == ["thinking", "tool_use", "tool_use"]
    assert (seen["stop"], seen["deltas"]) == ("tool_use", 40)


def test_its_tools_go_round(report: dict[str, Any]) -> None:
    assert "clock ran" in report["tools"]
    assert "calendar ran" in report["tools"]


def test_its_counts_batches_and_files(report: dict[str, Any]) -> None:
    assert report["tokens"] > 0
    assert report["batch"] == ["one succeeded"]
    assert report["file"] == "a note"


KINDS = {
    "400": "BadRequestError",
    "401": "AuthenticationError",
    "403": "PermissionDeniedError",
    "404": "NotFoundError",
    "413": "RequestTooLargeError",
    "429": "RateLimitError",
    "500": "InternalServerError",
    "529": "OverloadedError",
}


@pytest.mark.parametrize("status", KINDS)
def test_its_errors_by_status(report: dict[str, Any], status: str) -> None:
    kind, code, text = report["failures"][status]
    assert (kind, code) == (KINDS[status], int(status))
    assert "'message': 'as wished'" in text


def test_its_broken_streams_are_errors(report: dict[str, Any]) -> None:
    assert "Overloaded" in report["failures"]["error event"][2]
    assert "lost before the answer was complete" in report["failures"]["cut"][2]
    assert report["failures"]["cut whole"][0] == "APIConnectionError"


def test_a_bad_token_is_an_authentication_error(report: dict[str, Any]) -> None:
    assert report["failures"]["bad token"][:2] == ["AuthenticationError", 401]


def test_its_asynchronous_client(report: dict[str, Any]) -> None:
    assert report["async"]["whole"] == report["async"]["streamed"]
    assert report["async"]["crowd"] == 20
