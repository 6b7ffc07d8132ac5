"""A web page as a browser shows it: the headless Chromium of this machine, with an empty profile, that trusts one key only."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.errors import StepFailed

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
INSTALL = "apt-get install chromium-headless-shell"
WIDTH, HEIGHT = 1000, 750  # of the window, in pixels
LARGE = 150_000  # bytes of a screenshot; a larger one is taken again at half the size
TIMEOUT = 60  # seconds; it takes one or two
QUIET = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--virtual-time-budget=5000",  # milliseconds that the page's own timers are given
)


@dataclass(frozen=True)
class Shown:
    """A page in a browser. text: its document (HTML) after its scripts have run. png: the screenshot."""

    text: str
    png: bytes


def find_browser() -> str:
    """The path of a Chromium on this machine; "" when there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), "")


def show_page(program: str, address: str, port: int, forward: int, key: str) -> Shown:
    """The page https://address:port/, which a forward on 127.0.0.1 leads to. Nothing else can be reached.

    key: of the server's certificate, the only one that is trusted: the digest (SHA-256, base64) of its SubjectPublicKeyInfo.
    Raises StepFailed.
    """
    with tempfile.TemporaryDirectory(prefix="airavata-runbook-browser-") as folder:
        image = Path(folder, "page.png")
        arguments = [
            program,
            *QUIET,
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # Chromium's sandbox does not work for root
            f"--user-data-dir={folder}/profile",
            f"--window-size={WIDTH},{HEIGHT}",
            f"--ignore-certificate-errors-spki-list={key}",
            f"--host-resolver-rules=MAP {address}:{port} 127.0.0.1:{forward}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            f"--screenshot={image}",
            "--dump-dom",
        ]
        url = f"https://{address}:{port}/"
        text = _run([*arguments, url], folder)
        if image.is_file() and image.stat().st_size > LARGE:
            text = _run([*arguments, "--force-device-scale-factor=0.5", url], folder)
        if not image.is_file():
            raise StepFailed("the browser took no screenshot", where=url, found=text[-500:], retryable=True)
        return Shown(text, image.read_bytes())


def _run(command: list[str], folder: str) -> str:
    """What it prints. It and all its processes end within TIMEOUT. Its home is the folder: it reads no settings of a user."""
    environment = {"HOME": folder, "PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"}
    with (
        open(f"{folder}/errors", "wb+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment, start_new_session=True) as process,
    ):
        try:
            printed, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise StepFailed(f"the browser did not end within {TIMEOUT} s", command=command[0], retryable=True) from None
        finally:
            _end(process)
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise StepFailed(
                "the browser could not show the page",
                where=command[-1],
                command=command[0],
                found="\n".join([f"exit status {process.returncode}", *said[-3:]]),
                remedy=f"see the page yourself; where the browser is broken, install it anew ({INSTALL})",
                retryable=True,
            )
    return printed.decode(errors="replace")


def _end(process: subprocess.Popen) -> None:
    """Kill what is left of its process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
