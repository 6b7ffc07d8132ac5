"""Packages of the host's package manager, each at the version in the site file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.errors import StepFailed

WAIT = 120  # seconds for another process to release its lock
APT_GET = f"DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout={WAIT} -o Dpkg::Use-Pty=0"
RECOVERY = (
    f"# The end of another's work is waited for, {WAIT} s. Where apt-get asks for one of these, it is run as well:\n"
    "# dpkg --configure -a; apt-get install --fix-broken; apt-get update\n"
)


@dataclass(frozen=True)
class Packages:
    """versions: package name → upstream version ("1.36.3"), or a full version ("1.36.3-1+721a3a5e") to distinguish builds of
    the same version. repository: id of the repository that they are installed from.
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
            script=with_apt_recovery(command),
            shown=command,
            touches=frozenset(f"package {name}" for name in missing),
        )


def parse_installed(text: str) -> tuple[str, dict[str, str]]:
    """(deb | rpm | yum, name → full version) from the probe's output. Raises StepFailed without a package manager."""
    manager, *rows = text.splitlines() or [""]
    if manager not in ("deb", "rpm", "yum"):
        raise StepFailed("the host has no supported package manager", found=manager[:200] or "none", needed="apt-get, dnf or yum")
    words = [row.split() for row in rows]
    # The first letter is the desired action (h: hold), the second the status (dpkg-query(1)).
    return manager, {word[1]: word[2] for word in words if len(word) == 3 and re.fullmatch("[uihrp]i", word[0])}


def same_version(installed: str, wanted: str) -> bool:
    """Whether a package's version ("1:1.36.3-1") is the wanted one: upstream ("1.36.3"), or full without epoch."""
    version = installed.rpartition(":")[2]
    return wanted == (version if "-" in wanted else upstream(version))


def upstream(version: str) -> str:
    """The upstream part of a package's version, without epoch."""
    return version.rpartition(":")[2].partition("-")[0]


def rebuilt(installed: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a package is replaced by another build of its version, and none by an older version.

    Builds have no order, so apt-get may take the new one for a downgrade; a real downgrade has to be done by hand.
    """
    versions = [(upstream(installed[name]), upstream(version)) for name, version in wanted.items() if name in installed]
    return any(old == new for old, new in versions) and not any(_numbers(old) > _numbers(new) for old, new in versions)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def install_command(manager: str, repository: str, versions: Mapping[str, str], downgrade: bool = False) -> str:
    """The command that refreshes the index of one repository and installs `versions` from it, without removing any package.

    downgrade: allow apt-get to install what it takes for an older version.
    """
    if manager == "deb":
        source = f"sources.list.d/{repository}.list"
        wanted = quote(*(f"{name}={version}" + "*" * ("-" not in version) for name, version in versions.items()))
        return (
            f"{RECOVERY}apt-get -qq update -o Dir::Etc::sourcelist={source} -o Dir::Etc::sourceparts=- "
            f"-o APT::Get::List-Cleanup=0 -o APT::Update::Error-Mode=any &&\n"
            f"{APT_GET} -o APT::Keep-Downloaded-Packages=0 install --no-install-recommends --no-remove "
            f"{'--allow-downgrades ' * downgrade}{wanted}"
        )
    wanted = quote(*(f"{name}-{version}" for name, version in versions.items()))
    return f"{'yum' if manager == 'yum' else 'dnf'} -y -q install --enablerepo={quote(repository)} {wanted}"


def with_apt_recovery(command: str) -> str:
    """A script that runs a package manager's command, with recovery from known failures; its output goes to stderr if it fails.

    The output is buffered: dpkg would be killed while it works if it wrote to the pipe of a lost connection. If apt-get's
    output names the remedy, that is run once and the command is tried again: an interrupted dpkg is finished, and outdated
    or missing package lists are fetched. The script also waits for locks of other processes, because DPkg::Lock::Timeout
    covers dpkg's lock only, not those of the lists and the archives.
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
