"""Certificate authorities, the token signing key and certificates: created when missing; certificates are reissued."""

import base64
import re
from dataclasses import dataclass
from typing import Any

from airavata_runbook.engine.resource import ABSENT, Change, Context, Found, quote
from airavata_runbook.errors import StepFailed
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.pki.types import Subject
from airavata_runbook.resources.file import File
from airavata_runbook.wellknown import PKI

KEY_LOST = "key-lost"  # printed by a probe
LOST = "the private key is missing"
GUARD = "stat -c '%a %U:%G'"  # of a key: the last line of a probe


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the site, NAME.crt and NAME.key under /etc/kubernetes/pki, created once."""

    name: str
    common_name: str
    secret = True  # the probe's output is never shown

    @property
    def label(self) -> str:
        return f"certificate authority {self.name}"

    def footprint(self) -> Footprint:
        return _touched(f"{PKI}/{self.name}")

    def probe(self) -> str:
        return _lost_key(f"{PKI}/{self.name}", "crt") + _look(f"{PKI}/{self.name}")

    def change(self, found: Found, context: Context) -> Change | None:
        if not found.absent:
            if why := [LOST] if found.text.strip() == KEY_LOST else _problems(found, renew_within_days=0):
                raise StepFailed(
                    "a certificate authority is unusable, and an existing one is never replaced",
                    where=f"{PKI}/{self.name}.crt and .key",
                    found="; ".join(why),
                    remedy="restore both files; without a backup, remove them: a new authority then reissues all certificates",
                )
            return guard_key(found, f"{PKI}/{self.name}.key")
        return Change(
            "create",
            f"CN={self.common_name}, 10 years\n",
            call=lambda: self._make(context),
            shown=f"make {PKI}/{self.name}.crt and .key",
            touches=_paths(f"{PKI}/{self.name}"),
        )

    def _make(self, context: Context) -> None:
        from airavata_runbook.pki import issue as pki

        pair = pki.new_ca(self.common_name)
        _write(context, f"{PKI}/{self.name}", pair.key, "crt", pair.cert)


@dataclass(frozen=True)
class SigningKey:
    """The key pair that signs service-account tokens: NAME.key and NAME.pub under /etc/kubernetes/pki, created once."""

    name: str

    @property
    def label(self) -> str:
        return f"signing key {self.name}"

    def footprint(self) -> Footprint:
        return _touched(f"{PKI}/{self.name}", "pub")

    def probe(self) -> str:
        stem = f"{PKI}/{self.name}"
        return f"{_lost_key(stem, 'pub')}test -s {stem}.pub && test -s {stem}.key || exit {ABSENT}; {GUARD} {stem}.key"

    def change(self, found: Found, context: Context) -> Change | None:
        if not found.absent:
            if found.text.strip() == KEY_LOST:
                raise StepFailed(
                    "the key that signs tokens is lost, and an existing one is never replaced",
                    where=f"{PKI}/{self.name}.key",
                    found=LOST,
                    remedy=f"restore it; without a backup, remove {self.name}.pub: a new key then signs new tokens",
                )
            return guard_key(found, f"{PKI}/{self.name}.key")
        return Change(
            "create",
            call=lambda: self._make(context),
            shown=f"make {PKI}/{self.name}.key and .pub",
            touches=_paths(f"{PKI}/{self.name}", "pub"),
        )

    def _make(self, context: Context) -> None:
        from airavata_runbook.pki import issue as pki

        key = pki.new_signing_key()
        _write(context, f"{PKI}/{self.name}", key.private, "pub", key.public)


@dataclass(frozen=True)
class Certificate:
    """STEM.crt and STEM.key on a host, issued by an authority of the site to `subject`.

    Issued again when missing, expiring within 30 days, for another subject, or signed by another authority.
    chain: STEM.crt contains the authority's certificate too, after the server's own (POC row 10).
    """

    stem: str
    subject: Subject
    authority: str = "ca"
    chain: bool = False
    secret = True  # the probe's output is never shown

    @property
    def label(self) -> str:
        return f"certificate {self.stem}.crt"

    def footprint(self) -> Footprint:
        return _touched(self.stem)

    def probe(self) -> str:
        return _look(self.stem)

    def change(self, found: Found, context: Context) -> Change | None:
        why = ["create"]
        # A plan knows that a missing certificate will be issued even before its authority exists.
        if not (found.absent and context.planning):
            authority = context.session.vault.authority(self.authority)
            if not found.absent:
                why = _problems(found, ca_pem=authority.cert, subject=self.subject)
        if not why:
            return guard_key(found, f"{self.stem}.key")
        return Change(
            "; ".join(why),
            _describe(self.subject),
            call=lambda: self._issue(context),
            shown=f"issue {self.stem}.crt and .key by {self.authority}",
            touches=_paths(self.stem),
        )

    def _issue(self, context: Context) -> None:
        from airavata_runbook.pki import issue as pki
        from airavata_runbook.pki.chain import bundle

        authority = context.session.vault.authority(self.authority)
        pair = pki.issue(authority, self.subject)
        cert = bundle(pair.cert, authority.cert) if self.chain else pair.cert
        _write(context, self.stem, pair.key, "crt", cert)


def _lost_key(stem: str, end: str) -> str:
    """Shell that prints KEY_LOST when the public half STEM.END exists without its key.

    A key alone is left by an interrupted creation, because it is written first.
    """
    stem = quote(stem)
    return f"test ! -s {stem}.{end} || test -s {stem}.key || {{ echo {KEY_LOST}; exit; }}; "


def _look(stem: str) -> str:
    stem = quote(stem)
    return (
        f"test -s {stem}.crt && test -s {stem}.key || exit {ABSENT}; "
        f"base64 -w0 {stem}.crt && echo && base64 -w0 {stem}.key && echo && {GUARD} {stem}.key"
    )


def _problems(found: Found, **checks: Any) -> list[str]:
    """What pki.problems finds wrong with the certificate and key that `_look` printed. Raises ValueError."""
    from airavata_runbook.pki import issue as pki

    cert, key, _ = found.stdout.splitlines()
    return pki.problems(base64.b64decode(cert, validate=True), key_pem=base64.b64decode(key, validate=True), **checks)


def guard_key(found: Found, path: str) -> Change | None:
    """A change when others can access a private key; the last line of the probe's output is its mode and owner."""
    state = found.text.splitlines()[-1]
    if not re.fullmatch(r"[0-7]+ [\w.$-]+:[\w.$-]+", state):
        raise ValueError("no mode and owner")
    if state == "600 root:root":
        return None
    script = f"chown root:root {quote(path)} && chmod 600 {quote(path)}\n"
    return Change(f"{state} → 600 root:root", script=script, touches=frozenset({path}))


def _paths(stem: str, end: str = "crt") -> frozenset[str]:
    return frozenset({f"{stem}.{end}", f"{stem}.key"})


def _touched(stem: str, end: str = "crt") -> list[Touch]:
    return [Touch("file", path) for path in sorted(_paths(stem, end))]


def _write(context: Context, stem: str, key: bytes, end: str, public: bytes) -> None:
    # In one script, so that an interruption rarely leaves a key without its public half, STEM.END.
    files = File(f"{stem}.key", key, "0600", secret=True), File(f"{stem}.{end}", public)
    result = context.host.run("set -e\n" + "".join(file.write_script() for file in files))
    if result.status:
        raise StepFailed("files could not be written", found=result.last_lines)


def _describe(subject: Subject) -> str:
    lines = [f"CN={subject.common_name}" + (f", O={subject.organization}" if subject.organization else "")]
    lines += [f"DNS {name}" for name in subject.dns] + [f"IP {ip}" for ip in subject.ips]
    return "\n".join(lines) + "\n"
