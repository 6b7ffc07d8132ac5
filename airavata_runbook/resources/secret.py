"""A secret that the master makes for itself, once; its value does not leave the master to be made."""

from dataclasses import dataclass

from airavata_runbook.resources.base import Change, Context, Found, quote
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
