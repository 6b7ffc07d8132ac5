"""Packages by the host's own package manager, each at the version that the site names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.errors import StepFailed

WAIT = 120  # seconds for the end of another's work
APT_GET = f"DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout={WAIT} -o Dpkg::Use-Pty=0"
ALSO = (
    f"# The end of another's work is waited for, {WAIT} s. Where apt-get asks for one of these, it is run as well:\n"
    "# dpkg --configure -a; apt-get install --fix-broken; apt-get update\n"
)


@dataclass(frozen=True)
class Packages:
    """versions: package name → upstream version ("1.36.3"), or a whole one ("1.36.3-1+721a3a5e") where another build of the
    same version is to be told from it. repository: id of the repository they come from.
    """

    versions: Mapping[str, str]
    repository: str

    @property
    def label(self) -> str:
        return "packages " + " ".join(sorted(self.versions))

    def probe(self) -> str:
        names = quote(*sorted(self.versions))
        return (
            f"if command -v apt-get >/dev/null; then echo deb; "
            f"dpkg-query -W -f='${{db:Status-Abbrev}} ${{Package}} ${{Version}}\\n' {names} 2>/dev/null; "
            f"elif command -v dnf >/dev/null; then echo rpm; "
            f"rpm -q --qf 'ii  %{{NAME}} %{{VERSION}}-%{{RELEASE}}\\n' {names} | grep '^ii'; "
            f"elif command -v yum >/dev/null; then echo yum; "
            f"rpm -q --qf 'ii  %{{NAME}} %{{VERSION}}-%{{RELEASE}}\\n' {names} | grep '^ii'; fi; true"
        )

    def change(self, found: Found, context: Context) -> Change | None:
        manager, installed = parse_installed(found.text)
        missing = {
            name: version for name, version in sorted(self.versions.items()) if not same_version(installed.get(name, ""), version)
        }
        if not missing:
            return None
        detail = "".join(f"{name} {installed.get(name, 'not installed')} → {version}\n" for name, version in missing.items())
        command = install_command(manager, self.repository, missing, rebuilt(installed, missing))
        return Change(
            f"install {len(missing)} of {len(self.versions)}",
            detail,
            script=to_its_end(command),
            shown=command,
            touches=frozenset(f"package {name}" for name in missing),
        )


def parse_installed(text: str) -> tuple[str, dict[str, str]]:
    """(deb | rpm | yum, name → full version) from the probe's output. Raises StepFailed without a manager."""
    manager, *rows = text.splitlines() or [""]
    if manager not in ("deb", "rpm", "yum"):
        raise StepFailed(
            "the host has no package manager that the runbook knows", found=manager[:200] or "none", needed="apt-get, dnf or yum"
        )
    words = [row.split() for row in rows]
    # The first letter is what is wished of the package (h: that it is held), the second how it is (dpkg-query(1)).
    return manager, {word[1]: word[2] for word in words if len(word) == 3 and re.fullmatch("[uihrp]i", word[0])}


def same_version(installed: str, wanted: str) -> bool:
    """Whether a package's version ("1:1.36.3-1") is the one wanted: upstream ("1.36.3"), or whole but for the epoch."""
    version = installed.rpartition(":")[2]
    return wanted == (version if "-" in wanted else upstream(version))


def upstream(version: str) -> str:
    """The upstream part of a package's version without epoch."""
    return version.rpartition(":")[2].partition("-")[0]


def rebuilt(installed: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether one of the packages is to become another build of its version, and none an older version.

    To apt-get a build may look older than another, for recipes have no order; to go back in earnest it must be told by hand.
    """
    there = [(upstream(installed[name]), upstream(version)) for name, version in wanted.items() if name in installed]
    return any(old == new for old, new in there) and not any(_numbers(old) > _numbers(new) for old, new in there)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def install_command(manager: str, repository: str, versions: Mapping[str, str], back: bool = False) -> str:
    """The command that refreshes the one repository and installs `versions` from it. No other package is removed for them.

    back: let apt-get install what looks older to it.
    """
    if manager == "deb":
        source = f"sources.list.d/{repository}.list"
        wanted = quote(*(f"{name}={version}" + "*" * ("-" not in version) for name, version in versions.items()))
        return (
            f"{ALSO}apt-get -qq update -o Dir::Etc::sourcelist={source} -o Dir::Etc::sourceparts=- "
            f"-o APT::Get::List-Cleanup=0 &&\n"
            f"{APT_GET} install --no-install-recommends --no-remove {'--allow-downgrades ' * back}{wanted}"
        )
    wanted = quote(*(f"{name}-{version}" for name, version in versions.items()))
    return f"{'yum' if manager == 'yum' else 'dnf'} -y -q install --enablerepo={quote(repository)} {wanted}"


def to_its_end(command: str) -> str:
    """The script that brings a package manager's command to its end, and prints on stderr what it said if it failed.

    What it says is kept until then: dpkg, writing to the pipe of a lost connection, would be killed in the midst of its
    work. Where the command names something without which it cannot go on, that is done, once, and whether the work can be
    done then decides: what a killed dpkg has left is finished, and package lists that are empty or older than their
    repository are fetched. A lock of another is waited for here as well: DPkg::Lock::Timeout is for dpkg's own, not for those
    of the lists and the archives.
    """
    return f"""export LC_ALL=C
work() {{
{command}
}}
mend() {{ set +e; dpkg --configure -a; {APT_GET} install --fix-broken --no-remove; }}
refresh() {{ apt-get -qq update; }}
seconds() {{ cut -d. -f1 /proc/uptime; }}
end=$(($(seconds) + {WAIT}))
attempt() {{
    until said=$("$1" 2>&1); do
        case $said in *'E: Could not get lock'*) ;; *) return 1 ;; esac
        test "$(seconds)" -lt $end || return 1
        sleep 1
    done
}}
tried= told=
until attempt work; do
    case $said in
    *'dpkg --configure -a'* | *'--fix-broken install'*) cure=mend ;;
    *'not installable'* | *'no installation candidate'* | *'Unable to locate package'*) cure=refresh ;;
    *'E: Failed to fetch '*' 404 '*) cure=refresh ;;
    *) cure= ;;
    esac
    case $tried in *"$cure"*)
        printf '%s\\n' "$told$said" >&2
        case $tried in *refresh*) echo '(after apt-get update: see that the sources of apt have what is missing)' >&2 ;; esac
        exit 1 ;;
    esac
    tried="$tried $cure"
    attempt "$cure" || true
    told="$told$said
"
done
"""
