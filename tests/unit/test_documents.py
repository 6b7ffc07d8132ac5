"""The documents in the project's folders: every link leads somewhere."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path for folder in (".", "docs", "benchmarks", "outputs", "tests/nbval") for path in (PROJECT / folder).glob("*.md")
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```", "", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_link_leads_to_a_file_or_a_heading(document):
    wrong = []
    for link in LINK.findall(document.read_text()):
        path, _, anchor = link.partition("#")
        if path.startswith(("https:", "http:")):
            continue
        target = document.parent / path if path else document
        if not target.exists() or anchor and anchor not in anchors(target.read_text()):
            wrong.append(link)
    assert wrong == []


def test_every_page_of_the_documentation_is_linked_from_the_readme():
    linked = set(LINK.findall((PROJECT / "README.md").read_text()))
    assert [path.name for path in (PROJECT / "docs").glob("*.md") if f"docs/{path.name}" not in linked] == []
