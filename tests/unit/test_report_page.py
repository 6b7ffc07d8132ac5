"""What a reader of a run's page sees: of hosts that failed, were lost or were let go of, and of how to go on."""

import json
import re
from base64 import b64encode

import pytest

from airavata_runbook.engine.report import Failure, Item, Picture, Report
from airavata_runbook.engine.step import finish
from airavata_runbook.errors import HostUnreachable, StepFailed, StoppedByUser
from airavata_runbook.run import page as report_page
from airavata_runbook.run.record import RunRecord
from airavata_runbook.run.report import ChapterError, ChapterReport, RunReport

LOST = "the connection to the host was lost"
STOPPED = "stopped by the user\n  where:  host two"
DONE = Item(label="file /etc/a", status="changed", command="install -m 644 a /etc/a")
LEFT = Item(label="file /etc/b", status="skipped")
BROKEN = Item(label="file /etc/b", status="failed")


def report_of(*items: Item, message: str = "", kind: str = "failed") -> Report:
    """Of a step on the hosts one, which is as it should be, and two."""
    return Report(
        chapter="install",
        step="files",
        title="Files",
        plan=False,
        hosts={"one": [Item(label="file /etc/a", status="ok")], "two": list(items)},
        failures=[Failure(host="two", message=message, kind=kind)] if message else [],
        started=9.0,
        seconds=3.0,
    )


def page_of(
    tmp_path,
    *reports: Report,
    outcome: str = "failed",
    what: str = "run",
    error: ChapterError | None = None,
    asked: tuple = ("02-install", "03-later"),
) -> str:
    record = RunRecord("small", tmp_path, what, asked)
    chapter = record.begin("02-install", "" if what == "reset" else "02-install.ipynb")
    chapter.error = error
    record.finish(chapter, list(reports), 4.0)
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
        ((DONE, BROKEN), "failed: 1 changed, 1 failed"),
    ],
)
def test_a_host_that_was_lost_is_one_failure_wherever_it_is_told(tmp_path, items, told):
    step = report_of(*items, message=LOST)
    assert step.failed == 1 and report_page.step_line(step).startswith("Files: FAILED: ")
    assert "1 failed" in step.verdict
    page = page_of(tmp_path, step)
    assert f'<summary class="failed">{told}</summary>' in page and "nothing to do" not in page
    assert '<h3 class="failed">Files' in page and re.search(r'class="f-bad"[^>]*>Files</text>', page)
    assert "1 failed" in re.search('<p class="verdict failed">(.*?)</p>', page, re.DOTALL)[1]


def test_several_failures_on_one_host_are_all_counted():
    assert report_of(BROKEN, BROKEN, message="it was found broken").failed == 2
    assert report_of(DONE).failed == 0


def test_a_report_survives_json_and_carries_its_counts():
    report = report_of(DONE, BROKEN, message=STOPPED, kind="stopped")
    text = report.model_dump_json()
    assert Report.model_validate_json(text) == report
    assert json.loads(text) | {"changed": 1, "would_change": 0, "failed": 0, "stopped": 1} == json.loads(text)


def test_only_the_type_of_an_error_says_that_the_user_stopped_it():
    """Not its message, which may quote anything."""
    for error, kind in (
        (StoppedByUser("let go of"), "stopped"),
        (StepFailed("stopped by the user, says the host"), "failed"),
        (HostUnreachable("stopped by the user"), "failed"),
    ):
        with pytest.raises(StepFailed) as raised:
            finish(report_of(DONE), {"two": error})
        (failure,) = raised.value.report.failures
        assert failure.kind == kind


def test_a_check_that_fails_has_no_hosts_and_is_one_failure():
    failure = Failure(host="small", message="a port")
    step = Report(chapter="network", step="preflight", title="Checks", plan=False, hosts={}, failures=[failure])
    assert step.failed == 1 and report_page.step_line(step) == "Checks: FAILED (0.0 s)"


def test_what_the_user_stopped_is_no_failure(tmp_path):
    stopped = report_of(DONE, Item(label="service x", status="failed"), LEFT, message=STOPPED, kind="stopped")
    assert (stopped.failed, stopped.stopped) == (0, 1) and "1 stopped" in stopped.verdict
    assert report_page.step_line(stopped).startswith("Files: stopped: 1 changed")
    error = ChapterError(kind="stopped", cell=7, source="install.files(site)", message="stopped by the user")
    page = page_of(tmp_path, stopped, outcome="stopped", error=error)
    text = words(page)
    assert "02-install stopped in cell 7 of 02-install.ipynb" in text and "1 changed, 0 failed" in text
    assert "Later chapters were not run: 03-later. To continue, run again: what is done stays done (--from 02 begins at" in text
    assert '<summary class="stopped">stopped: 1 changed' in page and '<h3 class="stopped">Files' in page


def test_a_host_that_failed_while_the_user_stopped_the_other_stays_a_failure():
    both = report_of(DONE, message=STOPPED, kind="stopped")
    both.failures.append(Failure(host="one", message=LOST))
    assert (both.failed, both.stopped) == (1, 1) and report_page.step_line(both).startswith("Files: FAILED")


def test_a_reset_that_failed_says_why_and_how_to_go_on(tmp_path):
    error = ChapterError(message="the reset did not complete on two")
    page = page_of(tmp_path, report_of(DONE, message=LOST), what="reset", error=error, asked=())
    text = words(page)
    assert "02-install failed the reset did not complete on two" in text and "cell" not in text and 'href=""' not in page
    assert "After fixing the cause, reset again" in text and "not run" not in text and "--from" not in text


def test_a_run_that_went_well_gives_no_advice(tmp_path):
    text = words(page_of(tmp_path, report_of(DONE), outcome="ok", asked=("02-install",)))
    assert "Succeeded" in text and "again" not in text and "not run" not in text


@pytest.mark.parametrize(
    "error, state, failed",
    [
        (None, "ok    ", 0),
        (ChapterError(cell=5, source="1 / 0", message="ZeroDivisionError: division by zero"), "FAILED", 1),
        (ChapterError(kind="stopped", cell=5, message="stopped by the user"), "stopped", 0),
    ],
)
def test_a_chapters_line_tells_a_stop_from_a_failure(tmp_path, error, state, failed):
    record = RunRecord("small", tmp_path)
    chapter = record.begin("02-install")
    chapter.error = error
    record.finish(chapter, [], 1.0)
    assert report_page.chapter_line(chapter) == f"02-install             1.0 s  {state}  0 steps, 0 changed, {failed} failed"
    assert chapter.failed == failed


def test_the_page_stands_alone():
    item = Item(label="/etc/x", status="changed", detail="- a\n+ <script>", seconds=0.2)
    step = Report(
        chapter="a", step="files", title="Files", plan=False, hosts={"one": [item]}, rows=[["a"], ["b"]], started=9.0, seconds=3.0
    )
    chapter = ChapterReport(chapter="01-a", notebook="01-a.ipynb", seconds=75.0, changed=1, steps=[step])
    page = report_page.render(
        RunReport(site="small", run="r", started="s", outcome="ok", seconds=80.4, changed=1, chapters=[chapter])
    )
    assert "1 chapter in 1 min 20 s: 1 changed, 0 failed" in page
    assert "&lt;script&gt;" in page and "<script" not in page
    assert "http://" not in page and "https://" not in page and "src=" not in page
    assert "prefers-color-scheme: dark" in page and "Timeline" in page


def test_the_timeline_places_steps_by_when_they_ran_and_how_long():
    one = Report(chapter="01", step="one", title="one", plan=False, hosts={}, started=100.0, seconds=1.0)
    two = Report(chapter="02", step="two", title="two", plan=False, hosts={"a": [BROKEN]}, started=103.0, seconds=1.0)
    chapters = [ChapterReport(chapter="01", steps=[one]), ChapterReport(chapter="02", steps=[two])]
    drawn = report_page.timeline(RunReport(started="s", chapters=chapters))
    (_, one_x, one_width), (bad, two_x, two_width) = [
        ("f-bad" in bar, float(bar.split('x="')[1].split('"')[0]), float(bar.split('width="')[1].split('"')[0]))
        for bar in re.findall(r'<rect [^>]*class="f-ba[rd]"[^>]*>', drawn)
    ]
    assert bad and one_width == two_width > 0 and two_x - one_x == 3 * one_width
    words_of = re.sub("<desc>.*?</desc>|<style>.*?</style>|<[^>]*>", " ", drawn, flags=re.DOTALL).split()
    assert words_of[-8:] == ["01", "one", "1.0", "s", "02", "two", "1.0", "s"]
    assert report_page.timeline(RunReport(started="s")) == ""
    assert drawn.replace(' xmlns="http://www.w3.org/2000/svg"', "") in report_page.render(
        RunReport(started="s", chapters=chapters)
    )


def test_a_picture_of_a_step_is_in_the_page_and_in_a_file_beside_it(tmp_path):
    picture = Picture(name="portal.png", text="the portal <STAND-IN>", png=b64encode(b"image").decode())
    step = Report(chapter="verify", step="browser", title="Browser", plan=False, hosts={}, rows=[["a"]], picture=picture)
    record = RunRecord("small", tmp_path)
    record.finish(record.begin("06-verify", "06-verify.ipynb"), [step], 1.0)
    page = (record.folder / "report.html").read_text()
    assert f'<img alt="the portal &lt;STAND-IN&gt;" src="data:image/png;base64,{picture.png}">' in page and "src=" in page
    assert (record.folder / "portal.png").read_bytes() == b"image"
    kept = json.loads((record.folder / "report.json").read_text())
    assert kept["chapters"][0]["steps"][0]["picture"] == {"name": "portal.png", "text": "the portal <STAND-IN>"}
    assert RunReport.model_validate(kept).chapters[0].steps[0].picture.name == "portal.png"
    assert str(picture) == repr(picture) == "the portal <STAND-IN>" and picture._repr_png_() == b"image"
