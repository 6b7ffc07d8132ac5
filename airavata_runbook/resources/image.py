"""An image in the private registry (POC row 12)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import NotYet

if TYPE_CHECKING:  # the registry's client takes a while to load, and only one chapter in six needs it
    from airavata_runbook.images.layout import Layout
    from airavata_runbook.images.registry import Registry

SERVICE = "docker-distribution"
TROUBLES = '[^"]{0,200}(no space left|denied|read-only|input/output|quota|too many open)[^"]{0,100}'  # in its log


@dataclass(frozen=True)
class Image(ApiResource):
    """repository, tag: its name in the registry. layout: fetches or builds it on this machine when it is to be pushed.

    registry: a client with credentials; one for all images of a step, so that layers they share are sent once. digest: of the
    manifest, for a tag that does not determine the content: then another content under the tag is replaced. It is "" where any
    content will do, and where the image is not on this machine.
    """

    repository: str
    tag: str
    layout: Callable[[], "Layout"] = field(repr=False)
    registry: Callable[[], "Registry"] = field(repr=False)
    digest: Callable[[], str] = field(default=str, repr=False)

    @property
    def label(self) -> str:
        return f"image {self.repository}"

    def ask(self, context: Context) -> str | None:
        """The digest of the manifest that the registry has under the tag, None when it has none."""
        from airavata_runbook.images.http import RegistryError

        if context.planning and f"service {SERVICE}" in context.touched:
            raise NotYet("the registry runs")
        try:
            return self.registry().manifest_digest(self.repository, self.tag)
        except RegistryError as error:
            if error.retryable and context.planning:
                raise NotYet("the registry answers") from None
            raise

    def change(self, found: Found, context: Context) -> Change | None:
        there, here = found.answered(), self.digest()
        if there and here in ("", there):
            return None
        return Change(
            "push another build" if there else "push",
            detail=f"{there} → {here}\n" if there else "",
            call=lambda: self._push(context),
            shown=f"push {self.repository}:{self.tag}",
            touches=frozenset({self.label}),
        )

    def _push(self, context: Context) -> None:
        from airavata_runbook.images.http import RegistryError

        try:
            self.registry().push(self.repository, self.tag, self.layout())
        except RegistryError as error:  # it does not tell its clients of its own trouble, as a full disk
            said = context.host.run(
                f"journalctl -u {SERVICE} -n 200 --no-pager -o cat | grep -oiE '{TROUBLES}' | tail -n 1"
            ).text.strip()
            error.found += f"\nits log: {said}" if said else ""
            error.remedy = error.remedy or f"journalctl -u {SERVICE} on {context.host.name}"
            raise
