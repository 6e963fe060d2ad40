"""What a whole stream must look like in each dialect, written from the public API documents and from nothing of ours.

Each ``check_*`` reads a stream from its first byte to its last and says how it ended; what breaks a rule is a
``GrammarError`` that names the event. They are oracles for tests, for fuzzing and for live runs alike.
"""

from tests.support.grammar.anthropic import check_anthropic
from tests.support.grammar.chat import check_chat
from tests.support.grammar.responses import check_responses
from tests.support.grammar.rules import End, GrammarError
from tests.support.grammar.sse import read_sse

__all__ = ["End", "GrammarError", "check_anthropic", "check_chat", "check_responses", "read_sse"]
