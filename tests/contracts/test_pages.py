"""The pages are true: links lead somewhere, targets and dependencies exist, decisions are numbered and listed."""

import re
from pathlib import Path

import pytest

from tests.contracts.checkout import ROOT, project

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changelog.d").glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """The fragment that GitHub gives a heading: lower case, punctuation dropped, spaces as hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    broken = []
    for target, fragment in LINK.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        there = (page.parent / target) if target else page
        if not there.exists():
            broken.append(target)
        elif fragment and there.suffix == ".md":
            headings = HEADING.findall(CODE_BLOCK.sub("", there.read_text(encoding="utf-8")))
            if fragment[1:] not in {anchor(heading) for heading in headings}:
                broken.append(target + fragment)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z][a-z-]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= targets


def test_every_dependency_is_justified_in_the_docs() -> None:
    declared = project()
    requirements = [
        *declared["project"]["dependencies"],
        *(line for lines in declared["project"]["optional-dependencies"].values() for line in lines),
        *(line for lines in declared["dependency-groups"].values() for line in lines if isinstance(line, str)),
    ]
    names = {re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0] for requirement in requirements}
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `([\w-]+)`", page, re.MULTILINE))
    assert described == names


def test_decisions_are_numbered_without_gaps_and_each_is_listed() -> None:
    decisions = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [name[:4] for name in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (ROOT / "docs/adr/README.md").read_text(encoding="utf-8"))
    assert listed == decisions


@pytest.mark.parametrize("page", sorted((ROOT / "docs/adr").glob("[0-9]*.md")), ids=lambda page: page.stem)
def test_a_decision_says_what_why_and_what_would_reverse_it(page: Path) -> None:
    headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == ["Context", "Options", "Decision", "What would reverse it"]


def test_changelog_fragments_have_a_kind_that_the_changelog_knows() -> None:
    kinds = {kind["directory"] for kind in project()["tool"]["towncrier"]["type"]}
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md"]
    assert [path.name for path in fragments if path.suffix != ".md" or path.stem.split(".")[-1] not in kinds] == []
