"""One run at a time on a site: a lock on the master, held for as long as its holder is connected.

The lock is flock(2) on a file in the master's /run, held by a shell that receives this process's heartbeats. It ends with
that shell, whatever happens here: the process ends or is killed (its connection closes), the network fails (no heartbeat
within heartbeat.TIMEOUT), or the master restarts. So no stale lock ever has to be removed by hand. A run that continues after
its connection was lost takes the lock again; if another run has it by then, this one stops. When it ends, the shell adds what
was done to the site's journal (journal.py).
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.footprint import UNTIL_RESTART, Touch
from airavata_runbook.hosts import heartbeat, journal
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.kernel_env import LOCK_HELD
from airavata_runbook.local.person import person

PATH = "/run/airavata-runbook.lock"
FOOTPRINT = (Touch("file", PATH, stays=f"empty, {UNTIL_RESTART}"),)
ANSWER_TIMEOUT = 30.0  # seconds
NOT_LOCKED = "the site could not be locked for this run"
HELD, TAKEN = b"held\n", b"taken\n"  # the script's first line
END = "!"  # what the holder sends in place of a heartbeat, before the outcome
RETRY_INTERVAL = 1  # seconds between two attempts to take a lost lock again


class SiteLock:
    """The lock of one site in this process. master: the host of the lock file. hosts: those of the site, whose commands are
    interrupted when a thread loses the lock that is not the main one.
    """

    def __init__(self, master: Host, hosts: Iterable[Host] = ()):
        self.master, self.hosts = master, list(hosts)
        self._held = 0  # by how many, each within the one before
        self._held_by: int | None = None  # a thread's identifier
        self._outcome = ""

    def note(self, outcome: str) -> None:
        """What the work that holds the lock came to, in words without secrets, for the journal. Notes of work within it, and of
        other threads, are not taken."""
        if self._held == 1 and self._held_by == threading.get_ident():
            self._outcome = outcome

    def holder(self) -> str:
        """Who holds the lock now, "USER@MACHINE, process N, PURPOSE, since TIME"; "" when nobody does, or this thread.

        It asks for the lock as readers do (flock --shared), which whoever takes it waits for. Raises HostUnreachable.
        """
        if self._held_by == threading.get_ident():
            return ""
        return self.master.run(f"test ! -e {PATH} || {{ exec 9<{PATH}; flock -n -s 9 || cat {PATH}; }}").text.strip()

    @contextmanager
    def held(self, purpose: str, entry: bool = True) -> Iterator[bool]:
        """Hold the lock; yields whether it is held. purpose: shown to other runs that find the lock taken.

        entry: whether the journal gets one.

        Does nothing in a thread that holds it already, and where the parent of this process does. Yields False when the master
        does not answer: the work itself reports that. Raises StepFailed, which names the holder, when another run has the lock:
        at once, or during the work, which is then interrupted.
        """
        if os.environ.get(LOCK_HELD) or self._held_by == threading.get_ident():
            self._held += 1
            try:
                yield True
            finally:
                self._held -= 1
            return
        channel = None
        with suppress(HostUnreachable):
            channel = _take(self.master, purpose, entry)
        if channel is None:
            yield False
            return
        in_main = threading.current_thread() is threading.main_thread()
        keeper = _Keeper(self.master, purpose, entry, channel, _interrupt_main if in_main else self._stop)
        self._held, self._held_by, self._outcome = 1, threading.get_ident(), ""
        try:
            yield True
        except BaseException as error:
            self._outcome = self._outcome or ("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
            if keeper.lost:
                raise keeper.lost from None
            raise
        finally:
            self._held, self._held_by = 0, None
            keeper.release(self._outcome or "done")
            if keeper.lost and not in_main:
                for host in self.hosts:
                    host.resume()

    def _stop(self) -> None:
        for host in self.hosts:
            host.stop()


class _Keeper:
    """Keeps a lock that was taken, until `release`. lost: the error when it could not be kept, else None. interrupt: the work."""

    def __init__(self, host: Host, purpose: str, entry: bool, channel: paramiko.Channel, interrupt: Callable[[], None]):
        self.host, self.purpose, self.entry, self.channel, self.interrupt = host, purpose, entry, channel, interrupt
        self.lost: StepFailed | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="site lock", daemon=True)
        self._thread.start()

    def release(self, outcome: str) -> None:
        """Release the lock. outcome: for the journal."""
        self._done.set()
        with suppress(OSError):  # the connection is lost
            self.channel.sendall(f"{END}{journal.one_line(outcome)}\n".encode())
        self.channel.close()
        self._thread.join(ANSWER_TIMEOUT)

    def _keep(self) -> None:
        while not self._done.is_set() and not self.lost:
            heartbeat.send_heartbeats(self.channel)
            self._take_again()

    def _take_again(self) -> None:
        while not self._done.wait(RETRY_INTERVAL):
            try:
                channel = _take(self.host, self.purpose, self.entry)
            except (HostUnreachable, _NoAnswer):
                continue  # reported by the work itself, or by the next attempt
            except StepFailed as error:
                if isinstance(error, SiteLocked) and error.holder == _holder(self.purpose):
                    continue  # our own shell on the host, which has not ended yet
                return self._lose(error)
            self.channel = channel  # first: either `release` sees it, or it has told us to close it
            if self._done.is_set():
                channel.close()
            return

    def _lose(self, error: StepFailed) -> None:
        self.lost = StepFailed(
            "the site's lock was lost with the SSH connection and could not be taken again",
            where=error.where,
            found=f"{error.message}: {error.found}",
            retryable=True,
            remedy="wait until the other run ends, then run again: it continues where this one stopped",
        )
        self.interrupt()


def _interrupt_main() -> None:
    # A notebook handles only SIGINT; a command handles SIGTERM even if its shell made it ignore SIGINT.
    which = signal.SIGTERM if callable(signal.getsignal(signal.SIGTERM)) else signal.SIGINT
    main = threading.main_thread().ident
    assert main is not None  # it is running
    signal.pthread_kill(main, which)


class SiteLocked(StepFailed):
    """Another run has the lock. content: of the lock file, "HOLDER, since TIME", or empty when the run has just started."""

    def __init__(self, content: str, where: str):
        super().__init__(
            "another run is in progress on this site",
            where=where,
            found=content or "a run that has just started",
            retryable=True,
            remedy=f"wait until it ends, or stop it; after a lost connection its lock ends within {heartbeat.TIMEOUT} s",
        )
        self.holder = content.rpartition(", since ")[0]


class _NoAnswer(StepFailed):
    """The master did not answer: most likely the connection was lost."""


def _take(host: Host, purpose: str, entry: bool) -> paramiko.Channel:
    channel, answer = host.start(_script(entry), f"{_holder(purpose)}\n".encode()), b""
    where = f"host {host.name}, {PATH}"
    channel.settimeout(ANSWER_TIMEOUT)
    output, no_answer = channel.makefile("rb"), "the connection ended before an answer"
    try:
        answer = output.readline()
        if answer == HELD:
            return channel
        rest = output.read()
    except OSError as error:
        answer, rest, no_answer = b"", b"", str(error) or f"no answer within {ANSWER_TIMEOUT:.0f} s"
    finally:
        if answer != HELD:
            channel.close()
    if answer == TAKEN:
        raise SiteLocked(rest.decode(errors="replace").strip(), where)
    printed = (answer + rest).decode(errors="replace").strip()
    if not printed:
        raise _NoAnswer(
            NOT_LOCKED,
            where=where,
            found=no_answer,
            retryable=True,
            remedy="check that the host is up, then run again: it continues where it stopped",
        )
    raise StepFailed(
        NOT_LOCKED,
        where=where,
        found=printed,
        retryable=True,
        needed="flock, timeout and dd on the host, and a writable /run",
        remedy="fix the reported cause, then run again: it continues where it stopped",
    )


def _script(entry: bool) -> str:
    """entry: whether the journal gets one."""
    return f"""umask 077; exec 9>>{PATH} || exit
flock -w 3 9 || {{ echo taken; cat {PATH}; exit; }}
read -r holder
since=$({journal.STAMP})
printf '%s, since %s UTC\\n' "$holder" "$since" > {PATH}
echo held
{heartbeat.listener()}
if [ "$beat" = '{END}' ]; then outcome=$(timeout 5 head -n 1 9>&-); else outcome=; fi
{journal.append() if entry else ":"}
: > {PATH}
"""


def _holder(purpose: str) -> str:
    """This process, for the lock file and the journal."""
    return journal.one_line(f"{person()}, process {os.getpid()}, {purpose}")
