"""One run at a time on a site: a lock that the master keeps for as long as its holder is connected.

The lock is flock(2) on a file in the master's /run, held by a shell that receives this process's heartbeats. It ends with
that shell, whatever happens here: the process ends or is killed (its connection closes), the network fails (no heartbeat
within heartbeat.TIMEOUT), or the master restarts. So nobody ever has to remove a stale lock by hand. A run that goes on after
its connection was lost takes the lock again; where another run was quicker, it stops.
"""

import getpass
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.hosts import heartbeat
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.kernel_env import LOCK_HELD

PATH = "/run/airavata-runbook.lock"
ANSWER = 30.0  # seconds
UNLOCKABLE = "the site could not be locked for this run"
AGAIN = 1  # seconds between two tries to take a lock again that was lost


class SiteLock:
    """The lock of one site, as this process sees it. master: the host that keeps it."""

    def __init__(self, master: Host):
        self.master = master
        self._held = False

    @contextmanager
    def held(self, purpose: str) -> Iterator[bool]:
        """Hold the lock; yields whether it is held. purpose: in words, for whoever finds it taken.

        A process that holds it already, or runs for one that does, goes on. A master that does not answer cannot be locked:
        then False, and the work itself reports what is wrong. Raises StepFailed, naming the holder, when another run has the
        lock: at once, or while the work runs, which is interrupted then.
        """
        if os.environ.get(LOCK_HELD) or self._held:
            yield True
            return
        channel = None
        with suppress(HostUnreachable):
            channel = _take(self.master, purpose)
        if channel is None:
            yield False
            return
        keeper = _Keeper(self.master, purpose, channel)
        self._held = True
        try:
            yield True
        except BaseException:
            if keeper.lost:
                raise keeper.lost from None
            raise
        finally:
            self._held = False
            keeper.release()


class _Keeper:
    """Keeps a lock that was taken, until `release`. lost: why another run has it now, else None."""

    def __init__(self, host: Host, purpose: str, channel: paramiko.Channel):
        self.host, self.purpose, self.channel = host, purpose, channel
        self.lost: StepFailed | None = None
        self._done, self._changing = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="site lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Give it up."""
        self._done.set()
        with self._changing:
            self.channel.close()
        self._thread.join(ANSWER)

    def _keep(self) -> None:
        while not self._done.is_set() and not self.lost:
            self._send_heartbeats()
            if not self._done.is_set():
                self._take_again()

    def _send_heartbeats(self) -> None:
        """Until the other end is gone."""
        self.channel.settimeout(heartbeat.INTERVAL)
        with suppress(OSError):
            while True:
                try:
                    if not self.channel.recv(1):
                        return
                except TimeoutError:
                    self.channel.sendall(b".")

    def _take_again(self) -> None:
        while not self._done.wait(AGAIN):
            try:
                channel = _take(self.host, self.purpose)
            except (HostUnreachable, _Unanswered):
                continue  # the work itself reports it, or the next try does
            except _Taken as error:
                if error.holder.startswith(_who(self.purpose)):
                    continue  # ours: its shell has not noticed yet that the connection is gone
                return self._lose(error)
            except StepFailed as error:
                return self._lose(error)
            with self._changing:
                self.channel = channel
                if self._done.is_set():
                    channel.close()
            return

    def _lose(self, error: StepFailed) -> None:
        self.lost = StepFailed(
            "the site's lock was lost with the SSH connection and could not be taken again",
            where=error.where,
            found=f"{error.message}: {error.found}",
            retryable=True,
            remedy="wait for the other run's end, then run again: it continues where this one stopped",
        )
        _interrupt_main()


def _interrupt_main() -> None:
    # In a notebook only SIGINT is heeded; a command heeds SIGTERM even where its shell has it ignore SIGINT.
    which = signal.SIGTERM if callable(signal.getsignal(signal.SIGTERM)) else signal.SIGINT
    signal.pthread_kill(threading.main_thread().ident or 0, which)


class _Taken(StepFailed):
    """Somebody else has the lock. holder: as the lock file names it, "" before it does."""

    def __init__(self, holder: str, where: str):
        super().__init__(
            "another run is under way on this site",
            where=where,
            found=holder or "a run that has just begun",
            retryable=True,
            remedy=f"wait for its end, or stop it; after a lost connection its lock ends within {heartbeat.TIMEOUT} s",
        )
        self.holder = holder


class _Unanswered(StepFailed):
    """The master did not answer: most likely the connection was lost meanwhile."""


def _take(host: Host, purpose: str) -> paramiko.Channel:
    channel, answer, where = host.start(_script()), b"", f"host {host.name}, {PATH}"
    channel.settimeout(ANSWER)
    output, silent = channel.makefile("rb"), "the connection ended before an answer"
    try:
        channel.sendall(f"{_who(purpose)}\n".encode())
        answer = output.readline().strip()
        if answer == b"held":
            return channel
        printed = (output.read() + channel.makefile_stderr("rb").read()).decode(errors="replace").strip()
    except OSError as error:
        answer, printed, silent = b"", "", str(error) or f"no answer within {ANSWER:.0f} s"
    finally:
        if answer != b"held":
            channel.close()
    if answer == b"taken":
        raise _Taken(printed, where)
    if not printed:
        raise _Unanswered(
            UNLOCKABLE,
            where=where,
            found=silent,
            retryable=True,
            remedy="check that the host is up, then run again: it continues where it stopped",
        )
    raise StepFailed(
        UNLOCKABLE,
        where=where,
        found=printed,
        retryable=True,
        needed="flock, timeout and dd on the host, and a writable /run",
        remedy="fix what is reported here, then run again: it continues where it stopped",
    )


def _script() -> str:
    return f"""umask 077; exec 9>>{PATH} || exit
flock -w 3 9 || {{ echo taken; cat {PATH}; exit; }}
read -r holder
printf '%s, since %s\\n' "$holder" "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" > {PATH}
echo held
{heartbeat.listener()}
: > {PATH}
"""


def _who(purpose: str) -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}, process {os.getpid()}, {purpose}"
