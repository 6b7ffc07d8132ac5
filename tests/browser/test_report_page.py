"""A run's report.html in a browser. It needs no site."""

import pytest

from airavata_runbook.engine.report import Failure, Item, Report, Status
from airavata_runbook.run.report import ChapterError
from tests.browser.devtools import PICTURES
from tests.unit.test_report_page import STOPPED, page_of

LONG = "-".join(["a-part-of-a-name"] * 12)
DIGEST = "sha256:" + "0123456789abcdef" * 4
ERROR = ChapterError(
    cell=4, source="install.packages(site, plan=plan)", message=f"Packages did not succeed on two\n  ran: {LONG}"
)


def step(title: str, started: float, **parts: object) -> Report:
    items = [Item(label=f"file /etc/{one}", status=one, summary="summary", detail=f"- {LONG}", command=LONG) for one in Status]
    hosts = {"one": items, LONG[:60]: items[:2]}
    return Report(chapter="install", step="files", title=title, plan=False, hosts=hosts, started=started, seconds=3.0, **parts)


@pytest.fixture
def url(tmp_path) -> str:
    """Of a page that has all that a page can have."""
    steps = [
        step("Files", 9.0, notices=[f"two: waits for {LONG}"]),
        step("Packages", 12.0, failures=[Failure(host="two", message=LONG)]),
        step("Services", 15.0, failures=[Failure(host="two", message=STOPPED, kind="stopped")]),
        step("Certificates", 18.0, rows=[["host", "certificate", "digest", "valid until"], ["one", LONG, DIGEST, "2027-11-30"]]),
    ]
    (tmp_path / "report.html").write_text(page_of(tmp_path, *steps, error=ERROR))
    return f"file://{tmp_path}/report.html"


@pytest.mark.parametrize("width", [1280, 1000, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_fits_and_can_be_read(page, url, scheme, width):
    page.open(url)
    page.show(width, 900, scheme)
    page.js("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert not page.js("look.wide([document.documentElement])"), "only a table of findings may be scrolled, in its own frame"
    assert not page.js("look.pale([document.body])")
    assert not page.unnamed("document.body")
    height = page.js("document.documentElement.scrollHeight")
    page.show(width, min(height, 2400), scheme)
    page.picture(PICTURES / f"report-{scheme}-{width}.png")


def test_a_report_is_used_by_the_keyboard(page, url):
    page.open(url)
    page.show(1280, 900)
    reached = page.js("look.focusable(document.body).length")
    places = set()
    for _ in range(reached):
        page.press("Tab")
        places.add(page.js("look.focusable(document.body).indexOf(document.activeElement)"))
    assert places == set(range(reached)) and reached > 10
    page.js("document.querySelector('details:not([open]) > summary').focus()")
    page.press("Enter")
    assert page.js("document.activeElement.parentElement.open"), "Enter unfolds"
