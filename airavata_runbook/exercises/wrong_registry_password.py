"""A host that cannot pull: the password of its containerd and that of the pods' pull Secret are wrong."""

import base64
import json
from collections.abc import Iterator

from airavata_runbook.chapters import registry
from airavata_runbook.exercises import goals
from airavata_runbook.exercises.task import NETCHECK, Command, Goal, Lab, Task
from airavata_runbook.wellknown import PULL_USER

WRONG = base64.b64encode(f"{PULL_USER}:not-the-password".encode()).decode()
FILES = f"{registry.CERTS}/*/hosts.toml"
OLD = ".2026-11-29"  # the end of the files' old names
SYSTEM = "kube-system"


def breaks(lab: Lab) -> Iterator[Command]:
    login = json.dumps({"auths": {lab.site.registry_address: {"auth": WRONG}}})
    patch = json.dumps({"data": {".dockerconfigjson": base64.b64encode(login.encode()).decode()}})
    yield lab.on_worker(f"sed -i{OLD} 's#authorization = .*#authorization = \"Basic {WRONG}\"#' {FILES}")
    yield lab.kubectl(f"kubectl -n {SYSTEM} patch secret registry -p '{patch}'")
    yield lab.on_worker("crictl rmi $(crictl images | awk '$1 ~ \"/toolbox$\" {print $3}' | sort -u) > /dev/null")
    yield lab.kubectl(f"kubectl delete pods --wait=false {lab.netcheck(lab.worker)}")


def aims(lab: Lab) -> Iterator[Goal]:
    site = lab.site
    ask = (
        f"for file in {FILES}; do login=$(sed -n 's/.*authorization = \"\\(.*\\)\"/\\1/p' $file)\n"
        f"status=$(printf 'header = \"Authorization: %s\"\\n' \"$login\" | curl -s -m 10 -K - -o /dev/null -w '%{{http_code}}' "
        f"--cacert {registry.CERTS}/registry-ca.crt --resolve {site.registry_pull_address}:{site.registry_node.address} "
        f"https://{site.registry_pull_address}/v2/)\n"
        'test "$status" = 200 || { echo "with the login in $file it answers HTTP $status"; exit 1; }; done'
    )

    def refused() -> str:
        data = lab.session.kube().core.read_namespaced_secret("registry", SYSTEM).data[".dockerconfigjson"]
        login = json.loads(base64.b64decode(data))["auths"][site.registry_address]["auth"]
        user, _, password = base64.b64decode(login).decode().partition(":")
        status = registry.registry_client(lab.session, password, user, site.registry_pull_port).ping()
        return "" if status == 200 else f"the registry answers HTTP {status}"

    yield goals.true_on(lab, lab.worker, f"the registry accepts the login of containerd on {lab.worker.name}", ask)
    yield Goal(f"the registry accepts the login in the Secret {SYSTEM}/registry", refused)
    yield goals.workload_ready(lab, "DaemonSet", SYSTEM, "netcheck")


def look(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(
        f"""\
kubectl get pods {NETCHECK} -o wide
kubectl -n {SYSTEM} describe $(kubectl get pods {lab.netcheck(lab.worker)} -o name) | sed -n '/^Events/,$p'
kubectl get pods {lab.netcheck(lab.worker)} -o jsonpath='{{.items[0].spec.imagePullSecrets}}'"""
    )
    yield lab.on_worker(
        "journalctl --no-pager -u containerd --since -15min | grep level=error | tail -n 2\nls -l "
        + FILES.replace("hosts.toml", "")
    )
    refused = "journalctl --no-pager -u docker-distribution-pull --since -15min | grep '\" 401 ' | tail -n 5"
    yield Command(lab.site.registry_node.name, refused)


def solution(lab: Lab) -> Iterator[Command]:
    yield lab.on_worker(f'for file in {FILES}; do mv "$file{OLD}" "$file"; done')
    yield lab.kubectl(
        f"""\
kubectl -n {lab.namespace} get secret registry -o yaml | grep -v '^  \\(namespace\\|resourceVersion\\|uid\\):' |
    kubectl -n {SYSTEM} replace -f -
kubectl delete pods {lab.netcheck(lab.worker)}"""
    )


TASK = Task(
    title="An image that cannot be pulled",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "kubectl describe pod says which image is awaited, and what the registry answered. What does that status mean?",
        "401 Unauthorized: the registry is well and refuses the login. Two places have one: the file hosts.toml of containerd on "
        "the host, and the Secret registry that the pod names as its imagePullSecret.",
        f"Somebody edited hosts.toml with sed -i{OLD}: the files as they were stand beside them. The Secret registry of the "
        "namespace of Airavata still has the right login for that of kube-system.",
    ),
    cause="The pull password was changed by hand, wrongly, in two places: in the two files hosts.toml of containerd on the "
    "worker, and in the Secret registry of kube-system. containerd tries the first, and after the registry's 401 the second, so "
    "that either alone would have done for this image. Pods that run need no image; only the next one on this host did.",
    solution=solution,
    steps=(registry.pull_settings, registry.system_pods),
    foreign=lambda lab: [lab.on_worker(f"rm -f {FILES}{OLD}")],
)
