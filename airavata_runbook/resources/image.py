"""An image in the private registry (POC row 12)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from airavata_runbook.engine.planned import planned_changes
from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import NotYet
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.local.terminal import Transfer
from airavata_runbook.wellknown import PULL_SERVICE

if TYPE_CHECKING:  # the registry's client takes a while to load, and only one chapter in six needs it
    from airavata_runbook.images.layout import Layout
    from airavata_runbook.images.registry import Registry

SERVICE = "docker-distribution"
TROUBLES = '[^"]{0,200}(no space left|denied|read-only|input/output|quota|too many open)[^"]{0,100}'  # in its log


class Stored(NamedTuple):
    """What the registry has. tagged: the digest under the tag, "" for none. wanted: the digest that should be there, "" while
    it is not known. there: whether the registry has that, under whatever tag."""

    tagged: str
    wanted: str
    there: bool


@dataclass(frozen=True)
class Image(ApiResource):
    """repository, tag: its name in the registry. layout: fetches or builds it on this machine when it is to be pushed.

    pulls: a client of the server that hosts pull from, by which the image is looked up. registry: one that may push; one for
    all images of a step, so that layers they share are sent once. recorded: the digest that the site has for it, "" for none.
    here: the digest of the image on this machine, "" when it is not here. digests: where its digest is put, by repository,
    once it is known.

    The recorded digest counts for as long as the registry has it. One that was never recorded is this machine's, else what is
    under the tag.
    """

    repository: str
    tag: str
    layout: Callable[[], "Layout"] = field(repr=False)
    pulls: Callable[[], "Registry"] = field(repr=False)
    registry: Callable[[], "Registry"] = field(repr=False)
    recorded: str = ""
    here: Callable[[], str] = field(default=str, repr=False)
    digests: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def label(self) -> str:
        return f"image {self.repository}"

    def footprint(self) -> Footprint:
        return (Touch("image", self.repository),)

    def ask(self, context: Context) -> Stored:
        from airavata_runbook.images.http import RegistryError

        planned = planned_changes(context.session, context.session.registry_host.name) if context.planning else ()
        if any(f"service {name}" in planned for name in (SERVICE, PULL_SERVICE)):
            raise NotYet("the registry runs")
        try:
            return self._stored()
        except RegistryError as error:
            if error.retryable and context.planning:
                raise NotYet("the registry answers") from None
            raise

    def _stored(self) -> Stored:
        tagged = self._digest(self.tag)
        if self.recorded and (tagged == self.recorded or self._digest(self.recorded)):
            return Stored(tagged, self.recorded, True)
        wanted = self.here() or ("" if self.recorded else tagged)
        return Stored(tagged, wanted, bool(wanted) and (tagged == wanted or bool(self._digest(wanted))))

    def _digest(self, reference: str) -> str:
        return self.pulls().manifest_digest(self.repository, reference) or ""

    def change(self, found: Found, context: Context) -> Change | None:
        tagged, wanted, there = found.answered()
        if wanted:
            self.digests[self.repository] = wanted
        if wanted and wanted == tagged:
            return None
        name = f"{self.repository}:{self.tag}"
        return Change(
            ("tag again" if there else "push again") if tagged else "tag" if there else "push",
            detail=f"{tagged or 'none'} → {wanted}\n" if wanted else "",
            call=lambda: self._call(context, lambda: self._tag(wanted) if there else self._push(context)),
            shown=f"tag {self.repository}@{wanted} as {self.tag}" if there else f"push {name}",
            touches=frozenset({self.label}),
            beside=True,
            creates=not tagged,
        )

    def _push(self, context: Context) -> None:
        layout = self.layout()
        shown = Transfer(layout.size, lambda text: context.say(f"{self.label}, {text}"))
        self.digests[self.repository] = self.registry().push(self.repository, self.tag, layout, shown)

    def _tag(self, digest: str) -> None:
        self.registry().tag(self.repository, digest, self.tag)

    def _call(self, context: Context, call: Callable[[], None]) -> None:
        from airavata_runbook.images.http import RegistryError

        host = context.session.registry_host
        try:
            call()
        except RegistryError as error:  # it does not tell its clients of its own trouble, as a full disk
            said = host.run(f"journalctl -u {SERVICE} -n 200 --no-pager -o cat | grep -oiE '{TROUBLES}' | tail -n 1").text.strip()
            error.found += f"\nits log: {said}" if said else ""
            full = f"free disk space for {context.session.site.registry.root} on {host.name}, then run again: what was sent stays"
            error.remedy = full if "no space left" in said else error.remedy or f"journalctl -u {SERVICE} on {host.name}"
            raise
