"""Why a service of a host does not run or does not work, from systemd and its journal, and what a node reports, whole.

Sources: systemctl(1), systemd.service(5); klog's line format; the JSON of etcd's logger; logrus' key=value text.
"""

import json
import re
import shlex
from functools import partial

from airavata_runbook.cluster.causes import Cause
from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import counted
from airavata_runbook.hosts.host import Host

CNI = "/etc/cni/net.d"
RECENT = "-30s"  # of the journal
AGAIN = 3  # times that the same error is logged in that time: it is not by chance
ERRORS = 5  # shown, each whole
# klog: level, date, time, process, file:line] message. The programs of Kubernetes, and flanneld.
KLOG = re.compile(r"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [^]]+\] (?P<text>.*)")
LOGRUS = re.compile(r'(time="[^"]*" )?level=(?P<level>\w+) (?P<text>.*)')  # containerd and the registry
BAD = ("e", "f", "error", "fatal", "panic")
TROUBLE = re.compile(r"(?i)\berror|panic|fatal|denied|no space")  # in a line of a program that names no level


def service_causes(host: Host, name: str) -> list[Cause]:
    """The causes for which a service does not run, or logs errors again and again; [] when it does neither.

    Only errors of its present process count: one that is being stopped logs many.
    """
    unit = shlex.quote(f"{name}.service")
    own = f"_SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID {unit})"
    printed = host.run(
        f"systemctl show -p ActiveState,SubState,Result,NRestarts,ExecMainStatus {unit}; echo; {_journal(own, RECENT)}"
    )
    state, _, log = printed.text.partition("\n\n")
    values = dict(line.split("=", 1) for line in state.splitlines() if "=" in line)
    of, command = f"service {name} on {host.name}", f"journalctl -u {name}"
    exits, details = int(values.get("NRestarts") or 0), partial(last_errors, host, name)
    why = f"{values.get('Result')}, exit status {values.get('ExecMainStatus')}"
    if values.get("ActiveState") == "failed":
        return [Cause("unit failed", of, f"failed ({why})", exits, details=details, command=command)]
    if values.get("ActiveState") == "inactive":
        return [Cause("unit stopped", of, f"inactive ({values.get('SubState')})", details=details, command=command)]
    if exits:  # also while it is just started again; old exits end no wait
        text = f"{values.get('SubState')}, exited {counted(exits, 'time')}, last {why}"
        return [Cause("unit exits", of, text, exits, details=details, command=command)]
    if values.get("ActiveState") == "deactivating":
        return []
    if repeated := [line for line, times in _errors(log).items() if times >= AGAIN]:
        return [Cause("unit logs errors", of, "it logs again and again:", details=partial("\n".join, repeated), command=command)]
    return []


def control_plane_causes(session: Session) -> list[Cause]:
    """The causes for which the API server does not answer."""
    return [cause for name in ("etcd", "kube-apiserver") for cause in service_causes(session.master, name)]


def last_errors(host: Host, name: str) -> str:
    """The last errors in the journal of a service, each whole and once; or else its last lines."""
    log = host.run(_journal(f"-u {shlex.quote(name)}", "-2min")).text
    errors = list(_errors(log))
    shown = errors[-ERRORS:] or log.splitlines()[-ERRORS:]
    left = len(errors) - len(shown)
    return "\n".join([*([f"({left} other errors before: journalctl -u {name})"] if left > 0 else []), *shown])


def node_causes(session: Session, host: Host) -> list[Cause]:
    """The causes for which the host's node is not registered or not Ready. The API server's own are not among them."""
    found = [cause for name in ("kubelet", "containerd") for cause in service_causes(host, name)]
    address = str(host.node.address)
    of, command = f"node {address}", f"journalctl -u kubelet on {host.name}"
    try:
        conditions = session.kube().core.read_node(address).status.conditions or ()
    except ApiError as error:
        if error.status != 404 or any(cause.kind == "unit failed" for cause in found):
            return found
        details = partial(last_errors, host, "kubelet")
        text = "the kubelet has not registered it; its errors:"
        return [*found, Cause("node not registered", of, text, details=details, command=command)]
    details = partial(network_configuration, session, address)
    return found + [
        Cause("node not ready", of, f"{one.reason}: {one.message}", details=details, command=f"kubectl describe node {address}")
        for one in conditions
        if one.type == "Ready" and one.status != "True"
    ]


def network_configuration(session: Session, node: str) -> str:
    """The CNI configurations of a node's host in containerd's order, the first one whole. node: its name."""
    host = next((host for host in session.hosts.values() if str(host.node.address) == node), None)
    if host is None:
        return ""
    script = f'cd {CNI} || exit; files=$(ls | grep -E "[.](conf|conflist|json)$"); echo $files; cat $(echo "$files" | head -n 1)'
    names, _, content = host.run(script).text.partition("\n")
    return f"{CNI} on {host.name}: {names}, the first of which is\n{content}" if names else f"no CNI configuration in {CNI}"


def _journal(match: str, since: str) -> str:
    return f"journalctl {match} --since={since} -n 2000 --no-pager -o cat -q"


def _errors(log: str) -> dict[str, int]:
    """The errors in a log without their time, the last one last → how often each was logged."""
    found: dict[str, int] = {}
    for line in log.splitlines():
        if text := _error(line):
            found[text] = found.pop(text, 0) + 1
    return found


def _error(line: str) -> str:
    """The text of a line that is logged as an error, or, of a program that names no level, reads like one; else ""."""
    if match := KLOG.fullmatch(line) or LOGRUS.fullmatch(line):
        return match["text"] if match["level"].lower() in BAD else ""
    try:
        parts = json.loads(line)
        level = str(parts.pop("level")).lower()
        return json.dumps({key: value for key, value in parts.items() if key != "ts"}) if level in BAD else ""
    except (ValueError, LookupError, TypeError, AttributeError):
        return line if TROUBLE.search(line) else ""
