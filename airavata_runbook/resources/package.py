"""Packages of the host's package manager, each at the version in the site file."""

from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.packaging import Packaging, same_version
from airavata_runbook.engine.resource import Change, Context, Found
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.mirror import catalogue

NEEDED = "where it was there before"  # of a package that another one needs


@dataclass(frozen=True)
class Packages:
    """versions: package name → upstream version ("1.36.3"), or a full version ("1.36.3-1+721a3a5e") to distinguish builds of
    the same version. repository: id of the repository that they are installed from. environment: a file of shell that is read
    before, "" for none.
    """

    versions: Mapping[str, str]
    repository: str
    packaging: Packaging = DEB
    environment: str = ""

    @property
    def label(self) -> str:
        return "packages " + " ".join(sorted(self.versions))

    def footprint(self) -> Footprint:
        for name in self.versions:
            yield Touch("package", name)
            # Of the runbook's own packages; those of another repository have the same programs.
            yield from (Touch("packaged", path, by=name) for path in catalogue.files_of(name))
            outside = [need for need in catalogue.PACKAGE[name].needs if need not in catalogue.PACKAGE]
            needed = map(self.packaging.format.dependency, outside)
            yield from (Touch("package", need, by=name, stays=NEEDED) for need in needed)
        if self.packaging.key_package:
            yield Touch("package", self.packaging.key_package)
        for path in self.packaging.records:
            yield Touch("folder", path, by=self.packaging.name, stays="the package manager's own")

    def probe(self) -> str:
        return self.packaging.list_installed(sorted(self.versions))

    def change(self, found: Found, context: Context) -> Change | None:
        installed = self.packaging.parse_installed(found.text)
        missing = {
            name: version for name, version in sorted(self.versions.items()) if not same_version(installed.get(name, ""), version)
        }
        if not missing:
            return None
        detail = "".join(f"{name} {installed.get(name, 'not installed')} → {version}\n" for name, version in missing.items())
        command = self.packaging.install(self.repository, missing, installed)
        before = f". {self.environment}\n" if self.environment else ""
        return Change(
            f"install {len(missing)} of {len(self.versions)}",
            detail,
            script=before + command.script,
            shown=before + command.shown,
            touches=frozenset(f"package {name}" for name in missing),
            creates=not any(installed.get(name) for name in self.versions),
        )
