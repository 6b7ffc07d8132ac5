"""Secrets on a host: generated ones on the master, and the registry's password file."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from airavata_runbook.engine.resource import ABSENT, Change, Context, Found, quote
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.resources.file import File
from airavata_runbook.wellknown import SECRETS


@dataclass(frozen=True)
class Generated:
    """A random text in /etc/airavata-runbook/secrets/NAME, root only, never overwritten. length: in bytes, before base64 (RFC
    4648, section 5): 24 make a password of 32 characters, 32 a key of AES-256."""

    name: str
    length: int = 24

    @property
    def label(self) -> str:
        return f"secret {self.name}"

    def footprint(self) -> Footprint:
        return (Touch("file", f"{SECRETS}/{self.name}"),)

    def probe(self) -> str:
        path = quote(f"{SECRETS}/{self.name}")
        return f"test -s {path} || {{ test ! -e {path} || echo empty; exit {ABSENT}; }}; stat -c %a {path}"

    def change(self, found: Found, context: Context) -> Change | None:
        path = quote(f"{SECRETS}/{self.name}")
        if found.absent:
            # A power failure may leave an empty file.
            clear = f"rm -f {path}\n" if found.stdout else ""
            make = (
                f"umask 077; mkdir -p {SECRETS}; head -c {self.length} /dev/urandom | base64 | tr '+/' '-_' > {path}.new\n"
                f"mv -n {path}.new {path}"
            )
            return Change("create", script=clear + make)
        mode = _mode(found.text.strip())
        if mode != "600":
            return Change(f"mode {mode} → 600", script=f"chmod 600 {path}")
        return None


@dataclass(frozen=True)
class Htpasswd:
    """A password file with one user, hashed with bcrypt (POC row 9). password: returns the value (it may raise NotYet).

    rounds: bcrypt's cost, 2**rounds.
    """

    path: str
    user: str
    password: Callable[[], str] = field(repr=False)
    rounds: int = 10
    secret = True  # the probe's output is never shown

    @property
    def label(self) -> str:
        return f"password file {self.path}"

    def footprint(self) -> Footprint:
        return (Touch("file", self.path),)

    def probe(self) -> str:
        return f"test -e {quote(self.path)} || exit {ABSENT}; stat -c %a {quote(self.path)} && cat {quote(self.path)}"

    def change(self, found: Found, context: Context) -> Change | None:
        from airavata_runbook.pki.htpasswd import htpasswd_entry, htpasswd_matches

        mode, *entries = ["0"] if found.absent else found.text.splitlines() or [""]
        password = self.password()
        if _mode(mode) == "600" and len(entries) == 1 and htpasswd_matches(entries[0], self.user, password):
            return None
        # Each bcrypt hash has its own salt, so the file is only rewritten when it does not match the password.
        content = htpasswd_entry(self.user, password, self.rounds) + "\n"
        return Change(
            "create" if found.absent else "replace",
            f"user {self.user}\n",
            script=File(self.path, content, "0600", secret=True).write_script(),
            shown=f"htpasswd -Bin {self.user} > {self.path}",
            touches=frozenset({self.path}),
        )


def _mode(text: str) -> str:
    """A file's mode as stat prints it. Raises ValueError."""
    if not re.fullmatch("[0-7]+", text):
        raise ValueError("no file mode")
    return text
