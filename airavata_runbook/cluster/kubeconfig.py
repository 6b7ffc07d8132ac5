"""A kubeconfig: its text, and its file on this machine."""

import base64
from pathlib import Path

from airavata_runbook.cluster.session import Session
from airavata_runbook.local import paths
from airavata_runbook.local.files import write_file
from airavata_runbook.pki.types import Pair
from airavata_runbook.serialise import yaml_text


def kubeconfig(server: str, ca: bytes, pair: Pair, user: str, cluster: str) -> str:
    """A kubeconfig as YAML with all certificates embedded, and the private key: write it with mode 600.

    server: https URL. ca: PEM of the cluster's CA. pair: the user's client certificate.
    """

    def data(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    context = f"{user}@{cluster}"
    return yaml_text(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": data(ca)}}],
            "users": [{"name": user, "user": {"client-certificate-data": data(pair.cert), "client-key-data": data(pair.key)}}],
            "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        }
    )


def site_folder(name: str) -> Path:
    """The folder for a site's kubeconfig and forward on this machine, mode 700."""
    folder = paths.state_dir() / "sites" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def write_kubeconfig(session: Session, server: str) -> Path:
    """Write the kubeconfig of the site's admin, mode 600, in the state folder; returns its path."""
    name = session.site.name
    text = kubeconfig(server, session.vault.authority().cert, session.vault.admin(), "admin", name)
    path = site_folder(name) / "kubeconfig.yaml"
    write_file(path, text.encode(), 0o600)
    return path
