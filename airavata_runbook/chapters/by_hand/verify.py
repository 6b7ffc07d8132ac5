"""Chapter 06 by hand: what an admin looks at on a running site."""

from shlex import quote

from airavata_runbook.chapters.by_hand import etcd_flannel
from airavata_runbook.chapters.by_hand import registry as registry_by_hand
from airavata_runbook.chapters.by_hand.shell import SERVICES, STATUS, here, kubectl, on, on_each
from airavata_runbook.engine.by_hand import ByHand
from airavata_runbook.site import Site
from airavata_runbook.site.stack_file import parts_of, runs
from airavata_runbook.wellknown import API_PORT, CLUSTER_CA, PKI

NETCHECK = "kubectl -n kube-system exec daemonset/netcheck -- netcheck ask"
MONTH = 30 * 86400  # seconds


def nodes(site: Site) -> ByHand:
    return ByHand(check=(kubectl(site, "kubectl get nodes -o wide"),))


def pods(site: Site) -> ByHand:
    return ByHand(check=(kubectl(site, "kubectl get pods --all-namespaces -o wide"),))


def images(site: Site) -> ByHand:
    columns = "POD:.metadata.name,RUNS:.status.containerStatuses[*].imageID"
    return ByHand(check=(kubectl(site, f"kubectl -n {site.airavata.namespace} get pods -o custom-columns='{columns}'"),))


def units(site: Site) -> ByHand:
    return ByHand(check=(on_each(site, "systemctl --failed", "df -h / /var/lib /var/lib/containerd"),))


def leases(site: Site) -> ByHand:
    return etcd_flannel.leases(site)


def pod_to_pod(site: Site) -> ByHand:
    addresses = "kubectl -n kube-system get pods -l app.kubernetes.io/name=netcheck -o jsonpath='{.items[*].status.podIP}'"
    looks = (
        "kubectl -n kube-system get pods -l app.kubernetes.io/name=netcheck -o wide",
        f"for address in $({addresses}); do {NETCHECK} http://$address:8080/; done",
    )
    return ByHand(check=(kubectl(site, *looks),))


def services(site: Site) -> ByHand:
    domain = site.network.domain
    looks = (
        f"{NETCHECK} kubernetes.default.svc.{domain} mariadb.{site.airavata.namespace}.svc.{domain}",
        f"{NETCHECK} http://netcheck.kube-system.svc.{domain}:8080/",
        "kubectl -n kube-system get service,endpointslices",
    )
    return ByHand(check=(kubectl(site, *looks),))


def registry_authentication(site: Site) -> ByHand:
    return registry_by_hand.authentication(site)


def certificates(site: Site) -> ByHand:
    files = f"{PKI}/*.crt {PKI}/etcd/*.crt"
    look = f"for file in {files}; do openssl x509 -noout -enddate -checkend {MONTH} -in $file; done"
    return ByHand(check=(on_each(site, look),))


def served_certificates(site: Site) -> ByHand:
    """Of the API server; the same for any server with its own port and authority."""
    look = "openssl x509 -noout -fingerprint -sha256"
    looks = (
        f"openssl s_client -connect 127.0.0.1:{API_PORT} -CAfile {PKI}/{CLUSTER_CA}.crt -verify_return_error "
        f"< /dev/null 2> /dev/null | {look}",
        f"{look} -in {PKI}/apiserver.crt  # the same",
    )
    return ByHand(check=(on(site, site.master, *looks),))


def portal(site: Site) -> ByHand | None:
    if not _runs(site, "portal"):
        return None
    looks = [f"{STATUS} --cacert {SERVICES} {_portal(site, str(node.address))}  # {node.name}: 200" for node in site.nodes]
    return ByHand(check=(on(site, site.master, *looks),))


def browser(site: Site) -> ByHand | None:
    if not _runs(site, "portal"):
        return None
    url = _portal(site, str(site.master.address))
    return ByHand(
        do=(here(f"xdg-open {url}  # from where the port can be reached; the authority to trust is {SERVICES} on the master"),),
        check=(on(site, site.master, f"curl -s --cacert {SERVICES} {url} | grep {quote(site.airavata.gateway)}"),),
    )


def servers(site: Site) -> ByHand | None:
    """The calls are the SDK's; by hand one sees that the server takes connections, and what it says of them."""
    name = _api(site)
    if not name:
        return None
    space, port = site.airavata.namespace, site.airavata.api_node_port
    looks = (
        f"openssl s_client -brief -connect {site.master.address}:{port} -CAfile {SERVICES} -verify_return_error < /dev/null",
        f"kubectl -n {space} logs deployment/{name} --tail=5",
    )
    return ByHand(check=(kubectl(site, *looks),))


def spread(site: Site) -> ByHand | None:
    if not _runs(site, "api-server"):
        return None
    space = site.airavata.namespace
    looks = (
        f"kubectl -n {space} get endpointslices -l kubernetes.io/service-name=api-server",
        f"kubectl -n {space} logs -l app.kubernetes.io/name=api-server --prefix --tail=-1 "
        "| grep 'call getAPIVersion' | cut -d ' ' -f 1 | sort | uniq -c",
    )
    return ByHand(check=(kubectl(site, *looks),))


def replica_killed(site: Site) -> ByHand | None:
    if not _runs(site, "api-server"):
        return None
    space = site.airavata.namespace
    one = f"kubectl -n {space} get pods -l app.kubernetes.io/name=api-server -o name | head -n 1"
    looks = (
        f"kubectl -n {space} rollout status deployment/api-server --timeout=60s",
        f"kubectl -n {space} get pods -l app.kubernetes.io/name=api-server -o wide  # one is younger",
    )
    return ByHand(do=(kubectl(site, f"kubectl -n {space} delete $({one})"),), check=(kubectl(site, *looks),))


def database_restarted(site: Site) -> ByHand | None:
    if not _runs(site, "mariadb"):
        return None
    space = site.airavata.namespace
    looks = (
        f"kubectl -n {space} rollout status statefulset/mariadb --timeout=60s",
        f"kubectl -n {space} exec statefulset/mariadb -- mariadb-ready",
    )
    return ByHand(do=(kubectl(site, f"kubectl -n {space} delete pod mariadb-0"),), check=(kubectl(site, *looks),))


def _portal(site: Site, address: str) -> str:
    return f"https://{address}:{site.airavata.portal_node_port}/"


def _runs(site: Site, name: str) -> bool:
    return any(one.name == name and runs(one, site.airavata) for one in parts_of(site.airavata))


def _api(site: Site) -> str:
    """The component that serves the API outside of the cluster; "" where none runs."""
    return next((name for name in ("api-server", "airavata-server") if _runs(site, name)), "")
