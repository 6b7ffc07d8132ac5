"""What recipes of Java programs need beside the steps of image_steps.py: a trust store, an archive of Maven, a command.

Only the layers of recipes that have one of these depend on this code.
"""

import hashlib
import re
import ssl
import struct
import subprocess
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.mirror import maven
from airavata_runbook.mirror.recipes import Archive, Recipe

CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
CREATED = 1767225600000  # ms; 2026-01-01, as every time in a layer
# As root in a root folder, without a network: what is built of an archive depends on nothing else.
IN_ROOT = """set -e
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/tmp"
exec chroot "$@"
"""


def prepare(recipe: Recipe, root: Path) -> None:
    """What comes before the recipe's own files, which replace those of the archive. Raises CannotBuild."""
    if recipe.archive:
        _unpack(recipe.archive, root / recipe.archive.path.lstrip("/"))


def finish(recipe: Recipe, root: Path) -> None:
    """What is done last. Raises CannotBuild."""
    if recipe.trust_store:
        pem = (root / CERTIFICATES).read_bytes()
        (root / recipe.trust_store.lstrip("/")).write_bytes(trust_store(pem))
    if recipe.archive and recipe.archive.command:
        _run_in(root, recipe.archive.command)


def trust_store(pem: bytes) -> bytes:
    """Certificates as a Java key store (JKS, sun.security.provider.JavaKeyStore) that depends on nothing but them.

    The one that Debian's packages make has the time of its making in it. Its password is Java's own, `changeit`: it only
    guards against damage, for the certificates are public.
    """
    ders = sorted(ssl.PEM_cert_to_DER_cert(block.decode()) for block in set(PEM.findall(pem)))
    store = struct.pack(">III", 0xFEEDFEED, 2, len(ders))
    for der in ders:
        alias = hashlib.sha256(der).hexdigest().encode()
        store += struct.pack(">IH", 2, len(alias)) + alias
        store += struct.pack(">QH", CREATED, len(b"X.509")) + b"X.509" + struct.pack(">I", len(der)) + der
    return store + hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + store).digest()


def _unpack(archive: Archive, target: Path) -> None:
    """The archive without its first folder, owned by root."""
    file = maven.fetch(archive.artifact, archive.sha256)
    target.mkdir(parents=True, exist_ok=True)
    command = ["tar", "--extract", "--gzip", "--strip-components=1", "--no-same-owner", f"--file={file}"]
    _run([*command, f"--directory={target}"], f"unpacking of {archive.artifact}")


def _run_in(root: Path, command: tuple[str, ...]) -> None:
    namespaces = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
    environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/tmp"]
    _run([*namespaces, "sh", "-c", IN_ROOT, "in-root", str(root), *environment, *command], f"command {command[0]}")


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise CannotBuild(f"the {what} failed", found=done.stdout.decode(errors="replace").strip()[-1000:])
