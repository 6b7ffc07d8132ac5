"""What a reader of a run's page sees: of hosts that failed, were lost or were let go of, and of how to go on."""

import re

import pytest

from airavata_runbook.engine.report import Failure, Item, Report
from airavata_runbook.run import page as report_page
from airavata_runbook.run.record import RunRecord

LOST = "the connection to the host was lost"
STOPPED = "stopped by the user\n  where:  host two"
DONE, LEFT = Item("file /etc/a", "changed", command="install -m 644 a /etc/a"), Item("file /etc/b", "skipped")


def report_of(*items: Item, message: str = "") -> Report:
    """Of a step on the hosts one, which is as it should be, and two."""
    failures = [Failure("two", message)] if message else []
    return Report(
        "install",
        "files",
        "Files",
        False,
        {"one": [Item("file /etc/a", "ok")], "two": list(items)},
        failures,
        started=9.0,
        seconds=3.0,
    )


def page_of(
    tmp_path,
    *reports: Report,
    outcome: str = "failed",
    what: str = "run",
    error: dict | None = None,
    asked: tuple = ("02-install", "03-later"),
) -> str:
    record = RunRecord("small", tmp_path, what, asked)
    chapter = record.begin("02-install", "" if what == "reset" else "02-install.ipynb")
    chapter["error"] = error
    record.fill(chapter, [report.as_dict() for report in reports], 4.0)
    record.write(outcome)
    return (record.folder / "report.html").read_text(encoding="utf-8")


def words(page: str) -> str:
    """The page's text, white space folded."""
    return " ".join(re.sub("<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())


@pytest.mark.parametrize(
    "items, told",
    [
        ((DONE, LEFT), "failed: 1 changed, 1 skipped"),  # lost in the midst, and no resource is to blame
        ((), "failed"),  # it did not answer at all
        ((DONE, Item("file /etc/b", "failed")), "failed: 1 changed, 1 failed"),
    ],
)
def test_a_host_that_was_lost_is_one_failure_wherever_it_is_told(tmp_path, items, told):
    step = report_of(*items, message=LOST).as_dict()
    assert step["failed"] == 1 and report_page.step_line(step).startswith("Files: FAILED: ")
    assert "1 failed" in report_of(*items, message=LOST).verdict
    page = page_of(tmp_path, report_of(*items, message=LOST))
    assert f'<summary class="failed">{told}</summary>' in page and "nothing to do" not in page
    assert '<h3 class="failed">Files' in page and '<td class="failed">Files</td>' in page
    assert "1 failed" in re.search('<p class="verdict failed">(.*?)</p>', page, re.DOTALL)[1]


def test_several_failures_on_one_host_are_all_counted():
    broken = Item("file /etc/b", "failed")
    assert report_of(broken, broken, message="it was found broken").failed == 2
    assert report_of(DONE).failed == 0 and Report.from_dict(report_of(message=LOST).as_dict()) == report_of(message=LOST)


def test_a_check_that_fails_has_no_hosts_and_is_one_failure():
    step = Report("network", "preflight", "What is in the way", False, {}, [Failure("small", "a port")]).as_dict()
    assert step["failed"] == 1 and report_page.step_line(step) == "What is in the way: FAILED (0.0 s)"


def test_what_the_user_stopped_is_no_failure(tmp_path):
    stopped = report_of(DONE, Item("service x", "failed"), LEFT, message=STOPPED)
    step = stopped.as_dict()
    assert (step["failed"], step["stopped"]) == (0, 1) and "1 stopped" in stopped.verdict
    assert report_page.step_line(step).startswith("Files: stopped: 1 changed")
    error = {"cell": 7, "source": "install.files(site)", "message": "stopped by the user"}
    page = page_of(tmp_path, stopped, outcome="stopped", error=error)
    text = words(page)
    assert "02-install stopped in cell 7 of 02-install.ipynb" in text and "1 changed, 0 failed" in text
    assert "Later chapters were not run: 03-later. To go on, run again: what is done stays done (--from 02 begins at" in text
    assert '<summary class="stopped">stopped: 1 changed' in page and '<h3 class="stopped">Files' in page


def test_a_host_that_failed_while_the_user_stopped_the_other_stays_a_failure():
    both = report_of(DONE, message=STOPPED)
    both.failures.append(Failure("one", LOST))
    assert (both.failed, both.stopped) == (1, 1) and report_page.step_line(both.as_dict()).startswith("Files: FAILED")


def test_a_reset_that_failed_says_why_and_how_to_go_on(tmp_path):
    error = {"cell": 0, "source": "", "message": "the reset did not get through on two"}
    page = page_of(tmp_path, report_of(DONE, message=LOST), what="reset", error=error, asked=())
    text = words(page)
    assert "02-install failed the reset did not get through on two" in text and "cell" not in text and 'href=""' not in page
    assert "When the cause is mended, reset again" in text and "not run" not in text and "--from" not in text


def test_a_run_that_went_well_gives_no_advice(tmp_path):
    text = words(page_of(tmp_path, report_of(DONE), outcome="ok", asked=("02-install",)))
    assert "Succeeded" in text and "again" not in text and "not run" not in text


@pytest.mark.parametrize(
    "error, state, failed",
    [
        (None, "ok    ", 0),
        ({"cell": 5, "source": "1 / 0", "message": "ZeroDivisionError: division by zero"}, "FAILED", 1),
        ({"cell": 5, "source": "", "message": "stopped by the user"}, "stopped", 0),
    ],
)
def test_a_chapters_line_tells_a_stop_from_a_failure(tmp_path, error, state, failed):
    record = RunRecord("small", tmp_path)
    chapter = record.begin("02-install")
    chapter["error"] = error
    record.fill(chapter, [], 1.0)
    assert report_page.chapter_line(chapter) == f"02-install             1.0 s  {state}  0 steps, 0 changed, {failed} failed"
    assert chapter["failed"] == failed


def test_the_page_stands_alone():
    item = {"label": "/etc/x", "status": "changed", "summary": "", "detail": "- a\n+ <script>", "command": "", "seconds": 0.2}
    chapter = {
        "chapter": "01-a",
        "notebook": "01-a.ipynb",
        "seconds": 75.0,
        "changed": 1,
        "would_change": 0,
        "failed": 0,
        "error": None,
        "steps": [
            {
                "title": "Files",
                "hosts": {"one": [item]},
                "failures": [],
                "rows": [["a"], ["b"]],
                "failed": 0,
                "stopped": 0,
                "started": 9.0,
                "seconds": 3.0,
            }
        ],
    }
    page = report_page.render(
        {
            "site": "small",
            "run": "r",
            "what": "run",
            "plan": False,
            "asked": [],
            "set": {},
            "started": "s",
            "outcome": "ok",
            "seconds": 80.4,
            "changed": 1,
            "would_change": 0,
            "failed": 0,
            "chapters": [chapter],
        }
    )
    assert "1 chapter in 1 min 20 s: 1 changed, 0 failed" in page
    assert "&lt;script&gt;" in page and "<script" not in page
    assert "http://" not in page and "https://" not in page and "src=" not in page
    assert "prefers-color-scheme: dark" in page and "Timeline" in page


def test_the_timeline_places_steps_by_when_they_ran_and_how_long():
    steps = [
        {"title": "one", "started": 100.0, "seconds": 1.0, "failed": 0},
        {"title": "two", "started": 103.0, "seconds": 1.0, "failed": 1},
    ]
    bars = report_page.timeline({"chapters": [{"chapter": "01", "steps": steps[:1]}, {"chapter": "02", "steps": steps[1:]}]})
    assert [(bar["title"], bar["left"], bar["width"], bar["failed"]) for bar in bars] == [("one", 0, 25, 0), ("two", 75, 25, 1)]
    assert report_page.timeline({"chapters": []}) == []
