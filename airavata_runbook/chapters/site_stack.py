"""The images of a site: where each comes from, its name in the private registry, and its digest (POC row 12); its manifests."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook import stacks
from airavata_runbook.chapters.site_sources import releases_of
from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.errors import NotYet, SiteError, StepFailed
from airavata_runbook.images import source as images
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.layout import Layout, open_archive
from airavata_runbook.images.manifest import DIGEST
from airavata_runbook.images.reference import Reference
from airavata_runbook.kernel_env import REPORT_FILE
from airavata_runbook.mirror import images as mirror
from airavata_runbook.mirror import jar
from airavata_runbook.mirror.choice import choose
from airavata_runbook.resources import KubeObject
from airavata_runbook.site import Site
from airavata_runbook.site.parts import ImageSource
from airavata_runbook.site.stack_file import SYSTEM
from airavata_runbook.stacks import Stack, manifests
from airavata_runbook.wellknown import IMAGES


@dataclass(frozen=True)
class SiteImage:
    """repository:tag in the private registry, and the source it comes from; without one, the mirror builds it.

    releases: the components whose official release is in what the mirror builds.
    """

    site: Site
    repository: str
    tag: str
    source: ImageSource | None
    releases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As in the record of images."""
        return f"{self.repository}:{self.tag}"

    @property
    def reference(self) -> str:
        return f"{self.site.registry_address}/{self.name}"

    @property
    def mirrored(self) -> str:
        """The mirror's image that it is, or that it is packed on; "" for neither."""
        return self.repository if not self.source else jar.BASE if self.source.jar else ""

    @property
    def kept(self) -> Reference | None:
        """Its reference where the site names one that the private registry has already: of a release that ran before."""
        return images.in_registry(self.source, self.site.registry_address)

    def layout(self) -> Layout:
        """The image, fetched to this machine or built when it is not here. Raises BadImage, RegistryError, CannotBuild."""
        if not self.source:
            return open_archive(mirror.build([self.repository], self.releases)[self.repository])
        if self.kept:
            raise BadImage(
                "the private registry has no such image",
                where=f"airavata.images.{self.repository}",
                found=self.source.place,
                needed="the digest of an image that the site has run: airavata-runbook rollback shows those that are kept",
            )
        auth = session_of(self.site).vault.secret(self.source.auth) if self.source.auth else None
        return jar.pack(self.source, auth) if self.source.jar else images.resolve(self.source, auth)

    def files(self) -> list[Path]:
        """The files and folders of the cache that `layout` uses, after it was called; none for one that the registry has."""
        if not self.source:
            return mirror.kept(self.repository, self.site.sources.releases)
        if self.kept:
            return []
        return jar.kept(self.source) if self.source.jar else images.kept(self.source)

    def pending(self) -> dict[str, int]:
        """What `layout` would build for it, each with the seconds that it takes; pulling one counts as nothing."""
        if self.source:
            return jar.pending(self.repository) if self.source.jar else {f"image {self.repository}": 0}
        return mirror.pending([self.repository], self.releases)

    def here(self) -> str:
        """The digest of the image on this machine; "" where it has yet to be built or pulled."""
        if not self.source:
            return mirror.built(self.repository, self.releases) or ""
        if self.kept:
            return self.kept.digest or ""
        layout = jar.built(self.source) if self.source.jar else images.on_this_machine(self.source)
        return layout.digest if layout else ""


def site_image(site: Site, name: str, releases: tuple[str, ...] | None = None) -> SiteImage:
    """The site's own image where it names one, else the mirror's. It is neither fetched nor built; its tag is known before.

    releases: of `releases_of`; by default those that the site file asks for, where no tag of the mirror's images matters.
    """
    releases = site.sources.releases if releases is None else releases
    source = site.airavata.sources.get(name)
    if not source:
        return SiteImage(site, name, mirror.tag(name, releases), None, releases)
    if kept := images.in_registry(source, site.registry_address):
        if kept.repository != name:
            raise SiteError(
                "an image of the private registry has another name there",
                where=site.airavata.source_field(name),
                found=source.place,
                needed=f"{site.registry_address}/{name}[:TAG]@sha256:…",
            )
        return SiteImage(site, name, kept.tag or images.tag(source), source)
    return SiteImage(site, name, jar.tag(source) if source.jar else images.tag(source), source)


def site_images(site: Site, releases: tuple[str, ...] | None = None) -> dict[str, SiteImage]:
    """Every image that the site runs, by name. releases: as of `site_image`."""
    return {name: site_image(site, name, releases) for name in sorted({*SYSTEM, *stacks.image_names(site)})}


def recorded(session: Session) -> dict[str, str]:
    """`SiteImage.name` → digest of the images in the registry, from the master: what the site runs is known on any machine.

    A digest stands for its tag until that changes, also where this machine has another build of the same recipe. Raises
    StepFailed for a damaged record.
    """
    try:
        text = session.vault.read(IMAGES, "an image is pushed")
    except NotYet:
        return {}
    try:
        return {str(name): DIGEST.fullmatch(digest)[0] for name, digest in json.loads(text).items()}  # type: ignore[index]
    except (ValueError, TypeError, AttributeError):
        raise StepFailed(
            "the record of the site's images is damaged",
            where=f"{IMAGES} on {session.master.name}",
            remedy="remove it: 04-registry writes it anew, by what is in the registry",
        ) from None


def reference(session: Session, image: SiteImage) -> str:
    """Its full reference with the digest. Raises NotYet while that is neither recorded nor known on this machine."""
    digest = recorded(session).get(image.name) or image.here()
    if not digest:
        raise NotYet(f"the image {image.repository} is {'pulled' if image.source and image.source.pull else 'built'}")
    return f"{image.reference}@{digest}"


def references(session: Session) -> dict[str, str]:
    """Image name → full reference in the private registry, without a digest where `reference` raises NotYet."""
    found = {}
    for name, image in site_images(session.site, releases_of(session)).items():
        try:
            found[name] = reference(session, image)
        except NotYet:
            found[name] = image.reference
    return found


def stack_of(site: Site, references: Mapping[str, str] | None = None) -> Stack:
    """The site's stack. references: of its images; without them, its manifests name images by tags and are not to be applied."""
    if references is None:
        references = {name: image.reference for name, image in site_images(site).items()}
    return session_of(site).stack(references)


def record_manifests(stack: Stack, component: stacks.Component, files: Mapping[str, Sequence[KubeObject]]) -> None:
    """Write a component's manifests into manifests/ of the run's folder; outside of a run, nowhere."""
    if report := os.environ.get(REPORT_FILE):
        unstamped = any(one.pending for objects in files.values() for one in objects)
        made = {name: [one.manifest for one in objects] for name, objects in files.items()}
        manifests.write(Path(report).parent / "manifests", stack, component, made, unstamped)


def write_manifests(site: Site, folder: Path) -> list[Stack]:
    """Write the manifests of the site's stacks, as this machine alone knows them, and remove those of other components.

    No host is asked: where this machine has not built or pulled an image, its tag stands for its digest. Raises StackError,
    BadImage for an archive that cannot be read, and SiteError where nothing can be written.
    """
    images = site_images(site, choose(site, probe=False).releases)
    digests = {name: image.here() for name, image in images.items()}
    known = {name: image.reference + f"@{digests[name]}" * bool(digests[name]) for name, image in images.items()}
    written = [stacks.load(site, known, name) for name in ("system", None)]
    for stack in written:
        for component in stack.components:
            made = {file.name: file.objects for file in component.files}
            manifests.write(folder, stack, component, made, unstamped=True)
    manifests.remove_others(folder, [component.name for stack in written for component in stack.components])
    return written
