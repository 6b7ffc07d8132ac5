"""The registry's two servers as they are configured, started here on one folder: who may pull, push and delete."""

import socket
import subprocess
import time
from contextlib import ExitStack, closing, nullcontext

import pytest

from airavata_runbook import Site
from airavata_runbook.configs import registry as configs
from airavata_runbook.images.http import Connection, RegistryError
from airavata_runbook.images.layout import open_archive
from airavata_runbook.images.registry import Registry
from airavata_runbook.mirror import build as mirror
from airavata_runbook.pki import htpasswd
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.chain import bundle
from airavata_runbook.pki.types import Subject
from tests.unit import image_samples as samples

PASSWORDS = {"admin": "canary-of-the-site", "pull": "canary-of-the-hosts"}
NOTHING = "sha256:" + "0" * 64


class Servers:
    """Both servers of a site, their folder and their clients."""

    def __init__(self, folder, maintenance: bool):
        with ExitStack() as held:
            listeners = [held.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(2)]
            ports = dict(zip(("port", "pull_port"), [one.getsockname()[1] for one in listeners], strict=True))
        settings = {f"registry.{name}": port for name, port in ports.items()}
        self.site = Site.load("lab", {**settings, "registry.root": str(folder), "registry.maintenance": maintenance})
        self.folder, self.processes = folder, []
        for name in ("auth", "cert", "data"):
            (folder / name).mkdir(parents=True)
        self.ca = pki.new_ca("Registry test CA")
        pair = pki.issue(self.ca, Subject("registry.lab", dns=("registry.lab",), usages=("server",)))
        (folder / "cert/registry-cert.crt").write_bytes(bundle(pair.cert, self.ca.cert))
        (folder / "cert/registry-cert.key").write_bytes(pair.key)
        for file, user in (("htpasswd", "admin"), ("htpasswd-pull", "pull")):
            (folder / "auth" / file).write_text(htpasswd.htpasswd_entry(user, PASSWORDS[user], rounds=4) + "\n")
        (folder / "config.yml").write_text(configs.config(self.site))
        (folder / "config-pull.yml").write_text(configs.pull_config(self.site))

    def __enter__(self):
        for name in ("config.yml", "config-pull.yml"):
            with (self.folder / f"{name}.log").open("ab") as log:
                command = [mirror.binary("registry", "registry"), "serve", self.folder / name]
                self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        return self

    def answer(self) -> "Servers":
        """Wait until both do."""
        end = time.monotonic() + 20
        for port in (self.site.registry.port, self.site.registry_pull_port):
            while True:
                try:
                    assert self.client("", port).ping() == 401
                    break
                except RegistryError as error:
                    assert time.monotonic() < end, error
                    time.sleep(0.05)
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait(10)

    def client(self, user: str, port: int) -> Registry:
        settings = {"user": user or None, "password": PASSWORDS.get(user)}
        return Registry(Connection(f"https://127.0.0.1:{port}", f"registry.lab:{port}", self.ca.cert, **settings))


def small_image(folder):
    return open_archive(samples.write_folder(folder, samples.files_of(*samples.image(samples.layer("one")))))


@pytest.mark.parametrize("maintenance", [False, True])
def test_hosts_pull_the_sites_user_pushes_and_nobody_deletes_but_in_maintenance(tmp_path, maintenance):
    layout = small_image(tmp_path / "image")
    with Servers(tmp_path / "registry", maintenance) as servers:
        servers.answer()
        port, pull_port = servers.site.registry.port, servers.site.registry_pull_port
        admin, hosts = servers.client("admin", port), servers.client("pull", pull_port)
        assert hosts.manifest_digest("api", "1") is None
        assert admin.push("api", "1", layout) == layout.digest == hosts.manifest_digest("api", "1")
        assert hosts.pull("api", layout.digest, tmp_path / "pulled").digest == layout.digest

        writes = [("POST", "/v2/api/blobs/uploads/"), ("PUT", "/v2/api/manifests/1"), ("DELETE", "/v2/api/manifests/1")]
        writes += [("DELETE", f"/v2/api/manifests/{layout.digest}"), ("DELETE", f"/v2/api/blobs/{layout.blobs[0].digest}")]
        writes += [("POST", f"/v2/other/blobs/uploads/?mount={layout.blobs[0].digest}&from=api")]
        assert {hosts.status(*write) for write in writes} == {405}
        for user, where in (("pull", port), ("admin", pull_port), ("", port), ("", pull_port)):
            client = servers.client(user, where)
            assert {client.status(*request) for request in [("GET", "/v2/"), ("GET", "/v2/api/manifests/1"), *writes]} == {401}
        assert hosts.manifest_digest("api", "1") == layout.digest

        assert admin.status("DELETE", f"/v2/api/manifests/{NOTHING}") == (404 if maintenance else 405)
        assert admin.status("DELETE", f"/v2/api/manifests/{layout.digest}") == (202 if maintenance else 405)
        assert hosts.manifest_digest("api", "1") == (None if maintenance else layout.digest), "nothing is cached"


def test_a_tag_is_made_to_refer_to_an_image_that_the_registry_has(tmp_path):
    layout = small_image(tmp_path / "image")
    with Servers(tmp_path / "registry", maintenance=False) as servers:
        admin = servers.answer().client("admin", servers.site.registry.port)
        admin.push("api", "1", layout)
        admin.connection.send(
            "PUT",
            "/v2/api/manifests/1",
            "a manifest",
            (201,),
            data=lambda: nullcontext(layout.manifest + b"\n"),
            headers={"Content-Type": layout.media_type},
        )
        assert admin.manifest_digest("api", "1") != layout.digest
        admin.tag("api", layout.digest, "1")
        assert admin.manifest_digest("api", "1") == layout.digest
