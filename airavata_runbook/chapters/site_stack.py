"""The images of a site: where each comes from, and its name in the private registry (POC row 12)."""

from dataclasses import dataclass

from airavata_runbook import stacks
from airavata_runbook.cluster.session import session_of
from airavata_runbook.images import source as images
from airavata_runbook.images.layout import Layout, open_archive
from airavata_runbook.mirror import images as mirror
from airavata_runbook.site import Site
from airavata_runbook.site.parts import ImageSource
from airavata_runbook.site.stack_file import SYSTEM
from airavata_runbook.stacks import Stack
from airavata_runbook.wellknown import PAUSE_IMAGE


@dataclass(frozen=True)
class SiteImage:
    """repository:tag in the private registry, and the source it comes from; without one, the mirror builds it."""

    site: Site
    repository: str
    tag: str
    source: ImageSource | None

    @property
    def reference(self) -> str:
        return f"{self.site.registry_address}/{self.repository}:{self.tag}"

    def layout(self) -> Layout:
        """The image, fetched to this machine or built when it is not here. Raises BadImage, RegistryError, CannotBuild."""
        if not self.source:
            return open_archive(mirror.build([self.repository])[self.repository])
        auth = session_of(self.site).vault.secret(self.source.auth) if self.source.auth else None
        return images.resolve(self.source, auth)

    def digest(self) -> str:
        """Of the mirror's build in the cache; "" for any other image: its tag determines its content already."""
        return "" if self.source else mirror.built(self.repository) or ""


def site_images(site: Site) -> dict[str, SiteImage]:
    """Every image that the site runs, by name: its own where it names one, else the mirror's. None is fetched or built."""
    found = {}
    for name in sorted({*SYSTEM, *stacks.image_names(site)}):
        source = site.airavata.images.get(name)
        if name == "pause":  # containerd's configuration names it, before there is any image
            tag = PAUSE_IMAGE.partition(":")[2]
        elif source:
            tag = images.tag(source)
        else:
            tag = mirror.tag(name)
        found[name] = SiteImage(site, name, tag, source)
    return found


def references(site: Site) -> dict[str, str]:
    """Image name → full reference in the private registry."""
    return {name: image.reference for name, image in site_images(site).items()}


def stack_of(site: Site) -> Stack:
    """The site's stack, with the references of its images in the private registry."""
    return stacks.load(site, references(site))
