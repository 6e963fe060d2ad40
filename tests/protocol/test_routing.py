import posixpath
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.errors import Refusal
from protocol.routing import EXTRA_METHODS, LEGACY_PREFIX, ROUTES, Action, Match, Route, Router, Surface

PREFIX = LEGACY_PREFIX.encode()
ROUTER = Router()


def refused(method: bytes, target: bytes, router: Router = ROUTER) -> Refusal:
    with pytest.raises(Refusal) as caught:
        router.match(method, target)
    return caught.value


def allowed(target: bytes, router: Router = ROUTER) -> bytes:
    """What ``allow`` says after a method that nobody has."""
    refusal = refused(b"BREW", target, router)
    assert refusal.status == 405
    return dict(refusal.headers)[b"allow"]


# --- local routes


OPENAI = [
    (b"POST", b"/v1/chat/completions"),
    (b"POST", b"/v1/responses"),
    (b"GET", b"/v1/models"),
    (b"GET", b"/v1/models/gpt-4o"),
]


@pytest.mark.parametrize(
    ("method", "target", "action", "surface"),
    [
        (b"GET", b"/health", Action.HEALTH, Surface.OPERATIONS),
        (b"HEAD", b"/health", Action.HEALTH, Surface.OPERATIONS),
        (b"GET", b"/health?verbose", Action.HEALTH, Surface.OPERATIONS),
        (b"POST", b"/api/tokens", Action.ISSUE_TOKEN, Surface.ADMIN),
        (b"HEAD", b"/api/hello", Action.HELLO, Surface.ANTHROPIC),
        (b"GET", b"/api/hello", Action.HELLO, Surface.ANTHROPIC),
        (b"HEAD", b"/api/latest/anthropic/api/hello", Action.HELLO, Surface.ANTHROPIC),
    ],
)
def test_a_local_route_is_found(method: bytes, target: bytes, action: Action, surface: Surface) -> None:
    match = ROUTER.match(method, target)
    assert (match.action, match.surface) == (action, surface)


# --- relayed routes

RELAYED = [
    (b"POST", b"/v1/messages", Action.RELAY),
    (b"POST", b"/v1/messages/count_tokens", Action.RELAY),
    (b"POST", b"/v1/messages/batches", Action.RELAY_BATCH),
    (b"GET", b"/v1/messages/batches", Action.RELAY_BATCH),
    (b"GET", b"/v1/messages/batches/msgbatch_1", Action.RELAY_BATCH),
    (b"DELETE", b"/v1/messages/batches/msgbatch_1", Action.RELAY_RESOURCE),
    (b"POST", b"/v1/messages/batches/msgbatch_1/cancel", Action.RELAY_BATCH),
    (b"GET", b"/v1/messages/batches/msgbatch_1/results", Action.RELAY_RESOURCE),
    (b"POST", b"/v1/files", Action.RELAY_RESOURCE),
    (b"GET", b"/v1/files", Action.RELAY_RESOURCE),
    (b"GET", b"/v1/files/file_1", Action.RELAY_RESOURCE),
    (b"DELETE", b"/v1/files/file_1", Action.RELAY_RESOURCE),
    (b"GET", b"/v1/files/file_1/content", Action.RELAY_RESOURCE),
]
PREFIXED_ONLY = [
    (b"GET", b"/v1/models", Action.RELAY_RESOURCE),
    (b"GET", b"/v1/models/claude-opus-5-5", Action.RELAY_RESOURCE),
    (b"POST", b"/v1/skills", Action.RELAY_RESOURCE),
    (b"GET", b"/v1/skills", Action.RELAY_RESOURCE),
    (b"GET", b"/v1/skills/skill_1", Action.RELAY_RESOURCE),
    (b"DELETE", b"/v1/skills/skill_1", Action.RELAY_RESOURCE),
    (b"POST", b"/v1/skills/skill_1/versions", Action.RELAY_RESOURCE),
    (b"GET", b"/v1/skills/skill_1/versions", Action.RELAY_RESOURCE),
    (b"GET", b"/v1/skills/skill_1/versions/2", Action.RELAY_RESOURCE),
    (b"DELETE", b"/v1/skills/skill_1/versions/2", Action.RELAY_RESOURCE),
    (b"GET", b"/v1/skills/skill_1/versions/2/content", Action.RELAY_RESOURCE),
]


@pytest.mark.parametrize(("method", "path", "action"), [*RELAYED, *PREFIXED_ONLY])
def test_the_prefix_offers_what_the_sdks_call_and_is_taken_off(method: bytes, path: bytes, action: Action) -> None:
    match = ROUTER.match(method, PREFIX + path + b"?beta=true")
    assert (match.action, match.surface, match.legacy_prefix) == (action, Surface.ANTHROPIC, True)
    assert match.upstream_target == path + b"?beta=true"


@pytest.mark.parametrize(("method", "path", "action"), RELAYED)
def test_the_root_offers_messages_batches_and_files(method: bytes, path: bytes, action: Action) -> None:
    match = ROUTER.match(method, path)
    assert (match.action, match.upstream_target, match.legacy_prefix) == (action, path, False)


@pytest.mark.parametrize(
    ("method", "path", "_action"), [row for row in PREFIXED_ONLY if not row[1].startswith(b"/v1/models")]
)
def test_the_root_points_to_the_prefix_for_the_rest(method: bytes, path: bytes, _action: Action) -> None:
    refusal = refused(method, path)
    assert (refusal.status, refusal.kind) == (404, "not_found_error")
    assert LEGACY_PREFIX in refusal.message


@pytest.mark.parametrize("path", [path for method, path, _ in RELAYED if method == b"GET"])
def test_head_is_offered_where_get_is(path: bytes) -> None:
    assert ROUTER.match(b"HEAD", path).pattern == ROUTER.match(b"GET", path).pattern


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/messages/batches/a%3Ab?x=%2F..&y=%00",
        b"/v1/files/a.b~c@d!$&'()*+,=-?a=/../",
        b"/v1/files/%66ile?",
        b"/v1/messages?beta=true?again",
        b"/v1/files/...",
    ],
)
def test_the_raw_path_and_query_go_on_byte_for_byte(target: bytes) -> None:
    method = b"POST" if target.startswith(b"/v1/messages?") else b"GET"
    assert ROUTER.match(method, target).upstream_target == target
    assert ROUTER.match(method, PREFIX + target).upstream_target == target


def test_a_match_names_its_pattern_for_metrics() -> None:
    assert ROUTER.match(b"GET", b"/v1/files/file_123").pattern == "/v1/files/{id}"


# --- refusals


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"*",
        b"v1/messages",
        b"http://router/v1/messages",
        b"//v1/messages",
        b"/v1/messages/",
        b"/v1//messages",
        b"/V1/messages",
        b"/v1/mess%61ges",
        b"/v1/messages;x=1",
        b"/v1/messages#top",
        b"/v1/complete",
        b"/v1/organizations/users",
        b"/v1/user_profiles",
        b"/api/oauth/profile",
        b"/api/latest/anthropic/",
        b"/api/latest/anthropicX/v1/messages",
        b"/api/latest/anthropic/health",
        b"/api/latest/anthropic/api/tokens",
        b"/api/latest/anthropic/api/latest/anthropic/v1/messages",
        b"/api/latest/anthropic//v1/messages",
        b"/health/",
        b"/v1/files/",
        b"/v1/files/.",
        b"/v1/files/..",
        b"/v1/files/../organizations",
        b"/v1/files/%2e%2E",
        b"/v1/files/.%2e/content",
        b"/v1/files/%252e%252e",
        b"/v1/files/a%2Fb",
        b"/v1/files/..%2f..%2fv1%2forganizations",
        b"/v1/files/..%5corganizations",
        b"/v1/files/..\\organizations",
        b"/v1/files/..;/organizations",
        b"/v1/files/a%3bb",
        b"/v1/files/a%00",
        b"/v1/files/a%0d%0ab",
        b"/v1/files/%c0%ae%c0%ae",
        b"/v1/files/\xc0\xae",
        b"/v1/files/a b",
        b"/v1/files/a\r\nb",
        b"/v1/files/a%",
        b"/v1/files/a%2",
        b"/v1/files/a%zz",
        b"/v1/files/a%3f",
        b"/v1/files/a%23",
        b"/v1/files/a/b",
        b"/v1/files//content",
        b"/v1/files/../content",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_path_that_is_not_listed_in_just_this_spelling_is_not_found(method: bytes, path: bytes) -> None:
    assert refused(method, path).status == 404
    assert refused(method, path + b"?beta=true").status == 404


@pytest.mark.parametrize(
    ("target", "methods"),
    [
        (b"/health", b"GET, HEAD"),
        (b"/api/tokens?x=1", b"POST"),
        (b"/v1/messages", b"POST"),
        (b"/v1/messages/batches", b"GET, HEAD, POST"),
        (b"/v1/messages/batches/b", b"GET, HEAD, DELETE"),
        (b"/api/latest/anthropic/v1/files/f", b"GET, HEAD, DELETE"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(target: bytes, methods: bytes) -> None:
    assert allowed(target) == methods


@pytest.mark.parametrize("method", [b"", b"post", b"POST ", b"\xff", b"CONNECT"])
def test_a_method_is_taken_by_its_exact_name(method: bytes) -> None:
    assert refused(method, b"/v1/messages").status == 405


@pytest.mark.parametrize("query", [b"a b", b"a\r\nx: y", b"\xff", b"\x00", b"\x7f"])
def test_a_query_that_would_break_the_request_line_is_refused(query: bytes) -> None:
    assert refused(b"POST", b"/v1/messages?" + query).status == 400


def test_a_refusal_repeats_nothing_of_the_request() -> None:
    for target in (b"/private", b"/v1/messages?private\xff", b"/v1/messages?private"):
        assert "private" not in refused(b"private", target).message


# --- switches


def test_a_disabled_surface_is_not_there_at_all() -> None:
    router = Router(disabled={Surface.ANTHROPIC}, extra_paths=["/v1/agents"])
    relayed_at_root = [(method, path) for method, path, _ in RELAYED]
    under_prefix = [(method, PREFIX + path) for method, path, _ in [*RELAYED, *PREFIXED_ONLY]]
    for method, target in [*relayed_at_root, *under_prefix]:
        refusal = refused(method, target, router)
        assert refusal.status == 404
        assert LEGACY_PREFIX not in refusal.message
    assert refused(b"GET", PREFIX + b"/v1/agents", router).status == 404
    assert refused(b"GET", b"/api/hello", router).status == 404
    assert router.match(b"GET", b"/health").action is Action.HEALTH
    left = set(Surface) - {Surface.ANTHROPIC}
    assert {route.surface for route in router.routes()} == left


def test_the_openai_surface_can_be_hidden_alone() -> None:
    router = Router(disabled={Surface.OPENAI})
    for method, path in OPENAI:
        assert ROUTER.match(method, path).surface is Surface.OPENAI
        assert refused(method, path, router).status == 404
    assert router.match(b"POST", b"/v1/messages").action is Action.RELAY


def test_an_extra_path_is_relayed_under_the_prefix_only() -> None:
    router = Router(extra_paths=["/v1/agents"])
    for method in EXTRA_METHODS:
        match = router.match(method.encode(), PREFIX + b"/v1/agents?limit=1")
        assert (match.action, match.upstream_target) == (Action.RELAY_RESOURCE, b"/v1/agents?limit=1")
    assert LEGACY_PREFIX in refused(b"GET", b"/v1/agents", router).message
    assert refused(b"GET", PREFIX + b"/v1/agents/a", router).status == 404


def test_an_extra_path_with_a_method_is_open_to_it_alone() -> None:
    router = Router(extra_paths=["GET /v1/agents", "DELETE /v1/agents/{id}"])
    assert allowed(PREFIX + b"/v1/agents", router) == b"GET, HEAD"
    assert allowed(PREFIX + b"/v1/agents/a", router) == b"DELETE"


def test_a_name_in_braces_stands_for_one_segment_and_a_star_for_everything_below() -> None:
    router = Router(extra_paths=["/v1/agents/{id}/versions", "/v1/sessions/*"])
    for path in (b"/v1/agents/a/versions", b"/v1/sessions/s", b"/v1/sessions/s/events/e"):
        assert router.match(b"GET", PREFIX + path).upstream_target == path
    for path in (
        b"/v1/agents/a/b/versions",
        b"/v1/agents//versions",
        b"/v1/agents/../versions",
        b"/v1/sessions",
        b"/v1/sessions/",
        b"/v1/sessions/../organizations",
        b"/v1/sessions/s/%2e%2e/%2e%2e/organizations",
        b"/v1/sessions/s//t",
        b"/v1/sessionsX/s",
    ):
        assert refused(b"GET", PREFIX + path, router).status == 404


def test_an_extra_path_adds_methods_but_never_replaces_a_route() -> None:
    router = Router(extra_paths=["/v1/messages/batches", "/v1/messages/*"])
    assert router.match(b"GET", PREFIX + b"/v1/messages/batches").action is Action.RELAY_BATCH
    assert router.match(b"GET", PREFIX + b"/v1/messages/batches/b").action is Action.RELAY_BATCH
    assert router.match(b"PUT", PREFIX + b"/v1/messages/batches").action is Action.RELAY_RESOURCE
    assert router.match(b"GET", PREFIX + b"/v1/messages/count_tokens").action is Action.RELAY_RESOURCE
    assert router.match(b"PUT", PREFIX + b"/v1/messages/batches/b").action is Action.RELAY_RESOURCE
    assert allowed(PREFIX + b"/v1/messages/batches/b", router) == b"GET, HEAD, DELETE, POST, PUT, PATCH"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "v1/models",
        "/v1/",
        "/v1//x",
        "/v1/../x",
        "/v1/./x",
        "/v1/*/x",
        "/v1/x*",
        "/v1/{id",
        "/v1/{}",
        "/v1/a b",
        "/v1/a%20b",
        "/v1/a?b",
        "/v1/é",
        "get /v1/x",
        "TRACE /v1/x",
        "GET  POST /v1/x",
        "GET",
        "/api/latest/anthropic",
        "/api/latest/anthropic/v1/models",
    ],
)
def test_an_extra_path_that_is_no_pattern_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|without"):
        Router(extra_paths=[text])


# --- the listing


def test_every_listed_route_is_matched_by_each_of_its_methods() -> None:
    for route in ROUTER.routes():
        target = re.sub(r"\{\w+\}", "some-id", route.pattern).encode()
        for method in route.methods:
            match = ROUTER.match(method.encode(), target)
            assert (match.action, match.surface, match.pattern) == (route.action, route.surface, route.pattern)


def test_the_listing_shows_extras_and_says_what_each_route_is_for() -> None:
    routes = Router(extra_paths=["GET /v1/agents"]).routes()
    assert routes[:-1] == list(ROUTES)
    assert (routes[-1].methods, routes[-1].pattern) == (("GET", "HEAD"), "/api/latest/anthropic/v1/agents")
    assert all(route.about for route in routes)
    assert len({(method, route.pattern) for route in routes for method in route.methods}) == sum(
        len(route.methods) for route in routes
    )


# --- properties

UPSTREAM = re.compile(
    rb"/v1/(messages(/count_tokens|/batches(/[^/]+(/cancel|/results)?)?)?|files(/[^/]+(/content)?)?|models(/[^/]+)?"
    rb"|skills(/[^/]+(/versions(/[^/]+(/content)?)?)?)?)"
)
FRAGMENTS = st.sampled_from(
    [
        *(
            b"/",
            b"//",
            b"/.",
            b"/..",
            b"..",
            b".",
            b"%2e",
            b"%2E%2e",
            b"%2f",
            b"%5C",
            b"%5c",
            b"\\",
            b"%25",
            b"2e",
            b";",
        ),
        *(b"/v1", b"/messages", b"/batches", b"/files", b"/skills", b"/versions", b"/content", b"/organizations"),
        *(b"/api/latest/anthropic", b"/api", b"/hello", b"/id", b"?", b"#", b"%00", b"\r\n", b" ", b"\xff", b"%c0%ae"),
    ]
)
PATHS = st.one_of(
    st.lists(FRAGMENTS, max_size=10).map(b"".join),
    st.lists(FRAGMENTS, max_size=5).map(lambda parts: b"/v1/files/" + b"".join(parts)),
    st.lists(FRAGMENTS, max_size=5).map(lambda parts: PREFIX + b"/v1/skills/" + b"".join(parts)),
    st.binary().map(lambda tail: b"/v1/messages/batches/" + tail),
    st.binary(),
)
METHODS = st.one_of(st.sampled_from([b"GET", b"POST", b"DELETE", b"HEAD"]), st.binary(max_size=8))


def as_a_careless_server_sees(path: bytes) -> bytes:
    """Decoded until nothing is left to decode, backslashes turned, parameters cut, dot segments resolved."""
    while (decoded := unquote_to_bytes(path).replace(b"\\", b"/")) != path:
        path = decoded
    cut = b"/".join(segment.partition(b";")[0] for segment in path.split(b"/"))
    return posixpath.normpath(cut)


def match_or_refusal(router: Router, method: bytes, target: bytes) -> Match | None:
    """A match, or None for a refusal; anything else that is raised fails the test."""
    try:
        return router.match(method, target)
    except Refusal:
        return None


@given(METHODS, PATHS)
@example(b"GET", b"/v1/files/..%252f..%252forganizations")
@example(b"GET", PREFIX + b"/v1/skills/..;/organizations")
def test_nothing_relayed_leads_out_of_the_allow_list_however_it_is_normalised(method: bytes, target: bytes) -> None:
    match = match_or_refusal(ROUTER, method, target)
    if match is not None and match.action in (Action.RELAY, Action.RELAY_RESOURCE, Action.RELAY_BATCH):
        assert target.endswith(match.upstream_target)
        path = match.upstream_target.partition(b"?")[0]
        assert UPSTREAM.fullmatch(path)
        assert UPSTREAM.fullmatch(as_a_careless_server_sees(path))
        assert all(0x21 <= byte <= 0x7E for byte in match.upstream_target)


@given(METHODS, PATHS)
def test_an_open_extra_path_leads_nowhere_but_below_itself(method: bytes, target: bytes) -> None:
    match = match_or_refusal(Router(extra_paths=["/v1/files/*"]), method, PREFIX + b"/v1/files/" + target)
    if match is not None:
        path = match.upstream_target.partition(b"?")[0]
        assert as_a_careless_server_sees(path).startswith(b"/v1/files/")


@given(st.text(max_size=40))
def test_any_text_is_an_extra_path_or_a_value_error(text: str) -> None:
    try:
        route = Route.parse(text)
    except ValueError:
        return
    assert route.pattern.startswith(f"{LEGACY_PREFIX}/")


# --- other clouds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [b"", PREFIX], ids=["root", "prefix"])
@pytest.mark.parametrize(
    ("path", "surface"),
    [
        (b"/invoke", Surface.BEDROCK),
        (b"/invoke-with-response-stream", Surface.BEDROCK),
        (b"/model/anthropic.claude-opus-5-5-v1:0/invoke", Surface.BEDROCK),
        (b"/model/anthropic.claude-opus-5-5-v1:0/invoke-with-response-stream", Surface.BEDROCK),
        (b"/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-5-5:rawPredict", Surface.VERTEX),
        (b"/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-5-5:streamRawPredict", Surface.VERTEX),
    ],
)
def test_the_forms_of_other_clouds_are_relayed_on_the_same_path(prefix: bytes, path: bytes, surface: Surface) -> None:
    match = ROUTER.match(b"POST", prefix + path)
    assert (match.action, match.surface, match.upstream_target) == (Action.RELAY, surface, path)
    assert refused(b"GET", prefix + path).status == 405


@pytest.mark.parametrize(
    "path", [b"/rawPredict", b"/a:rawPredict/b", b"/:raw", b"/model/a/b/invoke", b"/a/../b:rawPredict"]
)
def test_what_only_looks_like_them_is_not_offered(path: bytes) -> None:
    assert refused(b"POST", path).status == 404


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (b"/v1/messages", None),
        (b"/invoke", None),
        (b"/model/anthropic.claude-haiku-4-5-v1%3A0/invoke?x=1", "anthropic.claude-haiku-4-5-v1:0"),
        (b"/model/claude-x/invoke-with-response-stream", "claude-x"),
        (b"/projects/p/publishers/anthropic/models/claude-x@20250514:streamRawPredict", "claude-x@20250514"),
        (b"/claude-x:rawPredict", "claude-x"),
    ],
)
@pytest.mark.parametrize("prefix", [b"", LEGACY_PREFIX.encode()])
def test_the_forms_of_other_clouds_name_the_model_in_the_path(prefix: bytes, path: bytes, model: str | None) -> None:
    assert Router().match(b"POST", prefix + path).model == model
