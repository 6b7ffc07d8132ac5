"""The images of a site: where each comes from, and what it is called in the private registry (POC row 12)."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from airavata_runbook import stacks
from airavata_runbook.cluster.session import session_of
from airavata_runbook.images import source as images
from airavata_runbook.images.layout import Layout
from airavata_runbook.local import paths
from airavata_runbook.mirror import images as mirror
from airavata_runbook.site import Site
from airavata_runbook.site.parts import ImageSource
from airavata_runbook.site.stack_file import SYSTEM
from airavata_runbook.stacks import Stack
from airavata_runbook.wellknown import PAUSE_IMAGE


@dataclass(frozen=True)
class SiteImage:
    """repository:tag in the private registry, and the source it is brought from."""

    site: Site
    repository: str
    tag: str
    source: ImageSource

    @property
    def reference(self) -> str:
        return f"{self.site.registry_address}/{self.repository}:{self.tag}"

    def layout(self) -> Layout:
        """The image itself, fetched to this machine when it is not here. Raises BadImage, RegistryError."""
        auth = session_of(self.site).vault.secret(self.source.auth) if self.source.auth else None
        return images.resolve(self.source, folder=paths.base_dir(), auth=auth)


def site_images(site: Site) -> dict[str, SiteImage]:
    """Every image that the site runs, by name: its own where it names one, else the mirror's build."""
    names = sorted({*SYSTEM, *stacks.image_names(site)})
    own = site.airavata.images
    built = _built(tuple(name for name in names if name not in own))
    found = {}
    for name in names:
        source = own.get(name) or ImageSource(archive=str(built[name]))
        # The pods' own container is named in containerd's configuration, before any image is looked at.
        tag = PAUSE_IMAGE.partition(":")[2] if name == "pause" else images.tag(source, folder=paths.base_dir())
        found[name] = SiteImage(site, name, tag, source)
    return found


def references(site: Site) -> dict[str, str]:
    """Image name → full reference in the private registry."""
    return {name: image.reference for name, image in site_images(site).items()}


@cache
def _built(names: tuple[str, ...]) -> dict[str, Path]:
    return mirror.build(list(names))


def stack_of(site: Site) -> Stack:
    """The site's stack with its images, as they are called in the private registry."""
    return stacks.load(site, references(site))
