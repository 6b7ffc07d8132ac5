"""The documents in the project's folders and the texts of the notebooks: every link leads somewhere."""

import pytest

from docs.sphinx.sources import OUTSIDE, PROJECT, README, anchors, documents, links, markdown_of

PAGES = [README, *documents()]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_or_a_heading(page):
    wrong = []
    for link in links(markdown_of(page)):
        path, _, anchor = link.partition("#")
        if link.startswith(OUTSIDE):
            continue
        target = (PROJECT / page).parent / path if path else PROJECT / page
        if not target.exists() or anchor and anchor not in anchors(markdown_of(str(target.resolve().relative_to(PROJECT)))):
            wrong.append(link)
    assert wrong == []


def test_every_page_of_the_documentation_is_linked_from_the_readme():
    linked = set(links(markdown_of(README)))
    assert [path.name for path in (PROJECT / "docs").glob("*.md") if f"docs/{path.name}" not in linked] == []
