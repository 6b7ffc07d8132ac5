"""What tells the network managers of a host to leave the pods' interfaces alone: they are flannel's and the CNI plugins'.

A manager that takes cni0 or a pod's veth for its own may change its addresses and routes (RKE2's known issues, and k3s').
flannel.1 keeps its MAC address in any case: systemd-udevd leaves one that was given when the interface was created, whatever
MACAddressPolicy= says (systemd's link-config.c, NET_ADDR_SET), and pod-network.sh gives it one. So no .link file is needed.
"""

from typing import NamedTuple

from airavata_runbook.hosts.links import NETWORK_MANAGER, NETWORKD, OWN_FILE, VETH
from airavata_runbook.wellknown import BRIDGE, TUNNEL

INTERFACES = (BRIDGE, TUNNEL, f"{VETH}*")
WHY = "# The interfaces of pods belong to flannel and the CNI plugins.\n"
GLOBS = "|".join(INTERFACES)


class Manager(NamedTuple):
    """path and text: of its file. managed: shell that prints the pods' interfaces that it manages now. reload: the command by
    which it reads its files again. release: the command where it keeps one nevertheless, "" for none.
    """

    path: str
    text: str
    managed: str
    reload: str
    release: str = ""


def _of_pods(names: str) -> str:
    return f"{names} | while read -r name; do case $name in {GLOBS}) echo $name ;; esac; done"


MANAGERS = {
    NETWORK_MANAGER: Manager(  # NetworkManager.conf(5), "Device List Format"
        "/etc/NetworkManager/conf.d/airavata-runbook.conf",
        f"{WHY}[keyfile]\nunmanaged-devices={';'.join(f'interface-name:{name}' for name in INTERFACES)}\n",
        _of_pods("nmcli -t -f DEVICE,STATE device | awk -F: '$2 != \"unmanaged\" {print $1}'"),
        "nmcli general reload conf",
        # One that it has begun to configure it keeps, also after nmcli device set NAME managed no (seen with 1.42). A restart
        # leaves the interfaces of the host as they are.
        "systemctl restart NetworkManager",
    ),
    NETWORKD: Manager(  # systemd.network(5): the first file that matches counts
        OWN_FILE,
        f"{WHY}[Match]\nName={' '.join(INTERFACES)}\n\n[Link]\nUnmanaged=yes\n",
        _of_pods("networkctl list --no-legend --no-pager | awk '$5 != \"unmanaged\" {print $2}'"),
        "networkctl reload",
    ),
}
