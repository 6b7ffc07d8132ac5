"""The site's journal, written by the lock's own script (here by this machine's shell); a real host: tests/lab/test_steps.py."""

import subprocess

import pytest

from airavata_runbook.engine.step import check, step
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts import journal, lock
from airavata_runbook.hosts.journal import Entry
from airavata_runbook.site import Site
from tests.unit.sessions import open_session
from tests.unit.test_engine import ThisMachine


@pytest.fixture
def master(tmp_path, monkeypatch):
    """A master whose folders are here, on which something was installed."""
    for module, name in ((lock, "PATH"), (journal, "PATH"), (journal, "RUNBOOK")):
        monkeypatch.setattr(module, name, str(tmp_path / f"{module.__name__.rpartition('.')[2]}-{name.lower()}"))
    monkeypatch.delenv(lock.LOCK_HELD, raising=False)
    (tmp_path / "journal-runbook").mkdir()
    return Master()


class Master(ThisMachine):
    """start: as Host's, with this machine's shell."""

    def __init__(self):
        super().__init__()
        self.name, self.ended = "one", []

    def start(self, script: str, data: bytes = b"") -> "Shell":
        self.ended.append(Shell(script, data))
        return self.ended[-1]

    def journal(self) -> list[Entry]:
        """Its entries, when the scripts have ended."""
        for shell in self.ended:
            shell.process.wait(20)
        return journal.read(self, lock.PATH, 5).entries


class Shell:
    """A channel to a script that runs here."""

    def __init__(self, script: str, data: bytes):
        self.process = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def settimeout(self, seconds):
        pass

    def makefile(self, mode):
        return self.process.stdout

    def recv(self, size) -> bytes:
        self.process.wait()
        return b""

    def sendall(self, data):
        if self.process.stdin.closed:
            raise OSError("the connection is lost")
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def close(self):
        if not self.process.stdin.closed:
            self.process.stdin.close()


def test_what_held_the_lock_is_in_the_journal_with_who_when_and_its_outcome(master):
    site_lock = lock.SiteLock(master)
    with site_lock.held("airavata-runbook run"):
        with site_lock.held("step 'Files'"):
            site_lock.note("of a step within it")
        site_lock.note("ok: 6 chapters")
    (entry,) = master.journal()
    assert (entry.what, entry.outcome) == ("airavata-runbook run", "ok: 6 chapters") and "@" in entry.who
    assert entry.since.startswith("20") and entry.since <= entry.until
    with pytest.raises(StepFailed), site_lock.held("step 'Files'"):
        raise StepFailed("it broke")
    with pytest.raises(KeyboardInterrupt), site_lock.held("step 'Files'"):
        raise KeyboardInterrupt
    assert [one.outcome for one in master.journal()] == ["stopped", "failed", "ok: 6 chapters"]
    assert (lock_file := journal.read(master, lock.PATH, 0)).running == "" and not lock_file.entries


def test_while_it_goes_on_the_lock_says_what_and_whose(master):
    with lock.SiteLock(master).held("airavata-runbook run"):
        assert "airavata-runbook run, since 20" in journal.read(master, lock.PATH, 5).running


def test_a_lost_connection_is_an_entry_too(master):
    with lock.SiteLock(master).held("airavata-runbook run"):
        master.ended[0].process.stdin.close()
        master.ended[0].process.wait(20)
    assert master.journal()[-1].outcome == journal.LOST


def test_a_host_on_which_nothing_was_installed_and_a_reset_leave_no_journal(master, tmp_path):
    with lock.SiteLock(master).held("airavata-runbook reset", entry=False):
        pass
    (tmp_path / "journal-runbook").rmdir()
    with lock.SiteLock(master).held("airavata-runbook run"):
        pass
    assert master.journal() == [] and not (tmp_path / "journal-path").exists()


def test_it_keeps_the_newest_lines_and_only_for_root(master, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "KEPT", 3)
    for number in range(5):
        site_lock = lock.SiteLock(master)
        with site_lock.held(f"step {number}"):
            site_lock.note("x" * 1000)
        master.journal()
    assert [entry.what for entry in master.journal()] == ["step 4", "step 3", "step 2"]
    assert len(master.journal()[0].outcome) == journal.LONGEST and (tmp_path / "journal-path").stat().st_mode & 0o777 == 0o600


def test_a_journal_that_cannot_be_written_does_not_keep_the_lock(master, tmp_path):
    (tmp_path / "journal-path.part").mkdir()
    with lock.SiteLock(master).held("a test"):
        pass
    assert master.journal() == [] and (tmp_path / "lock-path").read_text() == ""
    with lock.SiteLock(master).held("another") as held:
        assert held


def test_what_is_said_is_one_line_and_no_command(master, tmp_path):
    site_lock = lock.SiteLock(master)
    with site_lock.held("step '$(touch run)' \x1b[2J"):
        site_lock.note("a\tb\nc $(touch run) `touch run` %s")
    (entry,) = master.journal()
    assert entry.what == "step '$(touch run)' �[2J" and entry.outcome == "a b c $(touch run) `touch run` %s"


def test_lines_of_somebody_else_are_left_out(master, tmp_path):
    (tmp_path / "journal-path").write_text("\nnoise\na\tb\tc\td\te\n2026-01-01 00:00:00\t2026-01-01 00:00:01\troot@here\tdone\n")
    assert master.journal() == [Entry("2026-01-01 00:00:00", "2026-01-01 00:00:01", "root@here", "", "done")]


def test_steps_and_checks_note_their_verdict(master, monkeypatch):
    site = Site.load({"name": "fake", "nodes": [{"name": "one", "address": "192.0.2.1", "role": "master"}]})
    open_session(monkeypatch, site, {"one": master})

    @step("Nothing")
    def nothing(target):
        yield from ()

    @check("A check")
    def a_check(session):
        raise StepFailed("password: hunter2")

    nothing(site)
    with pytest.raises(StepFailed):
        a_check(site)
    nothing(site, plan=True)
    entries = [(entry.what, entry.outcome) for entry in master.journal()]
    assert entries == [
        ("check 'A check' of chapter test_journal", "failed"),
        ("step 'Nothing' of chapter test_journal", "1 host: nothing to do"),
    ]
