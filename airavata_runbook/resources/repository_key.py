"""The key that signs the site's package repository, of debs or of rpm packages: created once, on the master."""

import base64
from dataclasses import dataclass

from airavata_runbook.distributions.deb_format import DEB_FORMAT
from airavata_runbook.distributions.package_format import PackageFormat
from airavata_runbook.engine.resource import ABSENT, Change, Context, Found, quote
from airavata_runbook.errors import StepFailed
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.resources.certificate import GUARD, guard_key
from airavata_runbook.resources.file import File
from airavata_runbook.wellknown import SECRETS


@dataclass(frozen=True)
class RepositoryKey:
    """A private key, root only, among the site's generated secrets; never overwritten."""

    format: PackageFormat = DEB_FORMAT
    secret = True  # the probe's output is never shown

    @property
    def label(self) -> str:
        return f"key of the {self.format.label} repository"

    def footprint(self) -> Footprint:
        return (Touch("file", self.format.key),)

    def probe(self) -> str:
        path = quote(self.format.key)
        return f"test -s {path} || exit {ABSENT}; base64 -w0 {path} && echo && {GUARD} {path}"

    def change(self, found: Found, context: Context) -> Change | None:
        if found.absent:
            return Change(
                "create",
                f"OpenPGP, {self.format.algorithm}\n",
                call=lambda: self._make(context),
                shown=f"make {self.format.key}",
                touches=frozenset({self.format.key}),
            )
        from airavata_runbook.pki.openpgp import is_key

        key, _ = found.stdout.splitlines()
        if not is_key(base64.b64decode(key, validate=True), self.format.algorithm):
            raise StepFailed(
                "the key of the package repository is unusable, and an existing one is never replaced",
                where=f"{self.format.key} on {context.host.name}",
                needed=f"a private key of the algorithm {self.format.algorithm}, PEM",
                remedy="restore it; without a backup, remove it: a new key then signs, and every host gets its public half",
            )
        return guard_key(found, self.format.key)

    def _make(self, context: Context) -> None:
        from airavata_runbook.pki.openpgp import new_key

        file = File(self.format.key, new_key(self.format.algorithm), "0600", secret=True)
        result = context.host.run(f"set -e\ninstall -d -m 700 {SECRETS}\n{file.write_script()}")
        if result.status:
            raise StepFailed("the key could not be written", found=result.last_lines)
