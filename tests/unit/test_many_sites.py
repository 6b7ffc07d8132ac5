"""Several sites side by side: a process each, one report over all, and nobody stops the others."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airavata_runbook import cli
from airavata_runbook.run.many import process as many_process
from airavata_runbook.run.many.progress import Lines
from tests.unit.small_project import SITE, wait_for, write

PROJECT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "airavata_runbook.cli"]


@pytest.fixture
def sites(project, monkeypatch):
    """A project with three sites, of which nothing can be reached; none of another name."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    (project / "parameters" / "small.yaml").unlink()
    for number, name in enumerate(("alpha", "beta", "gamma"), 1):
        add(project, name, number)
    return project


def add(project: Path, name: str, number: int, file: str = "") -> None:
    text = SITE.replace("name: small", f"name: {name}").replace("port: 1}", f"port: {number}}}")
    (project / "parameters" / f"{file or name}.yaml").write_text(text)


def report(project: Path, run: str = "latest") -> dict:
    return json.loads((project / "outputs" / "_sites" / run / "report.json").read_text())


def test_a_site_that_fails_does_not_stop_the_others(sites, capsys):
    write(sites, "01-first", 'step("one", "changed", "ok")')
    write(
        sites,
        "02-second",
        'step("two", "changed", *(["failed"] if site.name == "beta" else []), failures=["<disk full>"] * (site.name == "beta"))',
    )
    assert cli.main(["run", "--all", "--set", "airavata.api_replicas=3"]) == 1

    found = report(sites)
    assert [(one["name"], one["outcome"], one["changed"], one["ended_in"]) for one in found["sites"]] == [
        ("alpha", "ok", 2, ""),
        ("beta", "failed", 2, "02-second"),
        ("gamma", "ok", 2, ""),
    ]
    assert (found["outcome"], found["what"]) == ("failed", "run")
    said = capsys.readouterr()
    assert "1 site of 3 failed: beta" in said.err and "disk full" in said.err
    for name in ("alpha", "beta", "gamma"):  # in a log a line for each chapter
        assert re.search(rf"(?m)^{name} +01-first .* ok ", said.out) and re.search(rf"(?m)^{name} +02-second ", said.out)
    page = sites / "outputs" / "_sites" / "latest" / "report.html"
    text = page.read_text()
    assert "&lt;disk full&gt;" in text and "<disk full>" not in text
    links = re.findall(r'href="([^"]+)"', text)
    assert len(links) == 6 and all((page.resolve().parent / link).is_file() for link in links)
    own = json.loads((sites / "outputs" / "gamma" / "latest" / "report.json").read_text())
    assert own["set"] == {"airavata.api_replicas": 3} and own["outcome"] == "ok"


def test_a_plan_of_several_sites_is_a_plan_of_each(sites, capsys):
    write(sites, "01-first", 'assert plan\nstep("one", "would change")')
    assert cli.main(["plan", "alpha", "parameters/gamma.yaml"]) == 0
    assert [one["would_change"] for one in report(sites, "latest-plan")["sites"]] == [1, 1]
    assert "would change" in capsys.readouterr().out and not (sites / "outputs" / "alpha" / "latest").exists()


@pytest.mark.parametrize(
    "files, named, message",
    [
        ({}, ["alpha", "beta", "alpha"], "alpha is named twice"),
        ({"other": ("alpha", 9)}, ["alpha", "other"], "alpha and other are both site alpha"),
        ({"other": ("other", 2)}, ["beta", "other"], "beta and other share hosts: 127.0.0.1:2"),
        ({}, ["alpha", "delta"], "delta: unknown site 'delta'"),
    ],
)
def test_sites_that_are_the_same_or_unknown_are_refused_before_anything_is_touched(sites, capsys, files, named, message):
    write(sites, "01-first")
    for file, (name, number) in files.items():
        add(sites, name, number, file)
    for command in ("run", "plan", "check"):
        assert cli.main([command, *named]) == 1
        assert message in capsys.readouterr().err
    assert not (sites / "outputs").exists()


def test_an_unknown_chapter_is_refused_before_anything_is_touched(sites, capsys):
    write(sites, "01-first")
    assert cli.main(["run", "alpha", "beta", "--from", "7"]) == 1
    assert "no chapter '7'" in capsys.readouterr().err and not (sites / "outputs").exists()


@pytest.mark.parametrize("words", [["run"], ["plan", "alpha", "--all"], ["check"]])
def test_a_command_line_without_a_site_or_with_too_many_is_a_usage_error(sites, capsys, words):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2 and "SITE" in capsys.readouterr().err


def test_check_looks_at_every_site_and_says_what_each_has(sites, capsys, monkeypatch):
    monkeypatch.setenv("CANARY", "value")
    assert cli.main(["check", "--all", "--offline"]) == 0
    assert re.findall(r"(?m)^site (\w+): 0 failed", capsys.readouterr().out) == ["alpha", "beta", "gamma"]
    monkeypatch.delenv("CANARY")
    assert cli.main(["check", "alpha", "beta", "--offline"]) == 1


@pytest.mark.parametrize("stop, status", [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_what_ends_the_run_of_all_ends_each_site(sites, stop, status):
    """Ctrl-C, kill, and its death: no process goes on."""
    write(sites, "01-first", "import os, time; open(f'started-{site.name}', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    run = subprocess.Popen(
        [*COMMAND, "run", "alpha", "beta", "gamma", "--jobs", "2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    kernels = [sites / f"started-{name}" for name in ("alpha", "beta")]
    wait_for(lambda: all(file.exists() and file.read_text() for file in kernels))
    run.send_signal(stop)
    said = run.communicate(timeout=30)[0].decode()
    assert run.returncode == status
    wait_for(lambda: not any(Path("/proc", file.read_text()).exists() for file in kernels))
    assert not (sites / "started-gamma").exists()
    if status == 130:
        assert [one["outcome"] for one in report(sites)["sites"]] == ["stopped"] * 3 and report(sites)["outcome"] == "stopped"
        assert "stopping all sites" in said and "stopped; run it again" in said
    own = sites / "outputs" / "alpha" / "latest" / "report.json"
    wait_for(lambda: json.loads(own.read_text())["outcome"] == "stopped")  # by itself, with its record written


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_for_each_site_rewritten_in_place(sites, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    processes = [many_process.SiteProcess(name, {}, sites / "log") for name in ("alpha", "a-long-name")]
    stream = Terminal()
    lines = Lines(stream)
    lines.show(processes)
    first = stream.getvalue()
    assert re.findall(r"\S+ +waiting", first) == ["alpha        waiting", "a-long-name  waiting"]
    lines.show(processes)
    assert stream.getvalue()[len(first) :].startswith("\r\x1b[2A")
    lines.close(processes)
    assert stream.getvalue().endswith("\r\x1b[2A\x1b[J")
    assert os.environ["COLUMNS"] == "60" and all(len(line) < 70 for line in stream.getvalue().split("\n"))
