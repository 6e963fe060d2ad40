import pytest

from examples import drive_by_hand


def test_the_core_can_be_driven_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    drive_by_hand.main()
    told = capsys.readouterr().out
    assert "to https://api.anthropic.com:\nPOST /v1/messages HTTP/1.1" in told
    assert "authorization: Bearer sk-ant-oat01-the-real-one" in told
    assert "la_sk_" not in told
    assert "event: ping" in told
    assert "after 30 s: b'e\\r\\n: keep-alive\\n\\n\\r\\n" in told
    assert "event: error" in told
    assert "closed: True" in told
