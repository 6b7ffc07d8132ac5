"""Packages by the host's own package manager, each at the version that the site names."""

from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.errors import StepFailed
from airavata_runbook.resources.base import Change, Context, Found, quote


@dataclass(frozen=True)
class Packages:
    """versions: package name → upstream version ("1.36.3"). repository: id of the repository they come from."""

    versions: Mapping[str, str]
    repository: str

    @property
    def label(self) -> str:
        return "packages " + " ".join(sorted(self.versions))

    def probe(self) -> str:
        names = quote(*sorted(self.versions))
        return (f"if command -v apt-get >/dev/null; then echo deb; "
                f"dpkg-query -W -f='${{db:Status-Abbrev}} ${{Package}} ${{Version}}\\n' {names} 2>/dev/null; "
                f"elif command -v dnf >/dev/null; then echo rpm; "
                f"rpm -q --qf 'ii  %{{NAME}} %{{VERSION}}-%{{RELEASE}}\\n' {names} | grep '^ii'; "
                f"elif command -v yum >/dev/null; then echo yum; "
                f"rpm -q --qf 'ii  %{{NAME}} %{{VERSION}}-%{{RELEASE}}\\n' {names} | grep '^ii'; fi; true")

    def change(self, found: Found, context: Context) -> Change | None:
        manager, installed = parse_installed(found.text)
        missing = {name: version for name, version in sorted(self.versions.items())
                   if not same_version(installed.get(name, ""), version)}
        if not missing:
            return None
        detail = "".join(f"{name} {installed.get(name, 'not installed')} → {version}\n"
                         for name, version in missing.items())
        return Change(f"install {len(missing)} of {len(self.versions)}", detail,
                      script=install_script(manager, self.repository, missing),
                      touches=frozenset(f"package {name}" for name in missing))


def parse_installed(text: str) -> tuple[str, dict[str, str]]:
    """(deb | rpm | yum, name → full version) from the probe's output. Raises StepFailed without a manager."""
    manager, *rows = text.splitlines() or [""]
    if manager not in ("deb", "rpm", "yum"):
        raise StepFailed("the host has no package manager that the runbook knows", found=manager[:200] or "none",
                         needed="apt-get, dnf or yum")
    words = [row.split() for row in rows]
    return manager, {word[1]: word[2] for word in words if len(word) == 3 and word[0] == "ii"}


def same_version(installed: str, wanted: str) -> bool:
    """Whether a full package version ("1:1.36.3-1") is the upstream version ("1.36.3")."""
    return installed.partition(":")[2].partition("-")[0] == wanted if ":" in installed \
        else installed.partition("-")[0] == wanted


def install_script(manager: str, repository: str, versions: Mapping[str, str]) -> str:
    """The commands that refresh the one repository and install `versions` from it."""
    if manager == "deb":
        source = f"sources.list.d/{repository}.list"
        wanted = quote(*(f"{name}={version}*" for name, version in versions.items()))
        return (f"apt-get -qq update -o Dir::Etc::sourcelist={source} -o Dir::Etc::sourceparts=- "
                f"-o APT::Get::List-Cleanup=0\n"
                f"DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "
                f"-o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 {wanted}\n")
    wanted = quote(*(f"{name}-{version}" for name, version in versions.items()))
    return f"{'yum' if manager == 'yum' else 'dnf'} -y -q install --enablerepo={quote(repository)} {wanted}\n"
