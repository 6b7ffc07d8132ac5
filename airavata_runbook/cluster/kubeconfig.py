"""A kubeconfig: its text, and the file of it that this machine keeps."""

import base64
import os
import tempfile
from pathlib import Path

import yaml

from airavata_runbook.cluster.session import Session
from airavata_runbook.local import paths
from airavata_runbook.pki.types import Pair


def kubeconfig(server: str, ca: bytes, pair: Pair, user: str, cluster: str, tls_server_name: str | None = None) -> str:
    """A kubeconfig as YAML with everything embedded; it holds the private key: mode 600 where it is written.

    server: https URL. ca: PEM of the cluster's CA. tls_server_name: the name that the API server's certificate is
    checked against when it is reached by another address, such as a forward.
    """

    def data(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    target = {"server": server, "certificate-authority-data": data(ca)}
    if tls_server_name:
        target["tls-server-name"] = tls_server_name
    context = f"{user}@{cluster}"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "clusters": [{"name": cluster, "cluster": target}],
            "users": [{"name": user, "user": {"client-certificate-data": data(pair.cert), "client-key-data": data(pair.key)}}],
            "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        },
        sort_keys=False,
    )


def write_kubeconfig(session: Session, server: str) -> Path:
    """The path of a kubeconfig for the site's admin, mode 600, in the state folder, made anew from the master."""
    name = session.site.name
    text = kubeconfig(server, session.vault.authority().cert, session.vault.admin(), "admin", name)
    folder = paths.state_dir() / "sites" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:  # mode 600 from the start
        file.write(text)
    path = folder / "kubeconfig.yaml"
    os.replace(file.name, path)
    return path
