"""A kubeconfig for kubectl on this machine: direct to the API server, or through an SSH forward that stays open.

The forward is a process of its own, one for each site. It inherits a lock on its record file and has it while it runs, so that
neither the record of a crashed one nor a reused process id is taken for a running forward.
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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from airavata_runbook.cluster.kubeconfig import site_folder, write_kubeconfig
from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import NotYet, RunbookError, StepFailed
from airavata_runbook.site import Site
from airavata_runbook.wellknown import API_PORT

ANSWER_TIMEOUT = 3.0  # seconds for a TCP connection and TLS handshake with the API server
START_TIMEOUT = 20.0  # seconds for a new forward process to record its port


def kubeconfig(site: Site) -> Path:
    """The path of a kubeconfig of the site's admin that works from this machine (mode 600, in the state folder).

    Raises HostUnreachable, and StepFailed when there is no cluster yet or its API server does not answer.
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
                remedy=f"check `systemctl status kube-apiserver` there, or run `airavata-runbook run {site.name}`",
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
    """End the site's forward process. Returns whether there was one."""
    with _record(site).open("a+") as file:
        if _lock(file):
            return False
        os.kill(_read_record(file, site)["pid"], signal.SIGTERM)
        _wait(lambda: _lock(file), "the SSH forward does not end", site)
        return True


def _forward(site: Site) -> int:
    """The local port of the site's forward, which is started unless it runs already."""
    with _record(site).open("a+") as file:
        record = _start(site, file) if _lock(file) else _read_record(file, site)
    if record["route"] != _route(site):
        raise StepFailed(
            "an SSH forward of another site with the same name is open",
            where=f"site {site.name}",
            found=record["route"],
            needed=_route(site),
            remedy=f"airavata-runbook kubeconfig {site.name} --stop",
        )
    return record["port"]


def _start(site: Site, file: IO) -> dict:
    """Start the forward process; returns its record. file: the record file, which is locked."""
    file.truncate(0)
    log = _record(site).with_suffix(".log")
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "airavata_runbook.cluster.access", str(file.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=[file.fileno()],
            start_new_session=True,
        )
    assert process.stdin is not None  # it is a pipe
    process.stdin.write(site.model_dump_json(exclude_unset=True).encode())
    process.stdin.close()
    try:
        return _read_record(file, site, process)
    except StepFailed as error:
        process.kill()
        error.found = "\n".join(log.read_text().strip().splitlines()[-6:])
        raise


def _serve(file: IO) -> None:
    """The forward process: opens the forward, records its port, and runs until it gets a signal."""
    site = Site.load(json.load(sys.stdin))
    port = session_of(site).master.forward(API_PORT)  # reconnects when the SSH connection is lost
    file.write(json.dumps({"pid": os.getpid(), "port": port, "route": _route(site)}) + "\n")
    file.flush()
    signal.pause()


def _answers(address: str, port: int, authority: bytes) -> bool:
    """Whether a TLS server listens there, with a certificate for that address from the site's authority."""
    context = ssl.create_default_context(cadata=authority.decode())
    try:
        with (
            socket.create_connection((address, port), timeout=ANSWER_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=address),
        ):
            return True
    except OSError:
        return False  # closed, filtered, or another server


def _record(site: Site) -> Path:
    return site_folder(site.name) / "forward.json"


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


def _read_record(file: IO, site: Site, started: subprocess.Popen | None = None) -> dict:
    """The record of the process that holds the lock; waits for it if that process has just started.

    started: that process, if this one has started it. Raises StepFailed when it ends instead.
    """
    message = "the SSH forward did not start" if started else "an SSH forward is starting but does not record its port"
    content = b""

    def written() -> bool:
        nonlocal content
        if started and started.poll() is not None:
            raise StepFailed("the SSH forward did not start", where=f"site {site.name}")
        content = os.pread(file.fileno(), 1 << 16, 0)
        return content.endswith(b"\n")

    _wait(written, message, site)
    return json.loads(content)


def _wait(done: Callable[[], object], message: str, site: Site) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not done():
        if time.monotonic() > deadline:
            raise StepFailed(message, where=f"site {site.name}", retryable=True)
        time.sleep(0.05)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        try:
            with open(int(sys.argv[1]), "a") as inherited:
                _serve(inherited)
        except RunbookError as problem:
            sys.exit(str(problem))
