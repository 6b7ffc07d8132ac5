"""SELinux contexts of files, where SELinux is on: the policy's own for most, and one more rule of ours for folders of pods.

Whether SELinux enforces is never changed. What needs which context, of the policies selinux-policy and container-selinux:

- programs of packages: bin_t, but kubelet_exec_t, and container_runtime_exec_t for containerd, its shim and runc (container.fc).
  rpm gives them these when it installs them, if the policy is there first.
- /etc/kubernetes kubernetes_file_t, /etc/containerd container_config_t, /run/flannel container_var_run_t, /var/lib/kubelet and
  /var/lib/containerd container_var_lib_t, its snapshots container_file_t (container.fc); /opt/cni/bin bin_t (selinux-policy).
- folders of local volumes: container_file_t. The container runtime gives it to them, with the categories of the pod, whenever
  a container starts, as the kubelet asks of volumes that support SELinux: local ones, emptyDir, Secrets and others, never
  hostPath (pkg/volume/local/local.go, GetAttributes; "Efficient SELinux volume relabeling", kubernetes.io/blog, 2023-04-18). A
  rule of the policy lets them keep it when an admin has all files relabelled while a pod runs (semanage-fcontext(8)).
- the registry's folder and etcd's: none, as their servers are unconfined_service_t. No boolean is needed: no container is
  privileged, runs systemd or uses a device.

Known from these documents only: there was no host with SELinux to try them on.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.hosts.selinux import LOOK, knows_containers

CONTAINER_FILE = "container_file_t"
LOCAL_RULES = Touch("lines", "/etc/selinux/*/contexts/files/file_contexts.local")  # of semanage
STORE = Touch("folder", "/var/lib/selinux", by="semanage", stays="the policy's own")


@dataclass(frozen=True)
class ContainerPolicy:
    """SELinux's policy for containers, and semanage, which adds to a policy. install: the command that brings both.
    environment: as of Packages.
    """

    install: str
    environment: str = ""
    label = "SELinux policy for containers"

    def footprint(self) -> Footprint:
        names = self.install.partition(" install ")[2].split()
        return [Touch("package", name, stays="installed, as others may use it by then") for name in names]

    def probe(self) -> str:
        return f"{LOOK}; command -v semanage || true"

    def change(self, found: Found, context: Context) -> Change | None:
        missing = [] if knows_containers(found.text) else ["the policy knows no containers"]
        missing += [] if "semanage" in found.text else ["there is no semanage"]
        if not missing:
            return None
        before = f". {self.environment}\n" if self.environment else ""
        detail = "".join(f"{line}\n" for line in missing)
        return Change("install", detail, script=f"{before}{self.install} >&2\n", shown=before + self.install)


@dataclass(frozen=True)
class Contexts:
    """Files and folders, with all below these, have the context of the policy. what: they are called so. after: what else than
    a change of one of the paths makes it necessary to look again.
    """

    what: str
    paths: Sequence[str]
    after: Sequence[str] = ()

    @property
    def label(self) -> str:
        return f"SELinux contexts of {self.what}"

    def footprint(self) -> Footprint:
        return ()  # labels of files that others have in the list

    def probe(self) -> str:
        return self._each("restorecon -n -v -R")

    def change(self, found: Found, context: Context) -> Change | None:
        if found.status:
            raise ValueError(f"exit status {found.status}")
        touched = any(one in self.after or one.startswith(tuple(self.paths)) for one in context.touched)
        if not found.text.strip() and not touched:
            return None
        return Change("restore", found.text, script=self._each("restorecon -R"), shown=f"restorecon -R {quote(*self.paths)}")

    def _each(self, command: str) -> str:
        return f'for path in {quote(*self.paths)}; do test ! -e "$path" || {command} "$path" || exit; done\n'


@dataclass(frozen=True)
class FileContext:
    """The policy, and the folder itself, have this type for a folder and all below it. It exists when the change is made."""

    path: str
    type: str = CONTAINER_FILE

    @property
    def label(self) -> str:
        return f"SELinux context of {self.path}"

    @property
    def pattern(self) -> str:
        """As semanage takes paths: a regular expression."""
        return re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", self.path) + "(/.*)?"

    def footprint(self) -> Footprint:
        return LOCAL_RULES, STORE

    def probe(self) -> str:
        path = quote(self.path)
        return f"echo policy $(matchpathcon -n {path}); test ! -e {path} || echo folder $(stat -c %C {path})"

    def change(self, found: Found, context: Context) -> Change | None:
        contexts = dict(line.split(" ", 1) for line in found.text.splitlines())
        types = {what: (one.split(":") + ["", "", ""])[2] for what, one in contexts.items()}
        if types["policy"] == types.get("folder") == self.type:
            return None
        rule = f"-t {self.type} {quote(self.pattern)}"
        add = f"semanage fcontext -a {rule} || semanage fcontext -m {rule}\n" if types["policy"] != self.type else ""
        detail = "".join(f"{what} {found or 'none'} → {self.type}\n" for what, found in types.items() if found != self.type)
        return Change("set", detail, script=f"{add}restorecon -R {quote(self.path)}\n")


def without_rule(path: str) -> tuple[str, str]:
    """Shell that prints our rule of the policy for a folder, and shell that removes it; of no use where semanage is missing."""
    pattern = FileContext(path).pattern
    rules = "! command -v semanage > /dev/null || semanage fcontext -l -C -n"
    return f"rules=$({rules})\nprintf '%s\\n' \"$rules\" | awk '{{print $1}}' | grep -xF {quote(pattern)} || true", (
        f"semanage fcontext -d {quote(pattern)}"
    )
