"""`airavata-runbook class serve`: a JupyterLab for each student, with a port, a token, a site and a folder of its own."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

from airavata_runbook.errors import SiteError
from airavata_runbook.kernel_env import SITE
from airavata_runbook.lab.classroom import Class, Member
from airavata_runbook.local.terminal import text_table

END = 15  # seconds for the servers and their kernels to end


def serve(one: Class, ip: str, port: int) -> None:
    """Serve until Ctrl-C, which ends all servers. Raises SiteError when there are no labs, or a port is taken."""
    members = one.members()
    if not members:
        raise SiteError(f"class {one.name} has no labs", remedy="airavata-runbook class up NUMBER")
    ports = {member.name: port + number for number, member in enumerate(members)}
    for name, its in ports.items():
        _require_free(ip, its, name)
    tokens = {member.name: secrets.token_urlsafe(24) for member in members}
    with ExitStack() as started:
        servers = {
            member.name: started.enter_context(_Server(member, ip, ports[member.name], tokens[member.name])) for member in members
        }
        rows = [[name, f"http://{ip}:{ports[name]}/lab?token={tokens[name]}"] for name in servers]
        print(text_table([["student", "address"], *rows]), flush=True)
        print("the tokens are passwords, and end with these servers; Ctrl-C ends them", flush=True)
        while True:
            time.sleep(1)
            for name, server in servers.items():
                if server.has_ended:
                    raise SiteError("a student's JupyterLab has ended", where=name, found=f"see {server.log}")


class _Server:
    """One JupyterLab, in the student's folder. Its token is in its environment, which only its user and root can read."""

    def __init__(self, member: Member, ip: str, port: int, token: str):
        self.log = member.folder / "jupyter.log"
        settings = {"ip": ip, "port": port, "port_retries": 0, "open_browser": False, "root_dir": member.folder}
        settings |= {"allow_root": True} if os.geteuid() == 0 else {}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyter", "lab", *(f"--ServerApp.{name}={value}" for name, value in settings.items())],
                cwd=member.folder,
                env={**os.environ, "JUPYTER_TOKEN": token, SITE: member.name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def __enter__(self) -> "_Server":
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.send_signal(signal.SIGTERM)  # its kernels end with it
        try:
            self._process.wait(END)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.log.unlink(missing_ok=True)


def _require_free(ip: str, port: int, name: str) -> None:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((ip, port))
        except (OSError, OverflowError) as error:
            raise SiteError(
                "a port for a student's JupyterLab cannot be used",
                where=f"{ip}:{port}, for {name}",
                found=getattr(error, "strerror", None) or str(error),
                remedy="choose another with --ip and --port",
            ) from None
