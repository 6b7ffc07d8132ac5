"""Packages by the host's own package manager, each at the version that the site names."""

from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.errors import StepFailed
from airavata_runbook.resources.base import Change, Context, Found, quote

# The timeout, in seconds, is for the end of another's work.
APT_GET = "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0"


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
        command = install_command(manager, self.repository, missing)
        return Change(f"install {len(missing)} of {len(self.versions)}", detail, script=to_its_end(command), shown=command,
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


def install_command(manager: str, repository: str, versions: Mapping[str, str]) -> str:
    """The command that refreshes the one repository and installs `versions` from it. No other package is removed for them."""
    if manager == "deb":
        source = f"sources.list.d/{repository}.list"
        wanted = quote(*(f"{name}={version}*" for name, version in versions.items()))
        return (f"apt-get -qq update -o Dir::Etc::sourcelist={source} -o Dir::Etc::sourceparts=- "
                f"-o APT::Get::List-Cleanup=0 &&\n"
                f"{APT_GET} install --no-install-recommends --no-remove {wanted}")
    wanted = quote(*(f"{name}-{version}" for name, version in versions.items()))
    return f"{'yum' if manager == 'yum' else 'dnf'} -y -q install --enablerepo={quote(repository)} {wanted}"


def to_its_end(command: str) -> str:
    """The script that brings a package manager's command to its end, and prints on stderr what it said if it failed.

    What it says is kept until then: dpkg, writing to the pipe of a lost connection, would be killed in the midst of its
    work. Where a dpkg was killed otherwise, apt-get names one of two commands without which it refuses any work: both are
    run, and whether the work can be done then decides.
    """
    return f"""export LC_ALL=C
work() {{ {command}; }}
mend() {{ dpkg --configure -a; {APT_GET} install --fix-broken --no-remove; }}
said=$(work 2>&1) || case $said in
    *'dpkg --configure -a'* | *'--fix-broken install'*) said=$({{ set +e; mend; work; }} 2>&1);;
    *) false;;
esac || {{ echo "$said" >&2; exit 1; }}
"""
