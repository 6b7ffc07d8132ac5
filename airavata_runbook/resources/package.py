"""Packages of the host's package manager, each at the version in the site file."""

from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.packaging import Packaging, same_version
from airavata_runbook.engine.resource import Change, Context, Found


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
        )
