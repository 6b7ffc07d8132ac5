"""The official releases, as their hosts have them, but made of this machine's own builds: on a TLS server of this machine.

`python -m tests.release_server FOLDER` serves until it is ended, and prints the environment by which the runbook uses it.
"""

import hashlib
import io
import os
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from airavata_runbook.local import paths
from airavata_runbook.mirror import build
from airavata_runbook.mirror.components import BY_NAME, Component
from airavata_runbook.mirror.releases import LOCK_VARIABLE, MIRROR_VARIABLE, RELEASES, urls
from tests.unit.https_files import HttpsFiles

SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")
ANEW = ("components", "packages", "downloads")  # of a cache: what comes of builds and releases


def published(component: Component) -> dict[str, bytes]:
    """The files of a component's release: URL → content. Its programs are those that this machine has built."""
    programs: dict[str, dict[str, bytes]] = {}
    for name, url in urls(component).items():
        programs.setdefault(url, {})[name] = (build.folder(component) / name).read_bytes()
    member = RELEASES[component.name].member
    files = {}
    for url, one in programs.items():
        named = {member.format(version=component.version, program=name): content for name, content in one.items()}
        files[url] = archive(named) if member else one.popitem()[1]
    return files


def archive(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as file:
        for name, content in members.items():
            one = tarfile.TarInfo(name)
            one.size, one.mode = len(content), 0o755
            file.addfile(one, io.BytesIO(content))
    return packed.getvalue()


@contextmanager
def release_server(folder: Path) -> Iterator[tuple[HttpsFiles, dict[str, str]]]:
    """(the server with all releases, the environment by which the runbook uses it). folder: for its certificate and lock file."""
    with HttpsFiles(folder, {}) as server:
        lock = {}
        for name in RELEASES:
            files = published(BY_NAME[name])
            server.files |= {f"/{url.removeprefix('https://')}": content for url, content in files.items()}
            digests = {url: hashlib.sha256(content).hexdigest() for url, content in files.items()}
            lock[name] = {"version": BY_NAME[name].version, "source": "this machine", "files": digests}
        (folder / "releases.lock.yaml").write_text(yaml.safe_dump(lock))
        with Path(server.ca).open("ab") as authorities:  # pip and others verify by the same bundle
            authorities.write(SYSTEM.read_bytes() if SYSTEM.exists() else b"")
        yield (
            server,
            {
                MIRROR_VARIABLE: server.url,
                LOCK_VARIABLE: str(folder / "releases.lock.yaml"),
                "REQUESTS_CA_BUNDLE": server.ca,
                "no_proxy": "127.0.0.1",
            },
        )


def cache_without_builds(folder: Path) -> Path:
    """A cache that has what this machine's has, but no component and no package, nfpm excepted."""
    for path in paths.cache_dir().iterdir():
        if path.name not in ANEW:
            (folder / path.name).symlink_to(path)
    packager = build.folder(BY_NAME["nfpm"])
    (folder / "components").mkdir()
    (folder / "components" / packager.name).symlink_to(packager)
    return folder


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    with release_server(Path(sys.argv[1])) as (_, environment):
        print("\n".join(f"export {name}={value}" for name, value in environment.items()), flush=True)
        while True:
            time.sleep(3600)
