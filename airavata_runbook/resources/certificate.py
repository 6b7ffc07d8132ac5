"""Certificate authorities and certificates: made when missing, made again when they no longer fit."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass

from airavata_runbook.engine.resource import ABSENT, Change, Context, Found, NotYet, quote
from airavata_runbook.errors import StepFailed
from airavata_runbook.pki.types import Pair, Subject
from airavata_runbook.resources.file import File
from airavata_runbook.wellknown import PKI

LOST = "its key is not there"


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the site, NAME.crt and NAME.key under /etc/kubernetes/pki, made once."""

    name: str
    common_name: str
    secret = True  # what its probe prints is shown to nobody

    @property
    def label(self) -> str:
        return f"certificate authority {self.name}"

    def probe(self) -> str:
        return _lost_key(f"{PKI}/{self.name}", "crt") + _look(f"{PKI}/{self.name}")

    def change(self, found: Found, context: Context) -> Change | None:
        if not found.absent:
            if why := _unusable(found):
                raise StepFailed(
                    "a certificate authority cannot be used, and is never made anew over an old one",
                    where=f"{PKI}/{self.name}.crt and .key",
                    found="; ".join(why),
                    remedy="restore both files; without a copy, remove them: what it signed is then issued again",
                )
            return _guard_key(found, f"{PKI}/{self.name}.key")
        return Change(
            "create",
            f"CN={self.common_name}, 10 years\n",
            call=lambda: self._make(context),
            shown=f"make {PKI}/{self.name}.crt and .key",
            touches=_paths(f"{PKI}/{self.name}"),
        )

    def _make(self, context: Context) -> None:
        from airavata_runbook.pki import issue as pki

        _write_pair(context, f"{PKI}/{self.name}", pki.new_ca(self.common_name))


@dataclass(frozen=True)
class SigningKey:
    """The key pair that signs service-account tokens: NAME.key and NAME.pub under /etc/kubernetes/pki, made once."""

    name: str

    @property
    def label(self) -> str:
        return f"signing key {self.name}"

    def probe(self) -> str:
        stem = f"{PKI}/{self.name}"
        return f"{_lost_key(stem, 'pub')}test -s {stem}.pub && test -s {stem}.key || exit {ABSENT}; {_guard(f'{stem}.key')}"

    def change(self, found: Found, context: Context) -> Change | None:
        if not found.absent:
            if found.text.strip() == LOST:
                raise StepFailed(
                    "the key that signs tokens is lost, and is never made anew over an old one",
                    where=f"{PKI}/{self.name}.key",
                    found=LOST,
                    remedy=f"restore it; without a copy, remove {self.name}.pub: tokens are then signed anew",
                )
            return _guard_key(found, f"{PKI}/{self.name}.key")
        return Change(
            "create",
            call=lambda: self._make(context),
            shown=f"make {PKI}/{self.name}.key and .pub",
            touches=frozenset({f"{PKI}/{self.name}.key", f"{PKI}/{self.name}.pub"}),
        )

    def _make(self, context: Context) -> None:
        from airavata_runbook.pki import issue as pki

        key, stem = pki.new_signing_key(), f"{PKI}/{self.name}"
        _write(context, (f"{stem}.key", key.private, "0600"), (f"{stem}.pub", key.public, "0644"))


@dataclass(frozen=True)
class Certificate:
    """STEM.crt and STEM.key on a host, issued by an authority of the site to `subject`.

    Issued again when missing, expiring within 30 days, naming something else, or signed by another authority.
    chain: STEM.crt holds the authority's certificate too, below the server's own (POC row 10).
    """

    stem: str
    subject: Subject
    authority: str = "ca"
    owner: str = "root:root"
    chain: bool = False
    secret = True  # what its probe prints is shown to nobody

    @property
    def label(self) -> str:
        return f"certificate {self.stem}.crt"

    def probe(self) -> str:
        return _look(self.stem)

    def change(self, found: Found, context: Context) -> Change | None:
        authority = _or_none(lambda: context.session.vault.authority(self.authority))
        # That one which is not there will be issued is known in a plan all the same.
        if found.absent and context.planning:
            why = ["create"]
        elif authority is None:
            raise NotYet(f"the certificate authority {self.authority} is made")
        elif found.absent:
            why = ["create"]
        else:
            from airavata_runbook.pki import issue as pki

            cert, key = _pair(found)
            why = pki.problems(cert, key_pem=key, ca_pem=authority.cert, subject=self.subject)
        if not why:
            return _guard_key(found, f"{self.stem}.key", self.owner)
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
        if self.chain:
            pair = Pair(bundle(pair.cert, authority.cert), pair.key)
        _write_pair(context, self.stem, pair, self.owner)


def _lost_key(stem: str, end: str) -> str:
    """Shell that says so when the public half STEM.END is there without its key. A key alone is what an interrupted making
    leaves, for it is written first."""
    stem = quote(stem)
    return f"test ! -s {stem}.{end} || test -s {stem}.key || {{ echo {LOST}; exit; }}; "


def _look(stem: str) -> str:
    stem = quote(stem)
    return (
        f"test -s {stem}.crt && test -s {stem}.key || exit {ABSENT}; "
        f"base64 -w0 {stem}.crt && echo && base64 -w0 {stem}.key && echo && " + _guard(f"{stem}.key")
    )


def _pair(found: Found) -> tuple[bytes, bytes]:
    """Certificate and key as `_look` prints them. Raises ValueError."""
    cert, key, _ = found.stdout.splitlines()
    return base64.b64decode(cert, validate=True), base64.b64decode(key, validate=True)


def _unusable(found: Found) -> list[str]:
    """Why an authority cannot sign."""
    if found.text.strip() == LOST:
        return [LOST]
    from airavata_runbook.pki import issue as pki

    cert, key = _pair(found)
    return pki.problems(cert, key_pem=key, renew_within_days=0)


def _guard(path: str) -> str:
    return f"stat -c '%a %U:%G' {path}"


def _guard_key(found: Found, path: str, owner: str = "root:root") -> Change | None:
    """Takes a private key back from whoever else may read it; the last line of what was found is its mode and owner."""
    state = found.text.splitlines()[-1]
    if not re.fullmatch(r"[0-7]+ [\w.$-]+:[\w.$-]+", state):
        raise ValueError("no mode and owner")
    if state == f"600 {owner}":
        return None
    return Change(
        f"{state} → 600 {owner}", script=f"chown {owner} {quote(path)} && chmod 600 {quote(path)}\n", touches=frozenset({path})
    )


def _paths(stem: str) -> frozenset[str]:
    return frozenset({f"{stem}.crt", f"{stem}.key"})


def _or_none(make: Callable[[], Pair]) -> Pair | None:
    try:
        return make()
    except NotYet:
        return None


def _write_pair(context: Context, stem: str, pair: Pair, owner: str = "root:root") -> None:
    _write(context, (f"{stem}.key", pair.key, "0600"), (f"{stem}.crt", pair.cert, "0644"), owner=owner)


def _write(context: Context, *files: tuple[str, bytes, str], owner: str = "root:root") -> None:
    # In one go: a key whose public half is lost on the way would only be made again.
    script = "".join(File(path, content, mode, owner, secret=True).write_script() for path, content, mode in files)
    result = context.host.run("set -e\n" + script)
    if result.status:
        raise StepFailed("files could not be written", found=result.complaint)


def _describe(subject: Subject) -> str:
    lines = [f"CN={subject.common_name}" + (f", O={subject.organization}" if subject.organization else "")]
    lines += [f"DNS {name}" for name in subject.dns] + [f"IP {ip}" for ip in subject.ips]
    return "\n".join(lines) + "\n"
