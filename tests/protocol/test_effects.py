"""What a script asks for: each helper takes its own outcome and nothing else."""

from collections.abc import Generator

import pytest

from protocol.effects import (
    FAILURES,
    BodyRead,
    CheckCredentials,
    CredentialsChecked,
    Effect,
    Failed,
    FailureKind,
    Fetched,
    Outcome,
    UpstreamRequest,
    check_credentials,
    fetch,
    read_body,
    read_response,
    refusal_for,
)
from protocol.errors import ANTHROPIC_KINDS, LocalError
from protocol.values import Origin, RequestHead, ResponseHead

REQUEST = UpstreamRequest(Origin("http", "upstream", 80), RequestHead(b"GET", b"/", []))
FETCHED = Fetched(ResponseHead(200, []), 1.0)
FAILED = Failed(FailureKind.LOST, "", 1.0)
READ = BodyRead(b"all of it", 1.0)
CHECKED = CredentialsChecked(2.0)


def told(helper: Generator[Effect, Outcome, object], outcome: Outcome) -> object:
    """What a helper makes of an outcome."""
    next(helper)
    with pytest.raises(StopIteration) as stopped:
        helper.send(outcome)
    return stopped.value.value


def test_each_helper_returns_what_its_question_is_about() -> None:
    assert told(fetch(REQUEST), FETCHED) is FETCHED
    assert told(fetch(REQUEST, fresh=True), FAILED) is FAILED
    assert told(read_body(10), READ) == b"all of it"
    assert told(read_response(10), READ) == b"all of it"
    assert told(check_credentials("primary"), CHECKED) == 2.0
    assert told(check_credentials("primary", wait=False), CHECKED) == 2.0


def test_a_check_is_waited_for_unless_it_is_said_otherwise() -> None:
    assert next(check_credentials("primary")) == CheckCredentials("primary", wait=True)
    assert next(check_credentials("primary", wait=False)) == CheckCredentials("primary", wait=False)


@pytest.mark.parametrize(
    ("helper", "outcome"),
    [
        (fetch(REQUEST), READ),
        (fetch(REQUEST), None),
        (read_body(10), FETCHED),
        (read_response(10), CHECKED),
        (check_credentials("primary"), FAILED),
    ],
)
def test_an_outcome_of_another_question_is_a_fault_of_ours(
    helper: Generator[Effect, Outcome, object], outcome: Outcome
) -> None:
    next(helper)
    with pytest.raises(LocalError):
        helper.send(outcome)


@pytest.mark.parametrize("kind", FailureKind)
def test_every_failure_is_told_as_an_error_of_the_api(kind: FailureKind) -> None:
    refusal = refusal_for(Failed(kind, "because of this", 0.0))
    assert refusal.status == FAILURES[kind][0]
    assert refusal.status in ANTHROPIC_KINDS
    assert refusal.message.endswith("(because of this)")
    assert refusal_for(Failed(kind, "", 0.0)).message == FAILURES[kind][1]
