"""The scheduler's certificate has expired: what runs goes on, and no new pod gets a host."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airavata_runbook.chapters import airavata, etcd_flannel, install
from airavata_runbook.exercises import goals
from airavata_runbook.exercises.task import Command, Goal, Lab, Task
from airavata_runbook.pki.types import Pair
from airavata_runbook.wellknown import CLUSTER_CA, PKI

CERTIFICATE, KEY = f"{PKI}/scheduler.crt", f"{PKI}/scheduler.key"
DAYS = 365


def expired(certificate: bytes, authority: Pair) -> bytes:
    """The same certificate of the same authority, as PEM, but for the year that ended yesterday."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    old, ca = x509.load_pem_x509_certificate(certificate), x509.load_pem_x509_certificate(authority.cert)
    key: Any = serialization.load_pem_private_key(authority.key, None)
    end = datetime.now(UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder(
        ca.subject, old.subject, old.public_key(), x509.random_serial_number(), end - timedelta(days=DAYS), end
    )
    for one in old.extensions:
        builder = builder.add_extension(one.value, one.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def breaks(lab: Lab) -> Iterator[Command]:
    vault = lab.session.vault
    old = expired(vault.pair(f"{PKI}/scheduler").cert, vault.authority(CLUSTER_CA))
    yield lab.on_master(f"cat > {CERTIFICATE} <<'END'\n{old.decode()}END\nsystemctl restart kube-scheduler")
    yield lab.kubectl(f"kubectl -n {lab.namespace} delete pods --wait=false -l app.kubernetes.io/name=portal")


def aims(lab: Lab) -> Iterator[Goal]:
    valid = f"openssl x509 -checkend 0 -enddate -noout -in {CERTIFICATE}"
    yield goals.true_on(lab, lab.master, "the scheduler's certificate is valid", valid)
    yield goals.service_runs(lab, lab.master, "kube-scheduler")
    yield goals.workload_ready(lab, "Deployment", lab.namespace, "portal")


def look(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(
        f"""\
kubectl -n {lab.namespace} get pods -l app.kubernetes.io/name=portal -o wide
kubectl -n {lab.namespace} describe pods -l app.kubernetes.io/name=portal | sed -n '/^Node:/p; /^Events/,$p'"""
    )
    yield lab.on_master(
        f"""\
journalctl --no-pager -u kube-scheduler -n 10
journalctl --no-pager -u kube-apiserver -n 10
grep client-certificate /etc/kubernetes/scheduler.conf
for file in {PKI}/*.crt; do echo "$(openssl x509 -enddate -noout -in $file) $file"; done"""
    )


def solution(lab: Lab) -> Iterator[Command]:
    yield lab.on_master(
        f"""\
cd {PKI}
extensions=/run/scheduler.ext
openssl req -new -key scheduler.key -subj /CN=system:kube-scheduler -out /run/scheduler.csr
printf '%s\\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature extendedKeyUsage=clientAuth > $extensions
openssl x509 -req -in /run/scheduler.csr -CA ca.crt -CAkey ca.key -days {DAYS} -extfile $extensions -out scheduler.crt
rm /run/scheduler.csr $extensions
systemctl restart kube-scheduler"""
    )


TASK = Task(
    title="A pod that gets no host",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "The new pod is Pending, has no node, and not a single event. Who gives a pod its node, and would say why it does not?",
        "kube-scheduler runs, but the API server refuses it: see both journals. By what does the API server know who it is?",
        f"Its client certificate {CERTIFICATE} expired yesterday. Issue it again with openssl, from its key and the authority "
        f"{CLUSTER_CA}.crt and .key beside it, for CN=system:kube-scheduler and clientAuth, and restart kube-scheduler.",
    ),
    cause="The client certificate of kube-scheduler has expired. The API server answers it with 401 Unauthorized, so that it "
    "sees no pods; running pods need no scheduler. The same happens to every cluster whose certificates nobody "
    "renews: a run of the runbook does, thirty days before.",
    solution=solution,
    steps=(install.control_plane_certificates, etcd_flannel.controllers, airavata.servers),
    component="portal",
)
