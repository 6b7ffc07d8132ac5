"""What a site file points to on this machine: certificates, images and secrets. Looked at before anything is touched."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook import images, pki, vault
from airavata_runbook.errors import RunbookError, SiteError
from airavata_runbook.image_files import BadImage
from airavata_runbook.site import ImageSource, Site
from airavata_runbook.site_images import folder

ASKING = 8  # registries asked at a time


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
    yield _secret(site, "registry.password", site.registry.password)
    for name, reference in site.airavata.secrets.items():
        yield _secret(site, f"airavata.secrets.{name}", reference)
    own = site.registry.certificate
    if own:
        yield _looked_at("registry.certificate", own.certificate, "in order, within its dates, key fits",
                         lambda: own_certificate(site))
    with ThreadPoolExecutor(ASKING) as pool:
        for found in pool.map(lambda one: _image(site, *one, ask), list(site.airavata.images.items())):
            yield from found


def own_certificate(site: Site) -> tuple[bytes, bytes]:
    """The admin's own certificate with its chain, and its key, for the registry (POC row 10). Raises SiteError."""
    own = site.registry.certificate
    content = pki.bundle(read(own.certificate, "registry.certificate.certificate"),
                         read(own.chain, "registry.certificate.chain") if own.chain else b"")
    key = vault.vault_of(site).secret(own.key).encode() + b"\n"
    if problems := pki.check_chain(content, key, site.registry.name):
        raise SiteError("the registry's certificate cannot be used", where="registry.certificate",
                        found="; ".join(map(str, problems)))
    return content, key


def read(path: str, field: str) -> bytes:
    """A file that the site names; relative paths start at the project's folder. Raises SiteError."""
    try:
        return (folder() / Path(path).expanduser()).read_bytes()
    except OSError as error:
        raise SiteError("a file that the site names cannot be read", where=field, found=str(error)) from None


def _image(site: Site, name: str, source: ImageSource, ask: bool) -> list[Source]:
    field, auth = f"airavata.images.{name}", []
    if source.auth:
        auth = [_secret(site, f"{field}.auth", source.auth)]
        # A password that is typed in is asked for once, when the image is pulled; one that is missing is said already.
        ask = ask and not source.auth.startswith("prompt:") and not auth[0].problem
    return [*auth, _looked_at(field, source.archive or source.build or source.pull or "",
                              "pulled by its digest" if source.pull else "there", _usable, site, source, ask)]


def _secret(site: Site, field: str, reference: str) -> Source:
    if reference.startswith("generated:"):
        return Source(field, reference, "made on the master, once")
    if reference.startswith("prompt:"):
        return _looked_at(field, reference, "asked for when it is needed", vault.need_somebody_to_ask, reference)
    return _looked_at(field, reference, "there", vault.vault_of(site).secret, reference)


def _usable(site: Site, source: ImageSource, ask: bool) -> None:
    if source.build and not (folder() / Path(source.build).expanduser()).is_dir():
        raise BadImage("there is no such folder to build an image from")
    images.tag(source, folder=folder())
    if ask and source.pull:
        images.ask(source, vault.vault_of(site).secret(source.auth) if source.auth else None)


def _looked_at(field: str, names: str, state: str, look, *arguments) -> Source:
    try:
        look(*arguments)
    except RunbookError as error:
        return Source(field, names, "cannot be used", error.message + (f": {error.found}" if error.found else ""),
                      error.needed, error.remedy)
    return Source(field, names, state)
