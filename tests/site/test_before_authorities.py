"""A site as the runbook made it until 2026-11, when one authority signed everything: a run takes it over."""

from airavata_runbook.cluster.session import session_of
from airavata_runbook.hosts.host import Host
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from airavata_runbook.wellknown import CLUSTER_CA, PKI
from tests.full_picture import etcdctl, over_ssh
from tests.site.conftest import actions, report, runbook

NEW = ("etcd", "services-ca.crt", "services-ca.key", "apiserver-etcd-client.crt", "apiserver-etcd-client.key")
OLD_PATHS = (
    "s#pki/etcd/server#pki/etcd#; s#pki/etcd/flannel#pki/flannel#g; s#pki/etcd/ca.crt#pki/ca.crt#g; "
    "s#pki/apiserver-etcd-client#pki/etcd-client#; /etcd-compaction-interval/d"
)


def write(host: Host, path: str, content: bytes) -> None:
    done = host.run(f"umask 077; cat > {path} <<'END'\n{content.decode()}END\n")
    assert done.status == 0, done.last_lines


def make_earlier_layout(site) -> None:
    """One authority for all, etcd without users, an admin in system:masters."""
    session = session_of(site)
    session.vault.forget()
    authority, master = session.vault.authority(CLUSTER_CA), session.master
    address = str(site.master.address)
    subjects = {
        "etcd": Subject("etcd", dns=("localhost", site.master.name), ips=(address, "127.0.0.1")),
        "etcd-client": Subject("etcd-client", usages=("client",)),
        "admin": Subject("admin", "system:masters", usages=("client",)),
        "apiserver-kubelet-client": Subject("kube-apiserver-kubelet-client", "system:masters", usages=("client",)),
    }
    flannel = Subject("flannel", usages=("client",))
    pairs = [(master, name, subject) for name, subject in subjects.items()]
    for host, name, subject in [*pairs, *((host, "flannel", flannel) for host in session.hosts.values())]:
        pair = pki.issue(authority, subject)
        write(host, f"{PKI}/{name}.crt", pair.cert)
        write(host, f"{PKI}/{name}.key", pair.key)
    etcdctl(site, "auth disable")
    over_ssh(
        site,
        site.master.name,
        f"""set -e
kubectl --cache-dir /tmp/kubectl --kubeconfig /etc/kubernetes/super-admin.conf delete clusterrolebinding \
    airavata-runbook:cluster-admins airavata-runbook:kubelet-client
sed -i '{OLD_PATHS}' /etc/etcd/etcd.conf /etc/kubernetes/apiserver
systemctl kill --signal=KILL kube-apiserver  # it would wait for requests that etcd no longer answers
systemctl restart etcd
systemctl restart kube-apiserver
rm -rf /etc/kubernetes/super-admin.conf {PKI}/super-admin.* """
        + " ".join(f"{PKI}/{name}" for name in NEW if name != "etcd"),
        timeout=300,
    )
    for name in session.hosts:
        over_ssh(
            site, name, f"set -e; sed -i '{OLD_PATHS}' /etc/sysconfig/flanneld; systemctl restart flanneld; rm -rf {PKI}/etcd"
        )


def test_a_site_with_one_authority_is_taken_over(first, site_file, site):
    make_earlier_layout(site)
    assert runbook("plan", site_file).returncode == 0
    planned = actions(report(site, "latest-plan"), "would change")
    assert ("02-install", "authorities", site.master.name, "certificate authority etcd/ca") in planned
    assert ("03-etcd-flannel", "superseded", site.master.name, "no superseded certificate") in planned

    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    left = over_ssh(site, site.master.name, f"ls {PKI}/etcd.crt {PKI}/etcd-client.key {PKI}/flannel.key 2>/dev/null || true")
    assert left.strip() == ""
    assert '"enabled":true' in etcdctl(site, "auth status -w json")

    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert actions(report(site), "changed") == {}
