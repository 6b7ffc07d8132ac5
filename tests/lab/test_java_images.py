"""The mirror's Java, run: a jar of a site on it, and Keycloak as it was built. Each as its user, on a root that is read-only."""

import json
import subprocess
from pathlib import Path

import pytest

from airavata_runbook.images.layout import open_archive
from airavata_runbook.mirror import images, jar
from airavata_runbook.site.parts import ImageSource
from tests.unit.test_jar import write_jar

# A container in three lines: the root read-only, /proc and what the manifest mounts writable.
RUN = """set -e
mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; mount -t proc proc "$1/proc"; mount --bind /dev "$1/dev"
for path in $MOUNTS; do mount -t tmpfs -o mode=1777 tmpfs "$1$path"; done
exec chroot --userspec=10001:10001 "$1" sh -c 'cd "$0" && exec "$@"' "$2" "${@:3}"
"""


def unpacked(layout, folder: Path) -> Path:
    folder.mkdir()
    for blob in layout.blobs[1:]:
        file = layout.where / "blobs" / blob.digest.replace(":", "/")
        subprocess.run(["tar", "-xzf", file, "-C", folder, "--exclude=.wh.*"], check=True)
    return folder


def run(layout, root: Path, mounts: str, **variables: str) -> subprocess.CompletedProcess:
    config = layout.config["config"]
    command = [*config["Entrypoint"], *config.get("Cmd", ())]
    return subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", RUN, "run", root, config["WorkingDir"], *command],
        env=dict(one.split("=", 1) for one in config["Env"]) | {"MOUNTS": mounts} | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_jar_of_a_site_runs_in_its_folder(tmp_path, monkeypatch):
    sha256 = write_jar(tmp_path / "server.jar")
    layout = jar.pack(ImageSource(jar=str(tmp_path / "server.jar"), sha256=sha256))
    done = run(layout, unpacked(layout, tmp_path / "root"), mounts="/tmp /opt/airavata/conf")
    assert (done.returncode, done.stdout) == (0, "/opt/airavata\n"), done.stderr


@pytest.fixture(scope="module")
def keycloak():
    return open_archive(images.build(["keycloak"])["keycloak"])


def test_keycloak_starts_as_it_was_built_and_asks_for_its_database(keycloak, tmp_path):
    root = unpacked(keycloak, tmp_path / "root")
    secrets = root / "etc/airavata/secrets"
    secrets.mkdir(parents=True)
    (secrets / "db-password").write_text("canary-password")
    done = run(
        keycloak,
        root,
        mounts="/tmp /opt/keycloak/data",
        KC_DB_URL="jdbc:mariadb://127.0.0.1:1/keycloak",
        KC_DB_USERNAME="keycloak",
        KC_HTTP_ENABLED="true",
        KC_HOSTNAME_STRICT="false",
    )
    said = done.stdout + done.stderr
    assert done.returncode and "127.0.0.1" in said and "onnect" in said, said
    assert "read-only" not in said.lower() and "Updating the configuration" not in said and "canary-password" not in said
    assert json.dumps(keycloak.config).count("canary") == 0


def test_keycloak_without_its_password_says_what_to_mount(keycloak, tmp_path):
    done = run(keycloak, unpacked(keycloak, tmp_path / "root"), mounts="/tmp /opt/keycloak/data")
    assert done.returncode and "/etc/airavata/secrets/db-password is missing" in done.stderr
