"""Clients, upstreams, time, the disk and the operator do anything in any order; the router keeps its promises.

After every step: each request begun has ended exactly once or still runs, nothing is kept beyond a bound, no order
names a connection that is closed, no fault of ours is logged, no deadline is set for nothing. In the end: what was cut
looks cut to another HTTP parser, everything is gone once everybody has left, and the same history again gives the same
commands.
"""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fuzz import CORPUS, fuzz_gateway_ops
from tests.support.world import World, again

WHICH = st.integers(0, 7)
HOW = st.integers(0, 255)


class GatewayMachine(RuleBasedStateMachine):
    world: World

    @initialize(half_close=st.sampled_from(["cancel", "answer"]), several=st.booleans())
    def opens(self, half_close: str, several: bool) -> None:
        self.world = World(half_close, several=several)
        self.world.do("connect")

    @rule()
    def a_client_connects(self) -> None:
        self.world.do("connect")

    @rule(which=WHICH, how=HOW)
    def a_client_asks(self, which: int, how: int) -> None:
        self.world.do("ask", which, how)

    @rule(which=WHICH, how=st.integers(0, 17))
    def a_client_asks_at_once(self, which: int, how: int) -> None:
        self.world.do("ask", which, how)

    @rule(which=WHICH, how=st.integers(0, 12))
    def a_client_asks_for_what_an_account_has(self, which: int, how: int) -> None:
        self.world.do("ask_of_account", which, how)

    @rule(which=WHICH, how=HOW)
    def a_client_goes_on(self, which: int, how: int) -> None:
        self.world.do("go_on", which, how)

    @rule(which=WHICH)
    def a_client_half_closes(self, which: int) -> None:
        self.world.do("half_close_client", which)

    @rule(which=WHICH)
    def a_client_breaks(self, which: int) -> None:
        self.world.do("break_client", which)

    @rule(which=WHICH)
    def a_client_stops_reading(self, which: int) -> None:
        self.world.do("stop_reading", which)

    @rule(which=WHICH, how=HOW)
    def a_client_reads(self, which: int, how: int) -> None:
        self.world.do("read", which, how)

    @precondition(lambda self: self.world.upstreams)
    @rule(which=WHICH, how=HOW)
    def an_upstream_answers(self, which: int, how: int) -> None:
        self.world.do("answer", which, how)

    @precondition(lambda self: self.world.upstreams)
    @rule(which=WHICH, how=HOW)
    def an_upstream_answers_more(self, which: int, how: int) -> None:
        self.world.do("answer", which, how)

    @precondition(lambda self: self.world.upstreams)
    @rule(which=WHICH, how=HOW)
    def an_upstream_tells_of_an_account(self, which: int, how: int) -> None:
        self.world.do("answer_for_account", which, how)

    @precondition(lambda self: self.world.upstreams)
    @rule(which=WHICH, how=st.integers(0, 15))
    def an_upstream_tells_all_of_an_account(self, which: int, how: int) -> None:
        self.world.do("answer_for_account", which, how)

    @precondition(lambda self: self.world.upstreams)
    @rule(which=WHICH, how=HOW)
    def an_upstream_ends(self, which: int, how: int) -> None:
        self.world.do("end_upstream", which, how)

    @precondition(lambda self: self.world.upstreams)
    @rule(which=WHICH, how=HOW)
    def an_upstream_is_slow(self, which: int, how: int) -> None:
        self.world.do("slow_upstream", which, how)

    @rule(how=HOW)
    def time_passes(self, how: int) -> None:
        self.world.do("wait", 0, how)

    @rule(how=HOW)
    def the_network_changes(self, how: int) -> None:
        self.world.do("network", 0, how)

    @rule(how=HOW)
    def the_disk_changes(self, how: int) -> None:
        self.world.do("disk", 0, how)

    @precondition(lambda self: self.world.upstreams)
    @rule(which=WHICH, how=HOW)
    def the_token_endpoint_answers(self, which: int, how: int) -> None:
        self.world.do("renew", which, how)

    @rule(which=WHICH, how=HOW)
    def a_login_changes(self, which: int, how: int) -> None:
        self.world.do("login", which, how)

    @precondition(lambda self: len(self.world.operations) > 10)
    @rule(how=HOW)
    def the_operator_stops_it(self, how: int) -> None:
        self.world.do("drain", 0, how)

    def teardown(self) -> None:
        world = getattr(self, "world", None)
        if world is None:
            return
        commands = list(world.scene.commands)
        world.finish()
        assert again(world).scene.commands == commands


TestGatewayMachine = GatewayMachine.TestCase
TestGatewayMachine.settings = settings(stateful_step_count=40)


@pytest.mark.parametrize("path", sorted((CORPUS / "gateway_ops").iterdir()), ids=lambda path: path.name)
def test_the_corpus_of_histories_holds(path: Path) -> None:
    fuzz_gateway_ops.check(path.read_bytes())


@given(data=st.binary(max_size=120))
def test_any_bytes_are_a_history_that_holds(data: bytes) -> None:
    fuzz_gateway_ops.check(data)


@given(data=st.binary(max_size=60))
def test_a_history_can_be_written_down(data: bytes) -> None:
    history = fuzz_gateway_ops.operations(data)
    assert fuzz_gateway_ops.operations(fuzz_gateway_ops.encoded(history)[1:]) == history
