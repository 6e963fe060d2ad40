import json
import time

import pytest

from cli.practice import PRACTICE_API_KEY, PracticeUpstream
from cli.practice.answers import Context
from cli.practice.oauth import TOKEN_PATH, Logins, PracticeLogin
from protocol.errors import Refusal
from protocol.identity.credentials import Kind, find_credential
from protocol.identity.login_file import read_login
from tests.support.practice import Json, RawClient, RawResponse, last_request, user_says


def token_request(refresh: str, **fields: str) -> bytes:
    form = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": "me", **fields}
    return wire(TOKEN_PATH.decode(), json.dumps(form).encode())


def wire(target: str, body: bytes, *fields: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "host: practice", f"content-length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def message(access: str) -> bytes:
    return wire(
        "/v1/messages",
        user_says("hi"),
        f"authorization: Bearer {access}",
        "anthropic-beta: oauth-2025-04-20",
        "anthropic-version: 2023-06-01",
    )


def error_of(answer: RawResponse) -> str:
    error: str = answer.json()["error"]
    return error


def test_a_refresh_token_buys_the_next_pair_once(upstream: PracticeUpstream, client: RawClient) -> None:
    login = upstream.logins.new()
    answer = client.ask(token_request(login.refresh))
    assert answer.status == 200
    pair = answer.json()
    assert pair["token_type"] == "Bearer"
    assert pair["expires_in"] == 28_800
    assert pair["refresh_token"] not in (login.refresh, None)
    again = client.ask(token_request(login.refresh))
    assert (again.status, error_of(again)) == (400, "invalid_grant")
    logins = upstream.logins
    assert (logins.asked, logins.refreshed, logins.reused, logins.overlapping) == (2, 1, 1, 0)
    assert logins.is_good(pair["refresh_token"])
    assert not logins.is_good(login.refresh)


def test_an_access_token_is_good_until_it_expires(upstream: PracticeUpstream, client: RawClient) -> None:
    login = upstream.logins.new()
    assert client.ask(message(login.access)).status == 200
    expired = client.ask(message(upstream.logins.new(lifetime=-1).access))
    assert expired.status == 401
    assert expired.json()["error"]["type"] == "authentication_error"
    upstream.logins.revoke(login.access)
    assert client.ask(message(login.access)).status == 401


def test_access_tokens_are_good_beside_a_list_of_credentials() -> None:
    with PracticeUpstream(credentials={PRACTICE_API_KEY}) as upstream, RawClient(upstream) as client:
        assert client.ask(message(upstream.logins.new().access)).status == 200
        assert client.ask(message("sk-ant-oat01-unknown")).status == 401


def test_refreshed_tokens_live_as_long_as_the_setting_says(upstream: PracticeUpstream, client: RawClient) -> None:
    upstream.logins.lifetime = 0.05
    pair = client.ask(token_request(upstream.logins.new().refresh)).json()
    assert pair["expires_in"] == 0.05
    deadline = time.monotonic() + 5
    while client.ask(message(pair["access_token"])).status == 200:
        assert time.monotonic() < deadline
    assert client.ask(message(pair["access_token"])).status == 401


def test_without_rotation_the_refresh_token_stays_good(upstream: PracticeUpstream, client: RawClient) -> None:
    upstream.logins.rotates = False
    login = upstream.logins.new()
    for _ in range(2):
        assert "refresh_token" not in client.ask(token_request(login.refresh)).json()
    assert upstream.logins.refreshed == 2


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (token_request("sk-ant-ort01-unknown"), 400, "invalid_grant"),
        (token_request("x", grant_type="password"), 400, "unsupported_grant_type"),
        (token_request("x", client_id=""), 401, "invalid_client"),
        (wire(TOKEN_PATH.decode(), b"{"), 400, "invalid_request"),
        (wire(TOKEN_PATH.decode(), b"[]"), 400, "invalid_request"),
    ],
)
def test_what_is_wrong_is_told_as_oauth_does(client: RawClient, request_: bytes, status: int, error: str) -> None:
    answer = client.ask(request_)
    assert (answer.status, error_of(answer)) == (status, error)


def test_failures_come_on_order_and_spend_nothing(upstream: PracticeUpstream, client: RawClient) -> None:
    login = upstream.logins.new()
    upstream.logins.orders += ["error=429; retry-after=7", "error=500"]
    busy = client.ask(token_request(login.refresh))
    assert (busy.status, busy.header(b"retry-after")) == (429, [b"7"])
    assert client.ask(token_request(login.refresh)).status == 500
    assert client.ask(token_request(login.refresh)).status == 200


def test_a_dropped_answer_has_spent_its_token(upstream: PracticeUpstream, client: RawClient) -> None:
    login = upstream.logins.new()
    upstream.logins.orders.append("drop")
    with pytest.raises(ConnectionError):
        client.ask(token_request(login.refresh))
    assert not upstream.logins.is_good(login.refresh)
    assert upstream.until(lambda: upstream.logins.in_flight == 0)


def test_two_requests_with_one_token_at_a_time_are_counted(upstream: PracticeUpstream) -> None:
    login = upstream.logins.new()
    upstream.logins.standing = "wait=60000"
    with RawClient(upstream) as one, RawClient(upstream) as two:
        one.send(token_request(login.refresh))
        assert upstream.until(lambda: upstream.logins.in_flight == 1)
        upstream.logins.standing = ""
        two.ask(token_request(login.refresh))
        assert upstream.logins.overlapping == 1
    assert upstream.until(lambda: upstream.logins.in_flight == 0)
    with RawClient(upstream) as three:
        three.ask(token_request(login.refresh))
    assert upstream.logins.overlapping == 1


def test_an_order_that_nobody_understands_is_told(upstream: PracticeUpstream, client: RawClient) -> None:
    upstream.logins.standing = "nonsense"
    assert client.ask(token_request("x")).status == 400


def test_token_requests_are_recorded_like_all_others(upstream: PracticeUpstream, client: RawClient) -> None:
    client.ask(token_request("sk-ant-ort01-unknown"))
    assert last_request(upstream, lambda record: record.status == 400).target == TOKEN_PATH.decode()


def test_a_login_is_a_credential_file() -> None:
    login = Logins().new()
    content = json.dumps(login.credentials()).encode()
    read = read_login(content)
    assert read is not None
    assert read.refresh is not None
    assert (read.access.reveal(), read.refresh.reveal()) == (login.access, login.refresh)
    found = find_credential([("file", content)], wall=0.0).credential
    assert found is not None
    assert found.kind is Kind.OAUTH


def test_old_logins_are_forgotten_in_the_end() -> None:
    logins = Logins()
    first = logins.new()
    for _ in range(10_000):
        logins.new()
    assert not logins.is_good(first.refresh)
    logins.check(first.access, time.time())


def test_tokens_from_elsewhere_are_none_of_its_business() -> None:
    logins = Logins()
    logins.check("sk-ant-oat01-unknown", 0.0)
    login: PracticeLogin = logins.new()
    with pytest.raises(Refusal):
        logins.check(login.access, login.expires_at)


def test_the_answer_is_json_with_the_usual_headers() -> None:
    logins = Logins()
    body = json.dumps({"grant_type": "refresh_token", "refresh_token": logins.new().refresh, "client_id": "me"})
    answer = logins.answer(body.encode(), Context("req_1", 0.0))
    assert answer.status == 200
    assert (b"content-type", b"application/json") in answer.headers
    assert isinstance(answer.body, bytes)
    fields: Json = json.loads(answer.body)
    assert set(fields) == {"token_type", "access_token", "expires_in", "refresh_token"}
