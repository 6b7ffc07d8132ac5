"""The vault of a site on its master: certificate authorities, keys and generated secrets.

Hosts are the only state: these are created once, on the master, readable by root only; this machine reads them over SSH when
a step needs them, and keeps them in memory until the step ends.
"""

import base64
import getpass
import json
import os
import shlex
import stat
import sys
import threading
from collections.abc import Iterable
from urllib.parse import quote

from airavata_runbook.errors import NotYet, RunbookError, SiteError, StepFailed
from airavata_runbook.hosts.host import Host
from airavata_runbook.local.paths import resolve_path
from airavata_runbook.local.screen import screen
from airavata_runbook.local.terminal import in_live_notebook
from airavata_runbook.pki.types import Pair
from airavata_runbook.wellknown import PKI, SECRETS

VALUE = "correct the value that the reference names"  # the remedy for a secret that is not generated
MASK_LENGTH = 6  # characters; a shorter value is not masked, because it is part of many words
LARGEST = 1_000_000  # bytes of a secret's file; an object of Kubernetes holds 1 MiB in all (Secret documentation)


class Vault:
    """The keys and secrets of one site, each read at most once in a step. Its repr shows none."""

    def __init__(self, master: Host):
        self.master = master
        self._read: dict[str, bytes] = {}
        self._prompted: dict[str, str] = {}  # reference → the user's input, once in this process
        self._prompting, self._reading = threading.Lock(), threading.Lock()
        self._values: set[str] = set()  # every secret and every line of a key that was read, for mask()

    def __repr__(self) -> str:
        return f"Vault on host {self.master.name}"

    def forget(self) -> None:
        """Called when a step begins: a reset and a run from another machine may have replaced what earlier steps read."""
        self._read = {}

    def authority(self, name: str = "ca") -> Pair:
        """Certificate and key of a certificate authority of the site. Raises NotYet before it is created."""
        return self.pair(f"{PKI}/{name}", f"the certificate authority {name} is made")

    def admin(self) -> Pair:
        """The client certificate of the cluster's admin. Raises NotYet before it is issued."""
        return self.pair(f"{PKI}/admin", "the admin's certificate is issued")

    def repository_key(self, path: str) -> bytes:
        """The OpenPGP key on the master that signs package repositories. Raises NotYet before it is created."""
        return self.read(path, "the key of the package repository is made")

    def pair(self, stem: str, made: str = "") -> Pair:
        """The certificate and key STEM.crt and STEM.key on the master. Raises NotYet before they exist."""
        made = made or f"{stem}.crt is issued"
        self.fetch([stem])
        return Pair(self.read(f"{stem}.crt", made), self.read(f"{stem}.key", made))

    def read(self, path: str, made: str) -> bytes:
        """The content of a file on the master. made: the clause of NotYet, which is raised before the file exists."""
        with self._reading:  # one thread reads, the others wait for it; another step may begin meanwhile, and forget
            content = self._read.get(path)
            if content is None:
                result = self.master.run(f"cat {shlex.quote(path)}")
                if result.status or not result.stdout:
                    raise NotYet(made)
                content = result.stdout
                self._keep(path, content)
            return content

    def _keep(self, path: str, content: bytes) -> None:
        self._read[path] = content
        if path.endswith(".key"):
            self._values.update(line.strip() for line in content.decode(errors="replace").splitlines() if "-----" not in line)

    def fetch(self, stems: Iterable[str], references: Iterable[str] = ()) -> None:
        """Read pairs (as `pair` names them) and generated secrets in one round trip; those that do not exist yet are skipped.

        So is half a pair: the step that completes it may make both files anew.
        """
        together = [[f"{stem}.crt", f"{stem}.key"] for stem in stems]
        together += [[f"{SECRETS}/{one.partition(':')[2]}"] for one in references if one.startswith("generated:")]
        with self._reading:
            wanted = [paths for paths in together if not set(paths) <= self._read.keys()]
            names = {path: str(number) for number, path in enumerate(path for paths in wanted for path in paths)}
            scripts = {name: f"cat {shlex.quote(path)}" for path, name in names.items()}
            answers = self.master.run_batch(scripts) if scripts else {}
            for paths in wanted:
                found = {path: answers[names[path]] for path in paths}
                if all(answer.stdout and not answer.status for answer in found.values()):
                    for path, answer in found.items():
                        self._keep(path, answer.stdout)

    def secret(self, reference: str) -> str:
        """The value behind a secret reference of the site file. Raises NotYet, SiteError, StepFailed.

        It is UTF-8 text, wherever it comes from. A byte order mark at its beginning and line ends at its end, which editors and
        shells add, do not belong to it. SiteError: among others, when it is empty or blank.
        """
        value = self._value(reference)
        self._values.add(value)
        return value

    def content(self, reference: str) -> bytes:
        """The content of the file behind a file: reference, as it is. Raises SiteError, among others when it is empty."""
        content = _from_file(reference.partition(":")[2])
        if not content:
            raise SiteError("a secret is empty", where=reference, needed="a file with content", remedy=VALUE)
        return content

    def mask(self, text: str) -> str:
        """`text` without the secrets that this process has read so far, plain, in base64, JSON-escaped or URL-encoded."""
        for value in sorted((value for value in self._values if len(value) >= MASK_LENGTH), key=len, reverse=True):
            for form in (value, base64.b64encode(value.encode()).decode(), json.dumps(value)[1:-1], quote(value, safe="")):
                text = text.replace(form, "(a secret)")
        return text

    def _value(self, reference: str) -> str:
        kind, _, name = reference.partition(":")
        if kind == "generated":
            path = f"{SECRETS}/{name}"
            content = self.read(path, f"the secret {name} is generated")
            return _text(content, f"{path} on the master", "restore it, or remove it to have it generated again", StepFailed)
        if kind == "prompt":
            with self._prompting:  # one prompt for all hosts that need it at the same time
                if reference not in self._prompted:
                    self._prompted[reference] = _text(_from_prompt(name), reference, "enter it again")
            return self._prompted[reference]
        return external_secret(reference)


def external_secret(reference: str) -> str:
    """The value behind an env:, file:, prompt: or keyring: reference, without a site's vault. Raises SiteError, StepFailed."""
    kind, _, name = reference.partition(":")
    readers = {"env": _from_environment, "file": _from_file, "prompt": _from_prompt, "keyring": _from_keyring}
    return _text(readers[kind](name), reference)


def _text(content: bytes, where: str, remedy: str = VALUE, error: type[RunbookError] = SiteError) -> str:
    """The secret in `content`, by the rule of `Vault.secret`. Raises `error`."""
    try:
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # as in UTF-16
        raise error("a secret is not UTF-8 text", where=where, remedy=remedy)
    if not text.strip():
        raise error("a secret is empty", where=where, needed="more than blanks and line ends", remedy=remedy)
    return text


def _from_environment(name: str) -> bytes:
    if name not in os.environ:
        raise SiteError(
            "a secret's environment variable is not set",
            where=f"env:{name}",
            remedy=f"export {name} before starting the notebook or command",
        )
    return os.fsencode(os.environ[name])


def _from_file(name: str) -> bytes:
    path = resolve_path(name)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # a pipe that nobody writes to would be waited for without end
            raise OSError("not a regular file")
        if path.stat().st_size > LARGEST:
            raise OSError(f"larger than {LARGEST} bytes, which a Secret cannot hold")
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: an invalid file name
        raise SiteError("a secret's file is unreadable", where=f"file:{name}", found=str(error)) from None
    if mode & 0o077:
        raise SiteError(
            "a secret's file is accessible to other users", where=f"file:{name}", needed="mode 600", remedy=f"chmod 600 {path}"
        )
    return content


def require_prompt(reference: str) -> None:
    """Raises SiteError when a `prompt:` secret could not be prompted for: no terminal, and no cell of a live notebook."""
    if screen() or (not (sys.stdin and sys.stdin.isatty()) and not in_live_notebook()):
        raise SiteError(
            "a secret cannot be prompted for: there is no terminal and no live notebook",
            where=reference,
            remedy="run the notebook's cells by hand, or use generated:, env: or file:",
        )


def _from_prompt(name: str) -> bytes:
    require_prompt(f"prompt:{name}")
    return getpass.getpass(f"{name}: ").encode(errors="surrogateescape")


def _from_keyring(name: str) -> bytes:
    try:
        import keyring
    except ImportError:
        raise SiteError("the keyring package is not installed", where=f"keyring:{name}", remedy="pip install keyring") from None
    try:
        value = keyring.get_password("airavata-runbook", name)
    except keyring.errors.KeyringError as error:
        raise StepFailed(
            "the keyring is not available",
            where=f"keyring:{name}",
            found=f"{error or type(error).__name__}",
            remedy="unlock it, or use env: or file:",
        ) from None
    if value is None:
        raise StepFailed(
            "the keyring has no entry for the secret", where=f"keyring:{name}", remedy=f"keyring set airavata-runbook {name}"
        )
    return value.encode(errors="surrogateescape")
