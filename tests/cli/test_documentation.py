import pytest

from cli.documentation import PAGES, configuration_page
from protocol.config import SETTINGS
from protocol.settings import Setting
from tests.contracts.checkout import ROOT


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.env)
def test_every_setting_is_documented_once(row: Setting) -> None:
    assert configuration_page().count(f"`{row.env}` |") == 1
