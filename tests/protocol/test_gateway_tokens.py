"""What a token may use, through the whole router: refused before anybody is asked, settled however a request ends."""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from protocol.commands import Loss
from tests.protocol.conftest import OpenScene
from tests.support.operator import Operator
from tests.support.pooled import Pooled
from tests.support.requests import BODY, LAST_CHUNK, STREAM_HEAD, chunk, post
from tests.support.scene import Client, Scene, Upstream

MESSAGES: Final = b"/v1/messages"
CHAT: Final = b"/v1/chat/completions"
RESPONSES: Final = b"/v1/responses"

ANSWER: Final = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[{"type":"text",'
    b'"text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":7,"output_tokens":5}}'
)
START: Final = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
    b'"role":"assistant","model":"claude-haiku-4-5","content":[],"usage":{"input_tokens":11,"output_tokens":1}}}\n\n'
)
DELTAS: Final = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text",'
    b'"text":""}}\n\n'
    + b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":"some words"}}\n\n' * 20 + b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
)
END: Final = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":20}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
STREAM: Final = START + DELTAS + END


def body_of(path: bytes, model: str = "claude-haiku-4-5", most: int = 50, *, stream: bool = False) -> bytes:
    """A small request in the dialect of a path."""
    said = {"input": "hi"} if path == RESPONSES else {"messages": [{"role": "user", "content": "hi"}]}
    limit = "max_output_tokens" if path == RESPONSES else "max_tokens"
    return json.dumps({"model": model, limit: most, "stream": stream, **said}).encode()


class Holder:
    """Somebody with a token of the operator's; each request has a connection of its own."""

    def __init__(self, operator: Operator, **limits: Any) -> None:
        self.operator = operator
        self.scene = operator.scene
        issued = operator.issue(**limits)
        self.id: str = issued["id"]
        self.token: bytes = issued["token"].encode()

    def asks(self, path: bytes = MESSAGES, body: bytes | None = None) -> Client:
        return self.scene.client().sends(post(self.token, body_of(path) if body is None else body, path))

    def is_answered(self, path: bytes = MESSAGES, body: bytes | None = None, answer: bytes = ANSWER) -> None:
        client = self.asks(path, body)
        self.scene.upstream().replies(answer, b"200 OK", b"Connection: close")
        client.saw(200)

    def is_refused(self, status: int, path: bytes = MESSAGES, body: bytes | None = None) -> dict[bytes, bytes]:
        """Nobody was asked, and the error is in the caller's dialect; returns the header fields."""
        seen, headers, content = self.asks(path, body).response()
        assert seen == status, content
        assert self.scene.asked_nobody()
        told, kind = json.loads(content), {403: "permission_error", 429: "rate_limit_error"}[status]
        if path == MESSAGES:
            assert (told["type"], told["error"]["type"]) == ("error", kind)
            assert told["request_id"].encode() == headers[b"request-id"]
        else:
            assert set(told["error"]) == {"message", "type", "param", "code"}
            assert told["error"]["message"].startswith("Token ")
        return headers

    @property
    def used(self) -> dict[str, int]:
        usage: dict[str, int] = self.operator.get(f"/api/tokens/{self.id}")["usage"]
        return usage

    @property
    def costs(self) -> tuple[int, int, int]:
        """Requests, tokens of input, tokens of output."""
        used = self.used
        return used["requests"], used["input_tokens"], used["output_tokens"]


Issue = Callable[..., Holder]


@pytest.fixture
def holds(scene: Scene) -> Issue:
    """A token with these limits."""
    return lambda **limits: Holder(Operator(scene), **limits)


PATHS: Final = pytest.mark.parametrize("path", [MESSAGES, CHAT, RESPONSES])
STREAMS: Final = pytest.mark.parametrize("stream", [False, True])

# --- refused before anybody is asked ----------------------------------------------------------------------------------


@PATHS
@STREAMS
def test_a_model_that_the_token_is_not_for_is_a_403(path: bytes, stream: bool, holds: Issue) -> None:
    holder = holds(models=["claude-haiku-*"])
    holder.is_refused(403, path, body_of(path, "claude-opus-5", stream=stream))
    holder.is_answered(path)


def test_where_no_model_is_named_none_is_allowed(holds: Issue) -> None:
    holder = holds(models=["*"])
    for body in (b"{}", b"", b"not JSON", b'{"model":["claude-haiku-4-5"]}'):
        holder.is_refused(403, body=body)


def test_a_tool_may_not_ask_a_model_that_the_token_is_not_for(holds: Issue) -> None:
    body = b'{"model":"claude-haiku-4-5","max_tokens":9,"tools":[{"name":"t"},{"name":"a","model":"claude-opus-5"}]}'
    holds(models=["claude-haiku-*"]).is_refused(403, body=body)


def test_a_model_goes_by_the_name_that_the_provider_is_asked_for(holds: Issue) -> None:
    holder = holds(models=["claude-haiku-*"])
    holder.is_refused(403, CHAT, body_of(CHAT, "gpt-4o"))
    holder.is_answered(CHAT, body_of(CHAT, "gpt-4o-mini"))


BEDROCK_PATHS: Final = (b"/model/%b/invoke", b"/model/%b/invoke-with-response-stream")
VERTEX_PATHS: Final = (b"/v1/projects/p/locations/l/publishers/anthropic/models/%b:rawPredict", b"/%b:streamRawPredict")


@pytest.mark.parametrize("prefix", [b"", b"/api/latest/anthropic"])
@pytest.mark.parametrize("path", [*BEDROCK_PATHS, *VERTEX_PATHS])
def test_a_model_in_the_path_counts_and_not_the_one_in_the_body(path: bytes, prefix: bytes, holds: Issue) -> None:
    holder = holds(models=["anthropic.claude-haiku-*"])
    pretends = body_of(MESSAGES, "anthropic.claude-haiku-4")
    assert holder.asks(prefix + path % b"anthropic.claude-opus-5", pretends).response()[0] == 403
    assert holder.scene.asked_nobody()
    holder.is_answered(prefix + path % b"anthropic.claude-haiku-4", b"{}")


def test_a_prompt_is_counted_for_a_model_that_the_token_is_for(holds: Issue) -> None:
    holder, path = holds(models=["claude-haiku-*"]), b"/v1/messages/count_tokens"
    holder.asks(path, body_of(MESSAGES, "claude-opus-5")).saw(403)
    holder.is_answered(path, body_of(MESSAGES), answer=b'{"input_tokens":3}')


@pytest.mark.parametrize("limits", [{"models": ["*"]}, {"token_budget": 10**9}])
def test_a_batch_is_for_tokens_that_need_not_be_watched(limits: dict[str, Any], holds: Issue) -> None:
    holder = holds(**limits)
    assert holder.asks(b"/v1/messages/batches", b'{"requests":[]}').response()[0] == 403
    assert holder.scene.asked_nobody()


def test_a_path_that_the_operator_added_is_for_tokens_that_need_not_be_watched(scene_with: OpenScene) -> None:
    operator = Operator(scene_with(EXTRA_UPSTREAM_PATHS="/v1/complete"))
    path = b"/api/latest/anthropic/v1/complete"
    assert Holder(operator, models=["claude-haiku-*"]).asks(path).response()[0] == 403
    assert operator.scene.asked_nobody()
    Holder(operator, max_requests=1).is_answered(path)


@PATHS
@STREAMS
def test_a_budget_that_is_used_up_is_a_429_for_good(path: bytes, stream: bool, holds: Issue) -> None:
    holder = holds(token_budget=200)
    holder.is_answered(path, answer=ANSWER.replace(b'"input_tokens":7', b'"input_tokens":300'))
    assert holder.is_refused(429, path, body_of(path, stream=stream))[b"x-should-retry"] == b"false"


@PATHS
def test_a_request_that_may_use_more_than_is_left_is_a_429_that_says_what_to_do(path: bytes, holds: Issue) -> None:
    holder = holds(token_budget=1000)
    client = holder.asks(path, body_of(path, most=5000))
    status, _, content = client.response()
    assert (status, b"lower max_tokens" in content) == (429, True)
    assert holder.scene.asked_nobody()
    holder.is_answered(path)


@PATHS
@STREAMS
def test_too_many_requests_in_a_minute_are_a_429_until_the_minute_is_over(
    path: bytes, stream: bool, holds: Issue
) -> None:
    holder = holds(requests_per_minute=2)
    holder.is_answered(path)
    holder.scene.passes(20)
    holder.is_answered(path)
    holder.scene.passes(10.5)
    assert holder.is_refused(429, path, body_of(path, stream=stream))[b"retry-after"] == b"30"
    holder.scene.passes(30)
    holder.is_answered(path)
    holder.is_refused(429, path)


@PATHS
@STREAMS
def test_the_last_of_its_requests_is_the_last(path: bytes, stream: bool, holds: Issue) -> None:
    holder = holds(max_requests=2)
    holder.is_answered(path)
    holder.is_answered(path)
    assert holder.is_refused(429, path, body_of(path, stream=stream))[b"x-should-retry"] == b"false"
    assert holder.used["requests"] == 2


def test_requests_in_flight_count_before_they_are_over(holds: Issue) -> None:
    holder = holds(max_requests=2, token_budget=10_000)
    running = [holder.asks(), holder.asks()]
    upstreams = [holder.scene.upstream(), holder.scene.upstream()]
    assert b"x-should-retry" not in holder.is_refused(429), "one of them may still be given back"
    for client, upstream in zip(running, upstreams, strict=True):
        upstream.replies(ANSWER)
        client.saw(200)
    assert holder.is_refused(429)[b"x-should-retry"] == b"false"


def test_what_requests_in_flight_may_use_is_not_there_for_others(holds: Issue) -> None:
    holder = holds(token_budget=1000)
    first = holder.asks(body=body_of(MESSAGES, most=600))
    upstream = holder.scene.upstream()
    holder.is_refused(429, body=body_of(MESSAGES, most=600))
    upstream.replies(ANSWER, b"200 OK", b"Connection: close")
    first.saw(200)
    holder.is_answered(body=body_of(MESSAGES, most=600))


def test_lists_and_files_count_as_requests(holds: Issue) -> None:
    holder = holds(max_requests=1, token_budget=100)
    path = b"GET /v1/files HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + holder.token + b"\r\n\r\n"
    client = holder.scene.client().sends(path)
    holder.scene.upstream().replies(b"{}")
    client.saw(200)
    holder.scene.client().sends(path).saw(429)


def test_the_routers_own_pages_do_not_count(holds: Issue) -> None:
    holder = holds(max_requests=1)
    for _ in range(3):
        holder.scene.client().gets(b"/v1/models", b"X-Api-Key: " + holder.token).saw(200)
    holder.is_answered()


def test_the_limits_of_one_token_are_not_those_of_another(holds: Issue) -> None:
    first, second = holds(max_requests=1), holds(max_requests=1)
    first.is_answered()
    first.is_refused(429)
    second.is_answered()


# --- settled however it ends ------------------------------------------------------------------------------------------


def begins(holder: Holder, path: bytes = MESSAGES, *, stream: bool = False) -> tuple[Client, Upstream]:
    """A request that an upstream has got; the body asks for up to 50 tokens."""
    client = holder.asks(path, body_of(path, stream=stream))
    return client, holder.scene.upstream()


@PATHS
def test_a_whole_answer_costs_what_it_says(path: bytes, holds: Issue) -> None:
    holder = holds(token_budget=10_000)
    holder.is_answered(path)
    assert holder.costs == (1, 7, 5)


@PATHS
def test_a_stream_costs_what_it_says_at_its_end(path: bytes, holds: Issue) -> None:
    holder = holds(token_budget=10_000)
    client, upstream = begins(holder, path, stream=True)
    upstream.sends(STREAM_HEAD + chunk(STREAM) + LAST_CHUNK)
    client.until(LAST_CHUNK)
    assert holder.costs == (1, 11, 20)


@PATHS
def test_a_stream_that_the_upstream_cut_costs_what_it_had_said(path: bytes, holds: Issue) -> None:
    holder = holds(token_budget=10_000)
    _, upstream = begins(holder, path, stream=True)
    upstream.sends(STREAM_HEAD + chunk(START + DELTAS))
    upstream.leaves()
    assert holder.costs == (1, 11, 1)


@PATHS
def test_who_leaves_a_stream_just_before_its_end_has_not_had_it_for_nothing(path: bytes, holds: Issue) -> None:
    holder = holds(token_budget=10_000)
    client, upstream = begins(holder, path, stream=True)
    upstream.sends(STREAM_HEAD + chunk(START + DELTAS))
    client.leaves()
    requests, input_tokens, output_tokens = holder.costs
    assert (requests, input_tokens) == (1, 11)
    assert 20 < output_tokens <= len(DELTAS) // 32


def test_who_leaves_before_an_answer_pays_what_was_reserved(holds: Issue) -> None:
    holder = holds(token_budget=10_000)
    client, _ = begins(holder)
    client.leaves()
    assert holder.costs == (1, len(body_of(MESSAGES)) // 4, 50)


def test_an_answer_that_does_not_say_its_cost_costs_what_was_reserved(holds: Issue) -> None:
    holder = holds(token_budget=10_000)
    holder.is_answered(answer=b'{"type":"message"}')
    assert holder.costs == (1, len(body_of(MESSAGES)) // 4, 50)


@PATHS
@pytest.mark.parametrize("status", [b"400 Bad Request", b"429 Too Many Requests", b"500 Internal Server Error"])
def test_an_error_of_the_provider_is_a_request_that_costs_no_tokens(status: bytes, path: bytes, holds: Issue) -> None:
    holder = holds(token_budget=10_000)
    client, upstream = begins(holder, path)
    upstream.replies(b'{"type":"error","error":{"type":"x","message":"y"}}', status)
    assert client.response()[0] == int(status[:3])
    assert holder.costs == (1, 0, 0)


@PATHS
def test_an_upstream_that_is_lost_without_an_answer_was_asked_all_the_same(path: bytes, holds: Issue) -> None:
    holder = holds(max_requests=1, token_budget=10_000)
    client, upstream = begins(holder, path)
    upstream.got(upstream_body(upstream))
    upstream.leaves()
    client.saw(502)
    assert holder.costs == (1, 0, 0)
    holder.is_refused(429, path)


def upstream_body(upstream: Upstream) -> bytes:
    """What the router has sent, as far as it is a body."""
    upstream.received += upstream.peer.taken()
    return bytes(upstream.received).partition(b"\r\n\r\n")[2]


@PATHS
def test_a_request_that_reached_nobody_is_given_back(path: bytes, holds: Issue) -> None:
    holder = holds(max_requests=1, token_budget=200, requests_per_minute=2)
    holder.scene.shell.connect_fails = Loss.REFUSED
    holder.asks(path).saw(502)
    holder.scene.shell.connect_fails = None
    assert holder.costs == (0, 0, 0)
    holder.scene.passes(120)
    holder.is_answered(path)


@PATHS
def test_a_request_that_the_router_itself_refuses_is_given_back(path: bytes, scene_with: OpenScene) -> None:
    holder = Holder(Operator(scene_with(None)), max_requests=1, token_budget=200, requests_per_minute=1)
    for _ in range(3):
        assert holder.asks(path).response()[0] == 502
    assert holder.scene.asked_nobody()
    assert holder.costs == (0, 0, 0)


def test_a_request_that_cannot_be_translated_is_not_counted(holds: Issue) -> None:
    holder = holds(max_requests=1)
    holder.asks(CHAT, b'{"model":"gpt-4o"}').saw(400)
    assert holder.costs == (0, 0, 0)
    holder.is_answered(CHAT)


def test_a_client_that_leaves_while_the_router_connects_is_given_back(holds: Issue) -> None:
    holder = holds(max_requests=1)
    holder.scene.shell.connect_hangs = True
    holder.asks().leaves()
    holder.scene.shell.connects()
    assert holder.costs == (0, 0, 0)


def test_counting_the_tokens_of_a_prompt_is_a_request_without_a_cost(holds: Issue) -> None:
    holder = holds(token_budget=100)
    for _ in range(3):
        holder.is_answered(b"/v1/messages/count_tokens", body_of(MESSAGES), answer=b'{"input_tokens":3000}')
    assert holder.costs == (3, 0, 0)


def test_a_request_that_goes_from_account_to_account_counts_once() -> None:
    pool = Pooled(3)
    holder = Holder(Operator(pool), token_budget=10_000)
    client = holder.asks(body=b'{"model":"claude-haiku-4-5","metadata":{"user_id":"ann"},"max_tokens":50}')
    pool.asked().says(b"529 Overloaded")
    pool.asked().replies(ANSWER)
    client.saw(200)
    assert holder.costs == (1, 7, 5)
    pool.ends()


def test_every_token_is_counted_with_or_without_limits(holds: Issue) -> None:
    holder = holds()
    holder.is_answered()
    client, upstream = begins(holder)
    upstream.replies(b"{}", b"400 Bad Request")
    client.saw(400)
    assert holder.costs == (2, 7, 5)


def test_a_large_request_of_a_watched_token_is_sent_as_it_came(holds: Issue) -> None:
    holder = holds(models=["claude-*"])
    body = b'{"messages":"%b","model":"claude-haiku-4-5"}' % (b"x" * 3_000_000)
    client = holder.asks(body=body)
    upstream = holder.scene.upstream()
    assert upstream.got(body)[b"content-length"] == b"%d" % len(body)
    upstream.replies(ANSWER)
    client.saw(200)


def test_the_bodies_of_unlimited_tokens_are_not_waited_for(scene: Scene) -> None:
    client = scene.client().begins(len(BODY))
    upstream = scene.upstream()
    upstream.head()
    client.leaves()
