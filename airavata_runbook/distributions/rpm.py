"""Packages of Rocky Linux, CentOS and their like: rpm, and dnf or its predecessor yum.

Sources: dnf(8) with its exit statuses, dnf.conf(5), rpm(8). Nothing reads what dnf says: it tells by its status, and rpm by
the format that it is given.
"""

import shlex
from collections.abc import Mapping, Sequence
from configparser import RawConfigParser
from io import StringIO

from airavata_runbook.distributions.package_format import PackageFormat
from airavata_runbook.distributions.packaging import Command, numbers, upstream
from airavata_runbook.distributions.rpm_format import RPM_FORMAT
from airavata_runbook.errors import SiteError, StepFailed
from airavata_runbook.serialise import one_line
from airavata_runbook.site.parts import Repository

WAIT = 120  # seconds for another process to release its lock
LOCKED = 200  # dnf's exit status where another process holds its lock, and exit_on_lock is set
DNF = "dnf -y -q --setopt=exit_on_lock=1"
RECOVERY = (
    f"# The end of another's work is waited for, {WAIT} s; a killed transaction is finished first. Where it fails, all lists of\n"
    "# packages are fetched and it is run once more.\n"
)
NO_IDS = ("main", "default")  # sections that have another meaning for dnf and for readers of the format
# Of Enterprise Linux in all its distributions, and of EPEL (the Fedora project's documentation), which adds to each of them.
EL_REPOSITORIES = (
    *("baseos", "appstream", "crb", "powertools", "extras", "highavailability", "resilientstorage", "nfv", "rt"),
    *("epel", "epel-next", "epel-testing", "epel-cisco-openh264"),
)
AND = " and "  # between versions that are installed at once: a killed update leaves both


class Rpm:
    """As Packaging."""

    name, keyring = "rpm", "/etc/pki/rpm-gpg/RPM-GPG-KEY-airavata-runbook"
    format: PackageFormat = RPM_FORMAT
    key_package = "gpg-pubkey"
    records: tuple[str, ...] = (
        "/var/lib/rpm",
        "/usr/lib/sysimage/rpm",
        "/var/lib/dnf",
        "/var/cache/dnf",
        "/var/log/dnf*",
        "/var/log/hawkey.log",
    )

    def entry_path(self, repository: Repository) -> str:
        return f"/etc/yum.repos.d/{repository.id}.repo"

    def entry(self, repository: Repository) -> str:
        """One repository, which only the runbook's own commands enable: an upgrade of the host leaves its versions alone.

        Every package's signature is checked, whatever the site file says; in the runbook's own repository the index's too. Its
        index is never taken from the cache, modules of the distribution hide none of its packages, and an index that is not
        there or is not verified is an error (dnf.conf of EL says otherwise for all repositories).
        """
        if repository.id.lower() in NO_IDS:
            raise SiteError(
                "the repository cannot have this id on a host with dnf",
                where="site.repository.id",
                found=repository.id,
                needed=f"none of {', '.join(NO_IDS)}",
                remedy="choose another id, before the first run",
            )
        parser = RawConfigParser()
        parser[repository.id] = {
            "name": one_line(repository.name) or repository.id,
            "baseurl": repository.baseurl,
            "enabled": "0",
            "gpgcheck": "1",
            "repo_gpgcheck": "1" if repository.folder else "0",
            "gpgkey": f"file://{self.keyring if repository.folder else repository.gpgkey}",
            "metadata_expire": "1",
            "module_hotfixes": "1",
            "skip_if_unavailable": "0",
        }
        text = StringIO()
        parser.write(text, space_around_delimiters=False)
        return f"# Enabled by the runbook's own commands only (--enablerepo={repository.id}).\n{text.getvalue().rstrip()}\n"

    def index_copies(self, repository: Repository) -> str:
        """dnf adds a digest of the address to the id."""
        return f"/var/cache/dnf/{repository.id}-*"

    def list_keys(self, owner: str) -> str:
        """dnf imports the gpgkey of a repository into rpm's database, as a package whose packager is the key's user."""
        listed = "rpm -qa gpg-pubkey --qf '%{NAME}-%{VERSION}-%{RELEASE} %{PACKAGER}\\n'"
        return f"{listed} | awk -v owner={shlex.quote(owner)} '{{whose = $0; sub(/^[^ ]* /, \"\", whose)}} whose == owner'"

    def remove_keys(self, owner: str) -> str:
        return f"{self.list_keys(owner)} | cut -d' ' -f1 | xargs -r rpm -e --allmatches"

    def find_index(self, url: str) -> str:
        """By dnf, with the host's own settings of proxies; no repository and no cache of the host is touched."""
        return f"""dir=$(mktemp -d)
output=$(timeout 10 dnf -q --disablerepo='*' --repofrompath=airavata-runbook-look,{shlex.quote(url)} \\
    --enablerepo=airavata-runbook-look --setopt=cachedir=$dir --setopt=retries=1 --setopt=skip_if_unavailable=0 makecache 2>&1) &&
    output=found || case $? in 124) output="no answer within 10 s" ;; esac
echo "$output" | tail -n 1; rm -rf $dir"""

    def list_installed(self, names: Sequence[str]) -> str:
        return f"""if command -v rpm >/dev/null; then echo rpm; fi
for name in {shlex.join(names)}; do
    ! rpm -q "$name" >/dev/null 2>&1 || rpm -q --qf '%{{NAME}} %{{VERSION}}-%{{RELEASE}}\\n' "$name"
done"""

    def parse_installed(self, text: str) -> dict[str, str]:
        """Versions that are installed at once are joined, so that they are none that is wanted."""
        manager, *rows = text.splitlines() or [""]
        if manager != self.name:
            raise StepFailed("the host has no supported package manager", found=manager[:200] or "none", needed="dnf or yum")
        found: dict[str, list[str]] = {}
        for word in map(str.split, rows):
            if len(word) != 2:
                raise ValueError("not a package")
            found.setdefault(word[0], []).append(word[1])
        return {name: AND.join(sorted(versions)) for name, versions in found.items()}

    def install(self, repository: str, wanted: Mapping[str, str], installed: Mapping[str, str]) -> Command:
        """dnf installs the version that is named, whichever is there: an older one is refused here."""
        older = [
            f"{name} {there} → {version}"
            for name, version in wanted.items()
            if (there := installed.get(name)) and AND not in there and numbers(upstream(version)) < numbers(upstream(there))
        ]
        if older:
            raise StepFailed(
                "a package would be downgraded",
                found="; ".join(older),
                needed="the installed version, or a newer one",
                remedy="set site.versions to it, or dnf downgrade it by hand",
            )
        names = shlex.join(f"{name}-{version}" for name, version in wanted.items())
        shown = f"{RECOVERY}{DNF} --setopt=install_weak_deps=0 install --enablerepo={shlex.quote(repository)} {names}"
        return Command(shown, _with_recovery(shown, list(wanted)))

    def list_makers(self, names: Sequence[str]) -> str:
        """rpm would create a database where there is none, on a host with dpkg for example."""
        return f"""if test -d "$(rpm -E '%_dbpath' 2>/dev/null)"; then for name in {shlex.join(names)}; do
    ! rpm -q "$name" >/dev/null 2>&1 || rpm -q --qf '%{{NAME}}\\t%{{PACKAGER}}\\n' "$name"
done; fi"""

    def list_missing(self, names: Sequence[str]) -> str:
        return f"""for name in {shlex.join(names)}; do
    rpm -q --whatprovides "$name" >/dev/null 2>&1 || dnf -C -q repoquery "$name" 2>/dev/null | grep -q . || echo "$name"
done"""

    def installed_at(self, name: str) -> str:
        return f"{{ rpm -q {name} >/dev/null 2>&1 && rpm -q --qf '%{{INSTALLTIME}} package\\n' {name}; }}"

    def list_removed(self, names: Sequence[str]) -> str:
        """Who needs them directly: rpm refuses to remove them if what came along with them is needed in its turn."""
        return f"""if command -v rpm >/dev/null; then echo rpm
rpm -qa >/dev/null || exit 1
command -v dnf >/dev/null || dnf() {{ yum "$@"; }}
whose() {{
    case $(dnf -q -C --disablerepo='*' repoquery --installed --qf '%{{reason}}' "$1") in
    dependency | weak-dependency) echo came-along ;; *) echo theirs ;; esac
}}
here=$(for name in {shlex.join(names)}; do ! rpm -q "$name" >/dev/null 2>&1 || echo "$name"; done)
for name in $here; do
    echo "$name package"
    ! rpm -q --whatrequires "$name" >/dev/null 2>&1 || rpm -q --whatrequires --qf '%{{NAME}}\\n' "$name" | sort -u |
        while read -r other; do case " $(echo $here) " in *" $other "*) ;; *) echo "$other $(whose "$other")" ;; esac; done
done
fi; true"""

    def remove(self, names: Sequence[str]) -> Command:
        """What came along with them stays: dnf cannot say beforehand what that would be."""
        words = shlex.join(names)
        shown = f"{RECOVERY}rpm -e --test {words} && {DNF} --setopt=clean_requirements_on_remove=0 remove {words}"
        return Command(shown, _with_recovery(shown, names))

    def remove_by_hand(self, names: Sequence[str]) -> str:
        return f"dnf remove {shlex.join(names)}"

    def mark_as_dependency(self, names: Sequence[str]) -> str:
        return f"dnf mark remove {shlex.join(names)}"


RPM = Rpm()


def _with_recovery(command: str, names: Sequence[str]) -> str:
    """A script that finishes what a killed transaction left of these packages, and then runs the command.

    What it left is, of an update, the old version beside the new one: dnf takes that for installed and leaves both
    (yum-complete-transaction has no successor), so what was installed earlier is erased; files that the new version has too
    stay. Or it is a database that cannot be read: one of Berkeley DB, as EL 8 has, is rebuilt; of SQLite it is none that a killed
    process leaves, and the failure is told. The output is buffered, as apt's is.
    """
    return f"""export LC_ALL=C
command -v dnf >/dev/null || dnf() {{ yum "$@"; }}
seconds() {{ cut -d. -f1 /proc/uptime; }}
end=$(($(seconds) + {WAIT}))
each() {{ rpm -q --qf '%{{INSTALLTIME}} %{{NAME}}-%{{VERSION}}-%{{RELEASE}}.%{{ARCH}}\\n' "$1" | sort -rn; }}
finish() {{
    rpm -qa >/dev/null || {{ rm -f "$(rpm -E '%_dbpath')"/__db.*; rpm --rebuilddb; }} || return
    for name in {shlex.join(names)}; do
        if rpm -q "$name" >/dev/null 2>&1; then
            each "$name" | sed 1d | while read -r _ old; do rpm -e --nodeps --allmatches "$old" || exit; done || return
        fi
    done
}}
work() {{
{command} $refresh
}}
attempt() {{
    until said=$("$1" 2>&1); do
        test $? = {LOCKED} && test "$(seconds)" -lt $end || return 1
        sleep 1
    done
}}
try() {{ attempt finish && attempt work; }}
refresh= told=
try || {{ told=$said refresh=--refresh; try; }} ||
    {{ test "$told" = "$said" || printf '%s\\n' "$told" >&2; printf '%s\\n' "$said" >&2; exit 1; }}
"""
