"""One run at a time on a site: a lock that the master keeps for as long as somebody holds on to it.

The lock is flock(2) on a file in the master's /run, held by a shell that listens to this process. It ends with that
shell, whatever happens here: the process ends or is killed (its connection closes), the network goes (no sign of life for
SILENCE seconds), or the master restarts. So nobody ever has to remove a stale lock by hand. A run that goes on after its
connection was lost takes the lock again; where another run was quicker, it stops.
"""

import getpass
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.hosts.heartbeat import BEAT, LISTEN, SILENCE
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.pool import connect
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.kernel_env import LOCK_HELD
from airavata_runbook.site import Site

PATH = "/run/airavata-runbook.lock"
ANSWER = 30.0  # seconds
UNLOCKABLE = "the site cannot be locked for this run"
AGAIN = 1  # seconds between two tries to take a lock again that was lost

_held: set[str] = set()  # sites that this process holds


@contextmanager
def held(site: Site, doing: str) -> Iterator[bool]:
    """Hold the site's lock; yields whether it is held. doing: in words, for whoever finds it taken.

    A process that holds it already, or runs for one that does, goes on. A master that does not answer cannot be locked:
    then False, and the work itself tells what is wrong. Raises StepFailed, naming the holder, when another run has it: at
    once, or in the midst of the work, which is interrupted then.
    """
    if os.environ.get(LOCK_HELD) or site.name in _held:
        yield True
        return
    host = connect(site)[site.master.name]
    channel = None
    with suppress(HostUnreachable):
        channel = _take(host, doing)
    if channel is None:
        yield False
        return
    keeper = _Keeper(host, doing, channel)
    _held.add(site.name)
    try:
        yield True
    except BaseException:
        if keeper.lost:
            raise keeper.lost from None
        raise
    finally:
        _held.discard(site.name)
        keeper.release()


class _Keeper:
    """Holds on to a lock that was taken, until `release`. lost: why it is another's, else None."""

    def __init__(self, host: Host, doing: str, channel: paramiko.Channel):
        self.host, self.doing, self.channel = host, doing, channel
        self.lost: StepFailed | None = None
        self._done, self._changing = threading.Event(), threading.Lock()
        threading.Thread(target=self._keep, daemon=True).start()

    def release(self) -> None:
        """Let go of it."""
        self._done.set()
        with self._changing:
            self.channel.close()

    def _keep(self) -> None:
        while not self._done.is_set() and not self.lost:
            self._listen()
            if not self._done.is_set():
                self._take_again()

    def _listen(self) -> None:
        """Give signs of life until the other end is gone."""
        self.channel.settimeout(BEAT)
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
                channel = _take(self.host, self.doing)
            except (HostUnreachable, _Unanswered):
                continue  # the work itself tells, or the next try does
            except StepFailed as error:
                if error.found.startswith(_who(self.doing)):
                    continue  # ours: its shell has not noticed yet that the connection is gone
                self.lost = StepFailed(
                    "the site's lock was lost with a connection, and could not be taken again",
                    where=error.where,
                    found=f"{error.message}: {error.found}",
                    retryable=True,
                    remedy="let the other run end, then run again: it goes on where this one stopped",
                )
                _interrupt_main()
                return
            with self._changing:
                self.channel = channel
                if self._done.is_set():
                    channel.close()
            return


def _interrupt_main() -> None:
    # In a notebook only SIGINT is heeded; a command heeds SIGTERM even where its shell has it ignore SIGINT.
    which = signal.SIGTERM if callable(signal.getsignal(signal.SIGTERM)) else signal.SIGINT
    signal.pthread_kill(threading.main_thread().ident, which)


class _Unanswered(StepFailed):
    """The master said nothing of the lock: most likely the connection was lost meanwhile."""


def _take(host: Host, doing: str) -> paramiko.Channel:
    channel, answer, where = host.start(_script()), b"", f"host {host.name}, {PATH}"
    channel.settimeout(ANSWER)
    output, silent = channel.makefile("rb"), "the connection ended before an answer"
    try:
        channel.sendall(f"{_who(doing)}\n".encode())
        answer = output.readline().strip()
        if answer == b"held":
            return channel
        said = (output.read() + channel.makefile_stderr("rb").read()).decode(errors="replace").strip()
    except OSError as error:
        answer, said, silent = b"", "", str(error) or f"no answer within {ANSWER:.0f} s"
    finally:
        if answer != b"held":
            channel.close()
    if answer == b"taken":
        raise StepFailed(
            "another run is under way on this site",
            where=where,
            found=said or "somebody who has just begun",
            retryable=True,
            remedy=f"wait for it, or stop it: the lock ends with it, or when it was not heard of for {SILENCE} s",
        )
    if not said:
        raise _Unanswered(
            UNLOCKABLE,
            where=where,
            found=silent,
            retryable=True,
            remedy="see that the host is up, then run again: it goes on where it stopped",
        )
    raise StepFailed(
        UNLOCKABLE,
        where=where,
        found=said,
        retryable=True,
        needed="flock, timeout and dd on the host, and a /run that can be written to",
        remedy="see to what the host says, then run again: it goes on where it stopped",
    )


def _script() -> str:
    return f"""umask 077; exec 9>>{PATH} || exit
flock -w 3 9 || {{ echo taken; cat {PATH}; exit; }}
read -r holder
printf '%s, since %s\\n' "$holder" "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" > {PATH}
echo held
{LISTEN % {"silence": SILENCE}}
: > {PATH}
"""


def _who(doing: str) -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}, process {os.getpid()}, {doing}"
