import pytest

from protocol.translate.reasoning import ForeignReasoning, decode_reasoning, encode_reasoning, is_thinking_block

SIGNED: dict[str, object] = {"type": "thinking", "thinking": "Größe?", "signature": "EpcB+/=="}
REDACTED: dict[str, object] = {"type": "redacted_thinking", "data": "AAA="}


@pytest.mark.parametrize("block", [SIGNED, REDACTED, SIGNED | {"thinking": ""}, SIGNED | {"new": 1}])
def test_a_block_comes_back_as_it_was(block: dict[str, object]) -> None:
    assert decode_reasoning(encode_reasoning(block)) == block


def test_the_text_is_safe_in_urls_and_headers() -> None:
    encoded = encode_reasoning(SIGNED)
    assert encoded.isascii()
    assert not set(encoded) & set("+/= \n")


def test_another_providers_text_is_told_from_damage() -> None:
    with pytest.raises(ForeignReasoning):
        decode_reasoning("gAAAAABo")
    with pytest.raises(ValueError, match="damaged"):
        decode_reasoning(encode_reasoning(SIGNED)[:-5])


@pytest.mark.parametrize(
    "block", [{}, {"type": "text", "text": "x"}, {"type": "thinking", "thinking": "x"}, {"type": 5}]
)
def test_anything_but_a_whole_thinking_block_is_refused(block: dict[str, object]) -> None:
    assert not is_thinking_block(block)
    with pytest.raises(ValueError, match="no thinking block"):
        decode_reasoning(encode_reasoning(block))
