"""Packages of Debian and of what is made from it: dpkg and apt."""

import re
import shlex
from collections.abc import Mapping, Sequence

from airavata_runbook.distributions.deb_format import DEB_FORMAT
from airavata_runbook.distributions.package_format import PackageFormat
from airavata_runbook.distributions.packaging import Command, numbers, upstream
from airavata_runbook.errors import StepFailed
from airavata_runbook.serialise import one_line
from airavata_runbook.site.parts import Repository
from airavata_runbook.wellknown import KEYRING

WAIT = 120  # seconds for another process to release its lock
APT_GET = f"DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout={WAIT} -o Dpkg::Use-Pty=0"
RECOVERY = (
    f"# The end of another's work is waited for, {WAIT} s. Where apt-get asks for one of these, it is run as well:\n"
    "# dpkg --configure -a; apt-get install --fix-broken; apt-get update\n"
)
PURGE = (
    f"{RECOVERY}# When it fails half-way, what is left is noted as to be purged: dpkg --set-selections\n"
    f"{APT_GET} --allow-change-held-packages purge"
)
LISTS = "/var/lib/apt/lists"
QUOTED = re.compile(r'[\\|{}\[\]<>"^~_=!@#$%&*]')  # escaped by apt's URItoFileName (apt-pkg/contrib/strutl.cc)


class Deb:
    """As Packaging."""

    name, keyring = "deb", KEYRING
    format: PackageFormat = DEB_FORMAT
    key_package = ""
    records: tuple[str, ...] = ("/var/lib/dpkg", "/var/lib/apt", "/var/cache/apt", "/var/log/apt", "/var/log/dpkg.log")

    def entry_path(self, repository: Repository) -> str:
        return f"/etc/apt/sources.list.d/{repository.id}.list"

    def entry(self, repository: Repository) -> str:
        """One flat repository (sources.list(5)), whose signature apt verifies in any case.

        For file:// it says copy:, because apt uses the files of a file: repository where they are, without a copy that it has
        verified: the index may change after it was verified, and a package between its verification and its installation.
        """
        address, key = repository.baseurl, repository.gpgkey
        why = "gpgcheck=1: packages are checked with this key"
        if repository.folder:
            address, key = f"copy:{repository.folder}", self.keyring
            given = "" if repository.gpgcheck else ", although gpgcheck is false in the site file"
            why = (
                f"gpgcheck=1{given}: the runbook signs the index of the packages with a key of the site\n"
                f"# {repository.baseurl}, from which apt installs verified copies"
            )
        return f"# {repository.id}: {one_line(repository.name)}\n# {why}\ndeb [signed-by={key}] {address} ./\n"

    def index_copies(self, repository: Repository) -> str:
        """The address without the scheme, escaped as apt does."""
        place = repository.baseurl.partition("://")[2].rstrip("/") + "/./"
        return f"{LISTS}/" + QUOTED.sub(lambda letter: f"%{ord(letter[0]):02x}", place).replace("/", "_") + "*"

    def list_keys(self, owner: str) -> str:
        return ""

    def remove_keys(self, owner: str) -> str:
        return ""

    def find_index(self, url: str) -> str:
        """By apt's own downloader, which is installed before curl is and connects the way that apt will."""
        return f"""url={shlex.quote(url)} dir=$(mktemp -d)
for file in Release InRelease Packages Packages.gz; do
    output=$(timeout 10 /usr/lib/apt/apt-helper -qq -o Acquire::Retries=0 download-file "$url/$file" $dir/index 2>&1) &&
        output=found && break
    case $? in 124) output="no answer within 10 s" ;; esac
    # Only a file that does not exist may exist by another name.
    case $output in *40[34]*) ;; *) break ;; esac
done
echo "$output" | grep -v '^W:' | head -n 1; rm -rf $dir"""

    def list_installed(self, names: Sequence[str]) -> str:
        return (
            f"if command -v apt-get >/dev/null; then echo deb; "
            f"dpkg-query -W -f='${{db:Status-Abbrev}} ${{Package}} ${{Version}}\\n' {shlex.join(names)} 2>/dev/null; fi; true"
        )

    def parse_installed(self, text: str) -> dict[str, str]:
        manager, *rows = text.splitlines() or [""]
        if manager != self.name:
            raise StepFailed("the host has no supported package manager", found=manager[:200] or "none", needed="apt-get")
        words = [row.split() for row in rows]
        # The first letter is the desired action (h: hold), the second the status (dpkg-query(1)).
        return {word[1]: word[2] for word in words if len(word) == 3 and re.fullmatch("[uihrp]i", word[0])}

    def install(self, repository: str, wanted: Mapping[str, str], installed: Mapping[str, str]) -> Command:
        """Refreshes the index of that repository first."""
        source = f"sources.list.d/{repository}.list"
        names = shlex.join(f"{name}={version}" + "*" * ("-" not in version) for name, version in wanted.items())
        shown = (
            f"{RECOVERY}apt-get -qq update -o Dir::Etc::sourcelist={source} -o Dir::Etc::sourceparts=- "
            f"-o APT::Get::List-Cleanup=0 -o APT::Update::Error-Mode=any &&\n"
            f"{APT_GET} -o APT::Keep-Downloaded-Packages=0 install --no-install-recommends --no-remove "
            f"{'--allow-downgrades ' * rebuilt(installed, wanted)}{names}"
        )
        return Command(shown, with_apt_recovery(shown))

    def list_makers(self, names: Sequence[str]) -> str:
        """The second letter of a package's status: n is not installed, of c only the configuration is left."""
        return (
            f"dpkg-query -W -f='${{db:Status-Abbrev}}\\t${{Package}}\\t${{Maintainer}}\\n' {shlex.join(names)} 2>/dev/null | "
            "awk -F'\\t' '$1 !~ /^.[nc]/ {print $2 \"\\t\" $3}'"
        )

    def list_missing(self, names: Sequence[str]) -> str:
        return f"""for name in {shlex.join(names)}; do
    case $(dpkg-query -W -f='${{db:Status-Abbrev}}' "$name" 2>/dev/null) in ?i*) continue ;; esac
    LC_ALL=C apt-cache policy "$name" 2>/dev/null | grep -q 'Candidate: [^(]' || echo "$name"
done"""

    def installed_at(self, name: str) -> str:
        """dpkg writes its file list at installation; the program files keep the times of the build."""
        return f"stat -c '%.6Y package' /var/lib/dpkg/info/{name}.list 2>/dev/null"

    def list_removed(self, names: Sequence[str]) -> str:
        return f"if command -v apt-get >/dev/null; then echo deb\n{_debs(shlex.join(names))}\nfi"

    def remove(self, names: Sequence[str]) -> Command:
        words = shlex.join(names)
        shown = f"{PURGE} {words}"
        # When dpkg fails, apt-get resets the selections, but does not mark automatically installed packages again.
        note = (
            f"note() {{ test $? = 0 || dpkg -s {words} > /dev/null 2>&1 || printf '%s purge\\n' {words} "
            "| dpkg --set-selections; }\ntrap note EXIT\n"
        )
        return Command(shown, note + with_apt_recovery(shown))

    def remove_by_hand(self, names: Sequence[str]) -> str:
        return f"apt-get remove {shlex.join(names)}"

    def mark_as_dependency(self, names: Sequence[str]) -> str:
        return f"apt-mark auto {shlex.join(names)}"


DEB = Deb()


def rebuilt(installed: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a package is replaced by another build of its version, and none by an older version.

    Builds have no order, so apt-get may take the new one for a downgrade; a real downgrade has to be done by hand.
    """
    versions = [(upstream(installed[name]), upstream(version)) for name, version in wanted.items() if name in installed]
    return any(old == new for old, new in versions) and not any(numbers(old) > numbers(new) for old, new in versions)


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


def _debs(names: str) -> str:
    """Shell that prints "ii NAME package" for each of the packages, and "came-along" or "theirs" for others to be removed.

    These depend on the packages, or become unused without them. What a killed purge left is known by its state: apt-get
    lets dpkg select packages for purging (the first letter, p) before it begins. It also drops their marks as automatically
    installed, so apt is run with a copy of its marks in which they are restored.
    """
    return f"""list=$(dpkg-query -W -f='${{db:Status-Abbrev}} ${{Package}}\\n') && test -n "$list" || exit 1
among() {{ case " $(echo $2) " in *" $1 "*) ;; *) false ;; esac; }}
here=$(for name in {names}; do echo "$list" | awk -v name="$name" '$2 == name && $1 !~ /^.n/ {{print name}}'; done)
left=$(for name in $(echo "$list" | awk '$1 ~ /^p[^nc]/ {{print $2}}'); do among "$name" "$here" || echo "$name"; done)
test -n "$here$left" || exit 0
marks=
if test -n "$left"; then
    copy=$(mktemp) && eval "$(apt-config shell own Dir::State::extended_states/f)" || exit 1
    trap 'rm -f "$copy"' EXIT
    test ! -e "$own" || cat "$own" > "$copy" || exit 1
    marks="-o Dir::State::extended_states=$copy"
    apt-mark $marks auto $left > /dev/null || exit 1
fi
removed() {{ said=$(apt-get -s --fix-broken $marks "$@") && echo "$said" | awk '$1 == "Purg" || $1 == "Remv" {{print $2}}'; }}
auto=$(apt-mark $marks showauto) && unused=$(removed autoremove) || exit 1
depend=$(removed purge $here) && gone=$(removed --auto-remove purge $here) || exit 1
for name in $here; do echo "ii $name package"; done
for name in $(echo "$gone" | sort -u); do
    if among "$name" "$here"; then continue; fi
    if among "$name" "$unused" && ! among "$name" "$depend $left"; then continue; fi
    if among "$name" "$auto"; then echo "ii $name came-along"; else echo "ii $name theirs"; fi
done"""
