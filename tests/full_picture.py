"""A full picture of a host, and of a cluster: everything that a plan must leave alone and a reset must take back.

It is taken by plain `ssh` and a script of its own, not by the runbook's eyes.
"""

import json
import re
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from airavata_runbook.site import Site

# What changes on an idle host by itself, or because somebody logged in to look.
VOLATILE = (
    "/proc",
    "/sys",
    "/dev",
    "/tmp",
    "/var/tmp",
    "/run/systemd",
    "/run/log",
    "/run/sshd*",
    "/run/user",
    "/run/sudo",
    "/run/utmp",
    "/run/lock",
    "/run/udev",
    "/run/dbus",
    "/run/motd*",
    "/run/credentials",
    "/var/log/journal",
    "/var/log/lastlog",
    "/var/log/wtmp",
    "/var/log/btmp",
    "/var/log/auth.log",
    "/var/lib/systemd",
    "/var/lib/sudo",
    "/root/.bash_history",
    "/run/airavata-lab",
)  # the last: what the lab itself notes at a host's start

# Settings that the kernel itself changes, or that are written only.
UNSTEADY = r"count|_key\b|\.route\.|random|tcp_mem|udp_mem"

SCRIPT = r"""
section() { echo "=== $1"; }
section files
find / \( %(skip)s \) -prune -o -printf '%%p\t%%y %%m %%U:%%G %%l\n' 2>/dev/null
section contents
find / \( %(skip)s \) -prune -o -type f -print0 2>/dev/null | xargs -0 -r sha256sum 2>/dev/null |
    sed 's/^\\*\([0-9a-f]*\)  \(.*\)/\2\t\1/'
section packages
if command -v dpkg-query > /dev/null; then dpkg-query -W -f '${Package}\t${Version} ${db:Status-Abbrev}\n'
else rpm -qa --qf '%%{NAME}\t%%{VERSION}-%%{RELEASE}\n'; fi
section marked  # of dnf, a file that is a content
if command -v apt-mark > /dev/null; then
    apt-mark -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= showmanual | sed 's/$/\tmanual/'; fi
section units
systemctl list-unit-files --no-legend --no-pager | awk '{print $1 "\t" $2}'
section running
systemctl list-units --all --type=service,socket,timer --plain --no-legend --no-pager | awk '{print $1 "\t" $2, $3}'
section started
for unit in $(systemctl list-units --type=service --state=running --plain --no-legend | awk '{print $1}' | grep -v @)
do printf '%%s\t%%s\n' $unit $(systemctl show -P ExecMainStartTimestampMonotonic $unit); done
section interfaces
ip -o addr show | awk '{print $2, $3 "\t" $4}'
ip -o link show | sed 's/: <.*mtu \([0-9]*\).*/\tmtu \1/; s/^[0-9]*: //; s/@if[0-9]*//'  # another number after each start
section routes
ip route show table all | grep -v ^local | grep -v ^broadcast | sed 's/$/\troute/'
section firewall
for save in iptables-save ip6tables-save; do
    table=; $save 2>/dev/null | sed 's/\[.*\]$//' | grep -v '^#\|^COMMIT' | while read -r line; do
        case $line in \**) table=$line;; :*' ACCEPT'*) ;; *) printf '%%s\t%%s\n' "$save $table $line" rule;; esac; done; done
nft list tables 2>/dev/null | grep -v ' \(filter\|nat\|mangle\|raw\|security\)$' | sed 's/$/\ttable/'
section kernel
sysctl -a -r '^net\.' 2>/dev/null | sed 's/ = /\t/' | grep -vE '%(unsteady)s'
section mounts
awk '{print $2 "\t" $3}' /proc/mounts
section listening
ss -Hlntu | awk '{print $1, $5 "\tlistens"}'
section cgroups
find /sys/fs/cgroup -type d -path '*kubepods*' 2>/dev/null | sed 's/$/\tgroup/'
"""

# What a reset with data leaves: docs/reset.md (logs, caches of package managers, the lock's file, a mount point's mode).
STAYS = re.compile(
    r"""(contents|files):\ (/var/log/(apt/.*|dpkg\.log|alternatives\.log)
                   |/var/cache/apt/.*|/var/lib/apt/(lists/(auxfiles|lock|partial)|extended_states|periodic.*)|/var/lib/dpkg/.*-old
                   |/var/log/(dnf|hawkey)[a-z.-]*\.log|/var/cache/dnf(/.*)?|/var/lib/dnf(/.*)?|/var/lib/rpm/rpmdb\.sqlite(-shm|-wal)?
                   |/run/airavata-runbook\.lock
                   |/var/lib/containerd:\ d\ 755.*d\ 700.*)(:|$)|kernel:\ """,
    re.VERBOSE,
)

# What the services of a finished site write by themselves: data and logs; and, for the moment that the kubelet runs a
# probe inside a container, containerd's pipes and pid file of that process.
MOVES = re.compile(
    r"""contents:\ (/var/log/|/run/airavata-runbook\.lock:)
                   |(contents|files):\ (/var/lib/etcd/|/var/log/pods/|/var/lib/kubelet/pods/\S*~(empty-dir|local-volume)/
                   |/run/containerd/io\.containerd\.grpc\.v1\.cri/containers/[0-9a-f]{64}/io/\d+(/|:\ )
                   |/run/containerd/io\.containerd\.runtime\.v2\.task/k8s\.io/[0-9a-f]{64}/[0-9a-f]{64}\.pid:
                   |/run/containerd/runc/k8s\.io/[0-9a-f]{64}/runc\.)""",
    re.VERBOSE,
)
Picture = dict[str, dict[str, str]]  # section → what → how it is
BREATHING = ("Event", "Lease", "Node", "Pod")  # kinds that a cluster writes to by itself; of these only the specification counts

SHELL_STARTED = "the-script-begins-here"


def over_ssh(site: Site, name: str, script: str, timeout: int = 120) -> str:
    """What a script prints that root runs on a host; not through the runbook's own connection."""
    node = site.node(name)
    ssh = node.ssh
    become = [] if ssh.user == "root" else ["sudo", "-n"]
    done = subprocess.run(
        [
            "ssh",
            "-F",
            "none",
            "-i",
            ssh.key,
            "-o",
            f"UserKnownHostsFile={ssh.known_hosts}",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            f"{ssh.user}@{node.address}",
            *become,
            "sh",
            "-s",
        ],
        input=f"echo {SHELL_STARTED}\n{script}".encode(),
        capture_output=True,
        timeout=timeout,
    )
    # What a login shell prints comes before.
    return done.stdout.decode(errors="surrogateescape").partition(f"{SHELL_STARTED}\n")[2]


def cut_connections(site: Site, name: str) -> None:
    """End every SSH connection to a host, this very one as well."""
    over_ssh(site, name, "kill $(ps -eo pid,args | awk '/sshd: .*@notty/ && !/awk/ {print $1}')")


def picture(site: Site, name: str, beside: Iterable[str] = ()) -> Picture:
    """The host's full picture. beside: paths that are left out, beside VOLATILE."""
    skip = " -o ".join(f"-path '{path}'" for path in (*VOLATILE, *beside))
    sections: Picture = {}
    here: dict[str, str] = {}
    for line in over_ssh(site, name, SCRIPT % {"skip": skip, "unsteady": UNSTEADY}).splitlines():
        if line.startswith("=== "):
            here = sections.setdefault(line[4:], {})
        else:
            what, _, how = line.partition("\t")
            here[what] = f"{here[what]} {how}" if what in here else how
    assert len(sections) == 14 and len(sections["files"]) > 5000, "the picture is cut short"
    return sections


def pictures(site: Site, beside: Iterable[str] = ()) -> dict[str, Picture]:
    """The full picture of every host of the site, by its name."""
    with ThreadPoolExecutor() as pool:
        return dict(pool.map(lambda node: (node.name, picture(site, node.name, beside)), site.nodes))


def cluster_picture(site: Site) -> dict[str, str]:
    """Every object of the cluster with its generation and version, and the keys below flannel's in etcd."""
    kinds = kubectl(site, "api-resources --verbs=list -o name").replace("componentstatuses\n", "").split()
    seen = {}
    for one in json.loads(kubectl(site, f"get {','.join(kinds)} -A -o json"))["items"]:
        metadata = one["metadata"]
        version = "" if one["kind"] in BREATHING else metadata["resourceVersion"]
        if one["kind"] not in ("Event", "Lease"):
            seen[f"{one['kind']} {metadata.get('namespace', '')}/{metadata['name']}"] = (
                f"{metadata['uid']} {metadata.get('generation')} {version} {json.dumps(one.get('spec'), sort_keys=True)}"
            )
    for pair in json.loads(etcdctl(site, f"get --prefix {site.network.etcd_prefix} -w json")).get("kvs", []):
        seen[f"etcd {pair['key']}"] = str(pair["mod_revision"])
    assert len(seen) > 50, "the picture is cut short"
    return seen


def kubectl(site: Site, words: str) -> str:
    """What kubectl prints on the master, which keeps nothing of it."""
    return over_ssh(site, site.master.name, f"kubectl --cache-dir /tmp/kubectl --kubeconfig /etc/kubernetes/admin.conf {words}")


def etcdctl(site: Site, words: str) -> str:
    """What etcdctl prints on the master."""
    pki = "/etc/kubernetes/pki"
    return over_ssh(
        site,
        site.master.name,
        f"etcdctl --endpoints https://127.0.0.1:2379 --cacert {pki}/etcd/ca.crt "
        f"--cert {pki}/etcd/root.crt --key {pki}/etcd/root.key {words}",
    )


def difference(before: Picture, after: Picture) -> list[str]:
    """Lines of section, what, before → after; empty when nothing differs."""
    lines = []
    for section in sorted(set(before) | set(after)):
        old, new = before.get(section, {}), after.get(section, {})
        for what in sorted(set(chain(old, new))):
            if old.get(what) != new.get(what):
                lines.append(f"{section}: {what}: {old.get(what, 'absent')} → {new.get(what, 'absent')}")
    return lines


def left_by_reset(bare: dict[str, Picture], after: dict[str, Picture]) -> list[str]:
    """What differs from the bare hosts and is not documented to stay, as lines of host and difference."""
    return [f"{name}: {line}" for name in bare for line in difference(bare[name], after[name]) if not STAYS.match(line)]


def moved_by_itself(line: str, storage: str) -> bool:
    """Whether a line of a difference between two pictures of a finished site is the work of its running services.

    `storage` is the directory of the volumes.
    """
    return bool(MOVES.match(line)) or line.startswith((f"contents: {storage}/", f"files: {storage}/"))
