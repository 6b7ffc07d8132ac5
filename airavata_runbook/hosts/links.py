"""Who manages the network interfaces of a host, beside flannel and the CNI plugins."""

from fnmatch import fnmatchcase

from airavata_runbook.hosts.snapshot import Fact
from airavata_runbook.wellknown import BRIDGE, TUNNEL

NETWORK_MANAGER, NETWORKD = "NetworkManager", "systemd-networkd"
OWN_FILE = "/etc/systemd/network/00-airavata-runbook.network"
VETH = "veth"  # the beginning of the names that the CNI plugin `bridge` gives to the host's end of a pod's interface
# An interface's name, and the types, kinds and drivers by which a [Match] section may name it (systemd.network(5)).
LINKS = {BRIDGE: ("bridge",), TUNNEL: ("vxlan",), f"{VETH}0": ("ether", "veth")}
BY_TYPE = ("Type", "Kind", "Driver")
OF_THE_HOST = ("Host", "Virtualization", "KernelCommandLine", "KernelVersion", "Credential", "Architecture", "Firmware")


class LinkManagers(Fact[frozenset[str]]):
    """The services that would take the pods' interfaces for theirs.

    NetworkManager does so with every interface that it is not told to leave alone: it was seen to take cni0 and the pods' veth
    for "connected (externally)". systemd-networkd does where a .network file matches (systemd-networkd.service(8)), which those
    of Debian, Ubuntu and netplan do not; one for all interfaces (Name=*) is an admin's.
    """

    command = f"""states=$(systemctl is-active {NETWORK_MANAGER} {NETWORKD} 2>/dev/null | tr '\\n' ' ')
case $states in 'active '*) echo active ;; esac
case $states in *' active ')
    find /etc/systemd/network /run/systemd/network /usr/lib/systemd/network -name '*.network' 2>/dev/null | xargs -r awk '
        FNR == 1 {{inside = 0}}
        /^\\[/ {{inside = /^\\[Match\\]/; if (inside) print "file " FILENAME}}
        inside && /^[A-Z][A-Za-z]* *=/' ;;
esac"""

    def parse(self, text: str) -> frozenset[str]:
        found, files = set(), []
        for line in filter(None, text.splitlines()):
            key, equals, value = line.partition("=")
            if line == "active":
                found.add(NETWORK_MANAGER)
            elif line.startswith("file /"):
                files.append((line.removeprefix("file "), dict[str, str]()))
            elif equals and files:
                files[-1][1][key.strip()] = value.strip()
            else:
                raise ValueError("not a condition of a .network file")
        if any(_matches(conditions, link) for path, conditions in files if path != OWN_FILE for link in LINKS):
            found.add(NETWORKD)
        return frozenset(found)


def _matches(conditions: dict[str, str], link: str) -> bool:
    """Whether a [Match] section has an interface. One for hardware (MACAddress, Path, Property and others) has none of pods."""
    of_the_link = {key: value for key, value in conditions.items() if key not in OF_THE_HOST}
    names = {"Name": (link,), **dict.fromkeys(BY_TYPE, LINKS[link])}
    return bool(of_the_link) and all(key in names and _fits(value, names[key]) for key, value in of_the_link.items())


def _fits(patterns: str, names: tuple[str, ...]) -> bool:
    """Shell globs separated by spaces; "!" before the first inverts all of them."""
    inverted = patterns.startswith("!")
    fits = any(fnmatchcase(name, pattern) for pattern in patterns.lstrip("!").split() for name in names)
    return fits != inverted
