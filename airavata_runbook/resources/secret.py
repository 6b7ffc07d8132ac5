"""Secrets on a host: those that the master makes for itself, once, and the registry's password file."""

from collections.abc import Callable
from dataclasses import dataclass, field

from airavata_runbook import pki
from airavata_runbook.resources.base import Change, Context, Found, quote
from airavata_runbook.resources.file import File
from airavata_runbook.vault import SECRETS


@dataclass(frozen=True)
class Generated:
    """A random password of 32 characters in /etc/airavata-runbook/secrets/NAME, root only, never overwritten."""

    name: str

    @property
    def label(self) -> str:
        return f"secret {self.name}"

    def probe(self) -> str:
        path = quote(f"{SECRETS}/{self.name}")
        return f"test -s {path} && stat -c %a {path}"

    def change(self, found: Found, context: Context) -> Change | None:
        path = quote(f"{SECRETS}/{self.name}")
        if found.status:
            make = (f"umask 077; mkdir -p {SECRETS}; head -c 24 /dev/urandom | base64 | tr '+/' '-_' > {path}.new\n"
                    f"mv -n {path}.new {path}")
            return Change("create", script=make)
        if found.text.strip() != "600":
            return Change(f"mode {found.text.strip()} → 600", script=f"chmod 600 {path}")
        return None


@dataclass(frozen=True)
class Htpasswd:
    """A password file with one user, hashed with bcrypt (POC row 9). password: gives the value (it may raise NotYet)."""

    path: str
    user: str
    password: Callable[[], str] = field(repr=False)

    @property
    def label(self) -> str:
        return f"password file {self.path}"

    def probe(self) -> str:
        return f"test -e {quote(self.path)} && stat -c %a {quote(self.path)} && cat {quote(self.path)}"

    def change(self, found: Found, context: Context) -> Change | None:
        mode, *entries = found.text.splitlines() or [""]
        password = self.password()
        if not found.status and mode == "600" and len(entries) == 1 and pki.htpasswd_matches(entries[0], self.user, password):
            return None
        # A hash is salted: the file is written anew only when it does not fit the password any more.
        content = pki.htpasswd_entry(self.user, password) + "\n"
        change = File(self.path, content, "0600", secret=True).change(Found(status=1), context)
        return Change("create" if found.status else "replace", f"user {self.user}\n", script=change.script,
                      shown=f"htpasswd -Bin {self.user} > {self.path}", touches=change.touches)
