"""Where the programs of each component come from."""

from typing import Annotated, Literal

from airavata_runbook.site.fields import Model
from airavata_runbook.site.marks import Free

SOURCE = Free("the next run installs that package where it is another one, and the services that use it restart")
DNS = Free("the next run brings the image to the registry, and replaces the pods of DNS")
Source = Literal["build", "release", "repository"]
Hosted = Literal["build", "release", "repository", "host"]


class Sources(Model):
    """Where each component comes from.

    build: compiled on this machine from its Go modules. release: the official files of its project, whose sha256 are in the lock
    file of the runbook (`airavata-runbook lock`). repository: the site's own, whose packages have all of them but
    coredns, which is an image. host: what the hosts have already, of their distribution or their admin; it is neither installed
    nor removed here, and the check `components` says which versions will do.
    The default is repository where repository.baseurl is not file://, else release where its sha256 is known, else build. In a
    lab release is the default only where the release hosts answer and the cache has no build. The choice is made with the site
    and stays: it is in the record on the master.
    """

    kubernetes: Annotated[Source | None, SOURCE] = None
    etcd: Annotated[Hosted | None, SOURCE] = None
    flannel: Annotated[Source | None, SOURCE] = None
    containerd: Annotated[Hosted | None, SOURCE] = None
    runc: Annotated[Hosted | None, SOURCE] = None
    cni: Annotated[Hosted | None, SOURCE] = None
    registry: Annotated[Source | None, SOURCE] = None
    cri_tools: Annotated[Source | None, SOURCE] = None
    coredns: Annotated[Literal["build", "release"] | None, DNS] = None

    def of(self, component: str) -> str | None:
        """The source of a component, by the mirror's name; None where the file leaves it open."""
        return getattr(self, component.replace("-", "_"))

    @property
    def hosted(self) -> tuple[str, ...]:
        """The components that the hosts have already."""
        return tuple(sorted(name for name, source in self if source == "host"))

    @property
    def releases(self) -> tuple[str, ...]:
        """The components whose official release the file asks for, sorted, by the names that the mirror has for them."""
        return tuple(sorted(name.replace("_", "-") for name, source in self if source == "release"))
