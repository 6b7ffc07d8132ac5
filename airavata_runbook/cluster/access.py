"""A kubeconfig for kubectl on this machine: straight to the API server, or through an SSH forward that stays open.

The forward is a process of our own, one for each site. It holds a lock on its record for as long as it lives, so that
a record left by a crash, or a process id that was given away again, is never taken for it.
"""

import fcntl
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from airavata_runbook.cluster.kubeconfig import write_kubeconfig
from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import NotYet, RunbookError, StepFailed
from airavata_runbook.local import paths
from airavata_runbook.site import Site
from airavata_runbook.wellknown import API_PORT

ANSWER_TIMEOUT = 3.0  # seconds for a TCP connection and TLS handshake with the API server
START_TIMEOUT = 20.0  # seconds for a new forward process to say where it listens


def kubeconfig(site: Site) -> Path:
    """The path of a kubeconfig of the site's admin that works from this machine now (mode 600, in the state folder).

    Raises StepFailed when there is no cluster yet or its API server does not answer; HostUnreachable.
    """
    try:
        session = session_of(site)
        authority = session.vault.authority().cert
        address = str(site.master.address)
        if _answers(address, API_PORT, authority):
            return write_kubeconfig(session, f"https://{address}:{API_PORT}")
        port = _forward(site)
        if not _answers("127.0.0.1", port, authority):
            stop(site)
            raise StepFailed(
                "the API server does not answer",
                where=f"host {site.master.name}, port {API_PORT}",
                needed="an API server with a certificate of this site",
                remedy=f"see `systemctl status kube-apiserver` there, or run `airavata-runbook run {site.name}`",
            )
        return write_kubeconfig(session, f"https://127.0.0.1:{port}")
    except NotYet as missing:
        raise StepFailed(
            "the site has no cluster yet",
            where=f"site {site.name}",
            needed=str(missing),
            remedy=f"airavata-runbook run {site.name}",
        ) from None


def stop(site: Site) -> bool:
    """End the site's forward process; whether there was one."""
    with _record(site).open("a+") as file:
        if _lock(file):
            return False
        os.kill(_known(file, site)["pid"], signal.SIGTERM)
        _wait(lambda: _lock(file), "the forward does not end", site)
        return True


def _forward(site: Site) -> int:
    """The local port of the site's forward; its process is started unless it runs already."""
    with _record(site).open("a+") as file:
        if not _lock(file):
            known = _known(file, site)
            if known["route"] != _route(site):
                raise StepFailed(
                    "a forward of another site of this name is open",
                    where=f"site {site.name}",
                    found=known["route"],
                    needed=_route(site),
                    remedy=f"airavata-runbook kubeconfig {site.name} --stop",
                )
            return known["port"]
        file.truncate(0)
    return _start(site)


def _start(site: Site) -> int:
    record = _record(site)
    log = record.with_suffix(".log")
    with log.open("w") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", "airavata_runbook.cluster.access", str(record)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            start_new_session=True,
        )
    assert process.stdin is not None  # it is a pipe
    process.stdin.write(site.model_dump_json(exclude_unset=True).encode())
    process.stdin.close()
    # A second caller may have been quicker: then ours ends well and the other's record is as good.
    try:
        _wait(lambda: process.poll() or record.read_text().endswith("\n"), "the forward did not start", site)
        if process.returncode:
            raise StepFailed("the forward did not start", where=f"site {site.name}")
    except StepFailed as error:
        process.kill()
        error.found = "\n".join(log.read_text().strip().splitlines()[-4:])
        raise
    return json.loads(record.read_text())["port"]


def _serve(record: Path) -> None:
    """The forward process: opens the way, says where, and stays until it is told to end."""
    site = Site.load(json.load(sys.stdin))
    with record.open("a+") as file:
        if not _lock(file):
            return  # another one runs
        port = session_of(site).master.forward(API_PORT)  # the SSH connection behind it is opened anew whenever it was lost
        file.write(json.dumps({"pid": os.getpid(), "port": port, "route": _route(site)}) + "\n")
        file.flush()
        signal.pause()


def _answers(address: str, port: int, authority: bytes) -> bool:
    """Whether a TLS server with a certificate of the site's own authority, for that address, listens there."""
    context = ssl.create_default_context(cadata=authority.decode())
    try:
        with (
            socket.create_connection((address, port), timeout=ANSWER_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=address),
        ):
            return True
    except OSError:
        return False  # closed, filtered, or somebody else's server


def _record(site: Site) -> Path:
    folder = paths.state_dir() / "sites" / site.name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / "forward.json"


def _route(site: Site) -> str:
    node = site.master
    through = f" through {node.ssh.jump}" if node.ssh.jump else ""
    return f"{node.ssh.user}@{node.ssh.host or node.address}:{node.ssh.port}{through}"


def _lock(file: IO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _known(file: IO, site: Site) -> dict:
    """The record of the process that holds the lock; one that has just started is given time to write it."""
    text = ""

    def written() -> bool:
        nonlocal text
        file.seek(0)
        text = file.read()
        return text.endswith("\n")

    _wait(written, "a forward is starting and does not say where it listens", site)
    return json.loads(text)


def _wait(done, message: str, site: Site) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not done():
        if time.monotonic() > deadline:
            raise StepFailed(message, where=f"site {site.name}", retryable=True)
        time.sleep(0.05)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        try:
            _serve(Path(sys.argv[1]))
        except RunbookError as problem:
            sys.exit(str(problem))
