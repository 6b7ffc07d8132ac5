"""Chapter 02 by hand: packages, certificates by openssl, files by an editor."""

from shlex import quote

from airavata_runbook.chapters.by_hand.shell import ADMIN, example, on, on_each
from airavata_runbook.configs import control_plane, node
from airavata_runbook.engine.by_hand import ByHand
from airavata_runbook.mirror import catalogue
from airavata_runbook.pki.types import Subject
from airavata_runbook.site import Site
from airavata_runbook.wellknown import API_PORT, CLUSTER_CA, ETCD_CA, PKI, SECRETS, SERVICES_CA

NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"


def repository_key(site: Site) -> ByHand:
    """A site with a repository of its own gives the path of its key."""
    if not site.repository.folder:
        return ByHand(check=(on_each(site, f"ls -l {quote(str(site.repository.gpgkey))}"),))
    return ByHand(
        do=(
            on(site, site.master, f"gpg --quick-generate-key {quote(f'airavata-runbook, site {site.name}')} ed25519 sign never"),
        ),
        check=(on(site, site.master, f"ls -l {SECRETS}/repository*.key  # -rw-------, root"),),
    )


def repository(site: Site) -> ByHand:
    one, folder = site.repository, site.repository.folder
    apt, dnf = f"/etc/apt/sources.list.d/{one.id}.list", f"/etc/yum.repos.d/{one.id}.repo"
    do, looks = [f"vi {apt}  # Rocky Linux, CentOS: {dnf}"], [f"cat {apt} 2> /dev/null || cat {dnf}"]
    if folder:
        index = f"cd {quote(folder)} && apt-ftparchive packages . > Packages  # of apt-utils; the packages are there already"
        do = [index, "apt-ftparchive release . > Release && gpg --clearsign -o InRelease Release", *do]
        looks = [*looks, f"ls -l {quote(folder)}"]
    return ByHand(do=(on_each(site, *do),), check=(on_each(site, *looks),))


def packages(site: Site) -> ByHand:
    names = " ".join(catalogue.of_host(site, example(site)))
    do = (
        f"apt-get update && apt-get install --no-install-recommends {names}",
        f"dnf install --enablerepo={site.repository.id} {names}  # on Rocky Linux, CentOS",
    )
    looks = ("kubelet --version", "containerd --version", "flanneld --version")
    master = ("kube-apiserver --version", "etcd --version")
    return ByHand(
        do=(on_each(site, *do),),
        check=(on_each(site, *looks), on(site, site.master, *master)),
    )


def host_settings(site: Site) -> ByHand:
    lines = " ".join(map(quote, node.hosts(site)))
    settings = " ".join(quote(f"{name} = {value}") for name, value in node.SYSCTLS.items())
    do = (
        f"printf '%s\\n' {lines} >> /etc/hosts",
        "echo br_netfilter > /etc/modules-load.d/airavata-runbook.conf; modprobe br_netfilter",
        f"printf '%s\\n' {settings} > /etc/sysctl.d/90-airavata-runbook.conf; sysctl --system",
    )
    looks = (f"getent ahostsv4 {site.registry.name}", f"sysctl {' '.join(node.SYSCTLS)}")
    return ByHand(do=(on_each(site, *do),), check=(on_each(site, *looks),))


def authorities(site: Site) -> ByHand:
    names = (CLUSTER_CA, ETCD_CA, "front-proxy-ca", SERVICES_CA)
    do = (
        f"umask 077; mkdir -p {PKI}/etcd; cd {PKI}",
        f"openssl req -x509 {NEW_KEY} -days 3650 -subj {quote(f'/CN={site.name} authority')} -keyout ca.key -out ca.crt",
        f"# and so on for {', '.join(names[1:])}",
        "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out service-accounts.key",
    )
    looks = (f"openssl x509 -noout -subject -enddate -in {PKI}/ca.crt", f"ls -l {PKI}/*.key  # -rw-------, root")
    return ByHand(do=(on(site, site.master, *do),), check=(on(site, site.master, *looks),))


def control_plane_certificates(site: Site) -> ByHand:
    do = (f"cd {PKI}", *_issue("apiserver", control_plane.certificates(site)["apiserver"]))
    looks = (
        f"openssl verify -CAfile {PKI}/ca.crt {PKI}/apiserver.crt {PKI}/admin.crt {PKI}/scheduler.crt",
        f"openssl verify -CAfile {PKI}/{ETCD_CA}.crt {PKI}/etcd/server.crt {PKI}/apiserver-etcd-client.crt",
        f"openssl x509 -noout -subject -ext subjectAltName -in {PKI}/apiserver.crt",
    )
    return ByHand(do=(on(site, site.master, *do),), check=(on(site, site.master, *looks),))


def host_certificates(site: Site) -> ByHand:
    request, sign = _issue("kubelet", node.certificates(site, example(site))["kubelet"])
    looks = (
        f"openssl verify -CAfile {PKI}/ca.crt {PKI}/kubelet.crt {PKI}/kube-proxy.crt",
        f"openssl x509 -noout -subject -ext subjectAltName -in {PKI}/kubelet.crt",
    )
    signing = f"cd {PKI} && {sign}  # kubelet.csr is brought here, kubelet.crt back: the key stays where it was made"
    return ByHand(
        do=(on_each(site, f"cd {PKI} && {request}"), on(site, site.master, signing)),
        check=(on_each(site, *looks),),
    )


def control_plane_files(site: Site) -> ByHand:
    do = (
        "vi /etc/etcd/etcd.conf /etc/kubernetes/apiserver /etc/kubernetes/controller-manager /etc/kubernetes/scheduler",
        f"export KUBECONFIG={ADMIN}  # and so on for the other kubeconfigs",
        f"kubectl config set-cluster {site.name} --server https://127.0.0.1:{API_PORT} --certificate-authority {PKI}/ca.crt",
        f"kubectl config set-credentials admin --client-certificate {PKI}/admin.crt --client-key {PKI}/admin.key",
        f"kubectl config set-context admin --cluster {site.name} --user admin; kubectl config use-context admin",
    )
    looks = (
        "grep -v '^#' /etc/etcd/etcd.conf",
        "grep -v '^#' /etc/kubernetes/apiserver",
        "ls -l /etc/kubernetes/*.conf  # -rw-------, root",
    )
    return ByHand(do=(on(site, site.master, *do),), check=(on(site, site.master, *looks),))


def host_files(site: Site) -> ByHand:
    do = (
        "vi /etc/kubernetes/config /etc/kubernetes/kubelet /etc/kubernetes/kubelet.yaml /etc/kubernetes/proxy.yaml",
        f"vi /etc/sysconfig/flanneld {node.containerd_file(site)}",
    )
    looks = (
        f"grep -- --hostname-override={example(site).address} /etc/kubernetes/kubelet",
        f"grep -F {quote(site.network.etcd_prefix)} /etc/sysconfig/flanneld",
        f"cat {node.containerd_file(site)}",
    )
    return ByHand(do=(on_each(site, *do),), check=(on_each(site, *looks),))


def _issue(name: str, subject: Subject) -> tuple[str, str]:
    """The commands that make a key with a request for a certificate, and that sign it."""
    group = f"/O={subject.organization}" if subject.organization else ""
    names = ",".join([*(f"DNS:{one}" for one in subject.dns), *(f"IP:{one}" for one in subject.ips)])
    usages = ",".join(f"{use}Auth" for use in subject.usages)
    request = (
        f"openssl req -new {NEW_KEY} -keyout {name}.key -out {name}.csr -subj {quote(f'{group}/CN={subject.common_name}')} "
        f"-addext {quote(f'subjectAltName={names}')} -addext extendedKeyUsage={usages}"
    )
    sign = f"openssl x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -days 365 -copy_extensions copy -out {name}.crt"
    return request, sign
