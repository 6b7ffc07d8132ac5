"""Debian root file systems, made from the mirror that this machine's own apt uses.

Nothing here names a mirror: URIs, components and keyrings are read from /etc/apt, proxies from apt's
configuration. Downloaded packages are kept in the cache; what belongs to this machine (its apt sources, proxies,
resolver, certificates) is mounted while packages are installed and is in no finished root.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local.paths import cache_dir

APT = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 1800.0  # seconds, for one bootstrap or one installation over a slow link

# Everything is mounted in a mount namespace of its own: however this ends, nothing stays mounted.
IN_CHROOT = """set -e
root=$1 debs=$2 lists=$3 settings=$4
shift 4
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir "$root/run/apt"
cp -rL "$settings/." "$root/run/apt/"
mount --bind "$debs" "$root/var/cache/apt/archives"
mount --bind "$lists" "$root/var/lib/apt/lists"
mount --bind "$settings/policy-rc.d" "$root/usr/sbin/policy-rc.d"
mount --bind "$settings/resolv.conf" "$root/etc/resolv.conf"
export APT_CONFIG=/run/apt/apt.conf
chroot "$root" apt-get -q update
chroot "$root" apt-get -q -y install --no-install-recommends "$@"
"""


@dataclass(frozen=True)
class Source:
    """One entry of the machine's apt sources; signed_by is a keyring on this machine."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: Path = KEYRING


def bootstrap(target: Path, packages: list[str], suite: str = "bookworm") -> None:
    """Make a minimal Debian (debootstrap, variant minbase) of `suite` with `packages` in the new folder `target`.

    Needs root. Raises CannotBuild when the machine's apt sources have no such suite, when debootstrap is missing
    or when it fails; `target` is then to be thrown away.
    """
    _need("debootstrap", "apt-get install debootstrap")
    sources = [source for source in machine_sources() if source.suite == suite]
    if not sources:
        raise CannotBuild(
            f"no Debian mirror for {suite} is known",
            where=str(APT),
            found="suites " + (", ".join(sorted({s.suite for s in machine_sources()})) or "none"),
            needed=f"an apt source of suite {suite}",
            remedy=f"add one to {APT}/sources.list",
        )
    source = sources[0]
    target.mkdir(parents=True, exist_ok=True)
    with _package_cache() as (debs, _):
        _run(
            [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "debootstrap",
                "--variant=minbase",
                f"--cache-dir={debs}",
                f"--keyring={source.signed_by}",
                f"--components={','.join(source.components)}",
                *([f"--include={','.join(packages)}"] if packages else []),
                suite,
                str(target),
                source.uri,
            ],
            f"debootstrap of {suite}",
            {"http_proxy": _proxy("http"), "https_proxy": _proxy("https")},
        )
    # debootstrap copies the machine's resolver and name, and names the mirror: none of it belongs into an image.
    for name in ("etc/resolv.conf", "etc/hostname", "etc/apt/sources.list", "var/log/bootstrap.log"):
        (target / name).unlink(missing_ok=True)
    _clean(target)


def install(root: Path, packages: list[str]) -> None:
    """Install `packages` into the Debian in `root` (made by `bootstrap`), without recommended ones.

    No service is started. Needs root. Raises CannotBuild with the end of apt's output when it fails.
    """
    suite = _codename(root)
    sources = [source for source in machine_sources() if source.suite in (suite, f"{suite}-updates", f"{suite}-security")]
    resolver = root / "etc/resolv.conf"
    policy = root / "usr/sbin/policy-rc.d"
    made = [path for path in (resolver, policy) if not path.exists()]  # a mount point has to be there
    with _package_cache() as (debs, lists), tempfile.TemporaryDirectory(prefix="airavata-runbook-apt-") as folder:
        settings = Path(folder)
        _write_settings(settings, sources)
        for path in made:
            path.touch()
        try:
            _run(
                [
                    "unshare",
                    "--mount",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                    "sh",
                    "-c",
                    IN_CHROOT,
                    "install",
                    str(root),
                    str(debs),
                    str(lists),
                    str(settings),
                    *packages,
                ],
                f"installation of {' '.join(packages)}",
                {},
            )
        finally:
            for path in made:
                path.unlink(missing_ok=True)
    _clean(root)


def machine_sources(apt: Path = APT) -> list[Source]:
    """The enabled binary sources of an apt folder, of both notations, in apt's order.

    Source of facts: sources.list(5) of Debian 12.
    """
    found: list[Source] = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if path.suffix == ".list" and path.is_file():
            found += _one_line(path.read_text())
        elif path.suffix == ".sources" and path.is_file():
            found += _deb822(path.read_text())
    return found


def _one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        kind, _, rest = line.partition("#")[0].strip().partition(" ")
        options, bracket, entry = rest.strip().removeprefix("[").partition("]")
        words = (entry if bracket else rest).split()
        if kind != "deb" or len(words) < 3:
            continue
        given = dict(option.split("=", 1) for option in options.split() if "=" in option) if bracket else {}
        yield Source(words[0], words[1], tuple(words[2:]), _keyring(given.get("signed-by", "")))


def _deb822(text: str) -> Iterator[Source]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for paragraph in "\n".join(lines).split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1].isspace():
                fields[name] = fields.get(name, "") + "\n" + line.strip()
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, tuple(fields.get("components", "").split()), _keyring(fields.get("signed-by", "")))


def _keyring(signed_by: str) -> Path:
    # Without a path (none given, or a key in the file itself), Debian's own keyring has to verify Debian.
    first = signed_by.split(",")[0].strip()
    return Path(first) if first.startswith("/") else KEYRING


def _write_settings(folder: Path, sources: list[Source]) -> None:
    folder.chmod(0o755)  # apt reads keyrings as its own user
    lines = []
    for number, source in enumerate(sources):
        keyring = f"keyring-{number}{source.signed_by.suffix}"
        shutil.copyfile(source.signed_by, folder / keyring)
        lines.append(f"deb [signed-by=/run/apt/{keyring}] {source.uri} {source.suite} {' '.join(source.components)}")
    (folder / "sources.list").write_text("\n".join(lines) + "\n")
    (folder / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # 101: starting services is forbidden
    (folder / "policy-rc.d").chmod(0o755)
    resolver = Path("/etc/resolv.conf")
    (folder / "resolv.conf").write_bytes(resolver.read_bytes() if resolver.exists() else b"")
    settings = [
        *subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout.splitlines(),
        'Dir::Etc::sourcelist "/run/apt/sources.list";',
        'Dir::Etc::sourceparts "-";',
        'Dpkg::Options { "--force-unsafe-io"; };',
        'Acquire::Retries "3";',
        'Acquire::Languages "none";',
        'APT::Keep-Downloaded-Packages "true";',
    ]
    settings += [f'Acquire::{scheme}::Proxy "{_proxy(scheme)}";' for scheme in ("http", "https") if _proxy(scheme)]
    if AUTHORITIES.is_file():
        shutil.copyfile(AUTHORITIES, folder / "authorities.crt")
        settings.append('Acquire::https::CaInfo "/run/apt/authorities.crt";')
    if (APT / "auth.conf").is_file():
        shutil.copyfile(APT / "auth.conf", folder / "auth.conf")
        settings.append('Dir::Etc::netrc "/run/apt/auth.conf";')
    (folder / "apt.conf").write_text("\n".join(settings) + "\n")


def _proxy(scheme: str) -> str:
    """The proxy that apt on this machine uses for http or https; empty when it uses none."""
    said = subprocess.run(
        ["apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy"], capture_output=True, text=True, check=True
    ).stdout
    configured = said.strip().removeprefix("PROXY=").strip("'")
    return configured or os.environ.get(f"{scheme}_proxy", "")


@contextmanager
def _package_cache() -> Iterator[tuple[Path, Path]]:
    """The cached .debs and package lists, for one user at a time: apt and debootstrap must not share them."""
    debs, lists = cache_dir() / "debs", cache_dir() / "apt-lists"
    for folder in (debs, lists):
        (folder / "partial").mkdir(parents=True, exist_ok=True)
    with (cache_dir() / "debs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield debs, lists


def _codename(root: Path) -> str:
    path = root / "etc/os-release"
    for line in path.read_text().splitlines() if path.is_file() else []:
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise CannotBuild("this folder holds no Debian", where=str(root), needed="a root made by debian.bootstrap")


def _clean(root: Path) -> None:
    for pattern in ("var/cache/apt/archives/*.deb", "var/cache/apt/*.bin", "var/lib/apt/lists/*_*"):
        for path in root.glob(pattern):
            path.unlink()


def _need(program: str, remedy: str) -> None:
    if not shutil.which(program):
        raise CannotBuild(f"{program} is not installed on this machine", needed=program, remedy=remedy)


def _run(command: list[str], what: str, variables: dict[str, str]) -> None:
    environment = {
        "PATH": PATH,
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
        "DEBIAN_FRONTEND": "noninteractive",
        **{name: value for name, value in variables.items() if value},
    }
    with tempfile.TemporaryFile() as log:
        try:
            status = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
        if status:
            log.seek(0)
            last = log.read().decode(errors="replace").strip().splitlines()[-12:]
            raise CannotBuild(
                f"the {what} failed",
                found="\n".join([f"exit status {status}", *last]),
                remedy="see that apt-get update works on this machine, then run again: downloaded packages are kept",
            )
