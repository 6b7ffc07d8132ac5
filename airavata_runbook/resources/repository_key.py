"""The key that signs the site's package repository: created once, on the master."""

import base64

from airavata_runbook.engine.resource import ABSENT, Change, Context, Found, quote
from airavata_runbook.errors import StepFailed
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.resources.certificate import GUARD, guard_key
from airavata_runbook.resources.file import File
from airavata_runbook.wellknown import REPOSITORY_KEY, SECRETS


class RepositoryKey:
    """A private key, root only, among the site's generated secrets; never overwritten."""

    label = "key of the package repository"
    secret = True  # the probe's output is never shown

    def footprint(self) -> Footprint:
        return (Touch("file", REPOSITORY_KEY),)

    def probe(self) -> str:
        path = quote(REPOSITORY_KEY)
        return f"test -s {path} || exit {ABSENT}; base64 -w0 {path} && echo && {GUARD} {path}"

    def change(self, found: Found, context: Context) -> Change | None:
        if found.absent:
            return Change(
                "create",
                "OpenPGP, ed25519\n",
                call=lambda: self._make(context),
                shown=f"make {REPOSITORY_KEY}",
                touches=frozenset({REPOSITORY_KEY}),
            )
        from airavata_runbook.pki.openpgp import is_key

        key, _ = found.stdout.splitlines()
        if not is_key(base64.b64decode(key, validate=True)):
            raise StepFailed(
                "the key of the package repository is unusable, and an existing one is never replaced",
                where=f"{REPOSITORY_KEY} on {context.host.name}",
                needed="an ed25519 key, PEM",
                remedy="restore it; without a backup, remove it: a new key then signs, and every host gets its public half",
            )
        return guard_key(found, REPOSITORY_KEY)

    def _make(self, context: Context) -> None:
        from airavata_runbook.pki.openpgp import new_key

        file = File(REPOSITORY_KEY, new_key(), "0600", secret=True)
        result = context.host.run(f"set -e\ninstall -d -m 700 {SECRETS}\n{file.write_script()}")
        if result.status:
            raise StepFailed("the key could not be written", found=result.last_lines)
