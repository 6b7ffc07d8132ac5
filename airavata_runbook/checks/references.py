"""What a site file points to on this machine: SSH keys, certificates, images and secrets. Looked at before anything is touched.

No host is asked for any of it: what the master generates is not looked at here.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import RunbookError, SiteError
from airavata_runbook.hosts import vault
from airavata_runbook.images import source as images
from airavata_runbook.images.reference import Reference
from airavata_runbook.local import paths
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.htpasswd import htpasswd_entry
from airavata_runbook.site import Site
from airavata_runbook.site.parts import Certificate, ImageSource

ASKING = 8  # registries asked at a time
HERE = ("env", "file", "keyring")  # kinds of references to secrets that can be read now, by nobody's help


@dataclass(frozen=True)
class Source:
    """field: of the site file. names: what stands there. state: in words. problem: "" when it can be used.

    needed, remedy: of a problem, where more is known than that it must be mended.
    """

    field: str
    names: str
    state: str
    problem: str = ""
    needed: str = ""
    remedy: str = ""


def sources(site: Site, ask: bool = False) -> Iterator[Source]:
    """Everything that the site file points to, each looked at. No value of a secret is in what comes back.

    ask: also ask the registries that images are pulled from whether they have them, side by side.
    """
    yield from _ssh_files(site)
    yield _secret(
        site, "registry.password", site.registry.password, lambda value: htpasswd_entry(site.registry.user, value, rounds=4)
    )  # the cost does not matter: it is thrown away
    for name, reference in site.airavata.secrets.items():
        yield _secret(site, f"airavata.secrets.{name}", reference)
    yield from _certificate(site)
    with ThreadPoolExecutor(ASKING) as pool:
        for found in pool.map(lambda one: _image(site, *one, ask), list(site.airavata.images.items())):
            yield from found


def own_certificate(site: Site) -> tuple[bytes, bytes]:
    """The admin's own certificate with its chain, and its key, for the registry (POC row 10). Raises SiteError."""
    content = _with_chain(site.registry.certificate)
    key = session_of(site).vault.secret(site.registry.certificate.key).encode() + b"\n"
    if problems := pki.check_chain(content, key, site.registry.name):
        raise SiteError(
            "the registry's certificate cannot be used", where="registry.certificate", found="; ".join(map(str, problems))
        )
    return content, key


def _with_chain(own: Certificate) -> bytes:
    return pki.bundle(
        read(own.certificate, "registry.certificate.certificate"),
        read(own.chain, "registry.certificate.chain") if own.chain else b"",
    )


def read(path: str, field: str) -> bytes:
    """A file that the site names. Raises SiteError."""
    try:
        return paths.given(path).read_bytes()
    except OSError as error:
        raise SiteError("a file that the site names cannot be read", where=field, found=str(error)) from None


def _ssh_files(site: Site) -> Iterator[Source]:
    """Keys and known_hosts that the site names, or a node of it otherwise than the site."""
    if site.lab:
        return  # `lab up` makes its own
    for kind in ("key", "known_hosts"):
        shared = getattr(site.ssh, kind)
        named = {f"ssh.{kind}": shared} | {
            f"nodes.{node.name}.ssh.{kind}": own for node in site.nodes if (own := getattr(node.ssh, kind)) != shared
        }
        for field, path in named.items():
            if path:
                yield _looked_at(field, path, "there", read, path, field)


def _certificate(site: Site) -> Iterator[Source]:
    field, own = "registry.certificate", site.registry.certificate
    if own and _kind(own.key) in HERE:
        yield _looked_at(field, own.certificate, "in order, within its dates, key fits", own_certificate, site)
    elif own:
        yield _looked_at(field, own.certificate, "there", _with_chain, own)
        yield _given(site, f"{field}.key", own.key)


def _image(site: Site, name: str, source: ImageSource, ask: bool) -> list[Source]:
    field, auth = f"airavata.images.{name}", []
    if source.auth:
        auth = [_given(site, f"{field}.auth", source.auth)]
        # A password that is typed in is asked for once, when the image is pulled; one that is missing is said already.
        ask = ask and _kind(source.auth) in HERE and not auth[0].problem
    return [
        *auth,
        _looked_at(
            field,
            source.archive or source.build or source.pull or "",
            "pulled by its digest" if source.pull else "there",
            _usable,
            site,
            source,
            ask,
        ),
    ]


def _usable(site: Site, source: ImageSource, ask: bool) -> None:
    if source.pull:
        Reference.parse(source.pull)
        if ask:
            images.ask(source, session_of(site).vault.secret(source.auth) if source.auth else None)
    elif source.archive:
        images.resolve(source, folder=paths.base_dir())  # an archive is only opened, and compared with its digest
    else:
        images.check_build(paths.given(source.build))


def _given(site: Site, field: str, reference: str) -> Source:
    """A secret that comes from elsewhere: what the master makes up is none."""
    if _kind(reference) == "generated":
        return Source(
            field,
            reference,
            "cannot be used",
            "what the master generates is known nowhere else",
            f"{', '.join(f'{kind}:NAME' for kind in HERE)} or prompt:NAME",
            "name where your own is",
        )
    return _secret(site, field, reference)


def _secret(site: Site, field: str, reference: str, fits: Callable[[str], object] = lambda value: None) -> Source:
    """A secret. fits: raises RunbookError for a value that cannot be used; only what can be read now is looked at."""
    if _kind(reference) == "generated":
        return Source(field, reference, "made on the master, once")
    if _kind(reference) == "prompt":
        return _looked_at(field, reference, "asked for when it is needed", vault.need_somebody_to_ask, reference)
    return _looked_at(field, reference, "there", lambda: fits(session_of(site).vault.secret(reference)))


def _kind(reference: str) -> str:
    return reference.partition(":")[0]


def _looked_at(field: str, names: str, state: str, look: Callable[..., object], *arguments) -> Source:
    try:
        look(*arguments)
    except RunbookError as error:
        return Source(
            field,
            names,
            "cannot be used",
            error.message + (f": {error.found}" if error.found else ""),
            error.needed,
            error.remedy,
        )
    except OSError as error:
        return Source(field, names, "cannot be used", str(error))
    return Source(field, names, state)
