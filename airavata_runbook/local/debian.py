"""Debian root file systems, made from the mirror that this machine's own apt uses.

Nothing here names a mirror: URIs, components and keyrings are read from /etc/apt, proxies from apt's configuration. apt runs
outside the root, dpkg inside it: nothing of this machine (apt sources, logins, proxies, resolver, certificates) gets into a root.
Downloaded packages are kept in the cache, which is mounted while packages are installed.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local.once import locked
from airavata_runbook.local.paths import cache_dir
from airavata_runbook.local.process import run

APT = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 1800.0  # seconds, for one bootstrap or one installation over a slow link
ONE_LINE = re.compile(r"deb\s+(?:\[([^]]*)]\s+)?(\S+)\s+(\S+)\s+(\S.*)")  # [options] uri suite components
SETTINGS = """Acquire::Retries "3";
Acquire::Languages "none";
"""
MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"  # else apt chooses usrmerge to merge /usr, and with it all of perl
# What it was given for its work, and what it copies from this machine.
LEFT_BY_MMDEBSTRAP = (
    "etc/resolv.conf",
    "etc/hostname",
    "etc/apt/sources.list",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
)
# Everything is mounted in a mount namespace of its own: however this ends, nothing stays mounted.
NAMESPACE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
MOUNT_CACHE = """mkdir -p "$1/var/cache/apt/archives" "$1/var/lib/apt/lists"
mount --bind "{debs}" "$1/var/cache/apt/archives"
mount --bind "{lists}" "$1/var/lib/apt/lists"
"""
INSTALL = """set -e
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
mount -t tmpfs -o mode=755 tmpfs "$1/run"
mount --bind "{policy}" "$1/usr/sbin/policy-rc.d"
{mount_cache}shift
apt-get -q update
apt-get -q -y install --no-install-recommends "$@"
"""


@dataclass(frozen=True)
class Source:
    """One entry of the machine's apt sources; signed_by is a keyring on this machine."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: Path = KEYRING


def bootstrap(target: Path, packages: list[str], suite: str = "bookworm") -> None:
    """Make a minimal Debian (mmdebstrap, variant minbase) of `suite`, in its newest versions (with the suites of updates and
    of security), with `packages`, in the new folder `target`.

    Needs root. Raises CannotBuild when the machine's apt sources have no such suite, when mmdebstrap is missing
    or when it fails; `target` is then to be thrown away.
    """
    if not shutil.which("mmdebstrap"):
        raise CannotBuild("mmdebstrap is not installed on this machine", needed="mmdebstrap", remedy="apt-get install mmdebstrap")
    sources = _sources_of(suite)
    target.mkdir(parents=True, exist_ok=True)
    with _package_cache() as mount_cache, tempfile.TemporaryDirectory(prefix="airavata-runbook-apt-") as work:
        settings, hook = Path(work, "apt.conf"), Path(work, "mount-cache")
        settings.write_text(_settings())
        hook.write_text(f"#!/bin/sh\nset -e\n{mount_cache}")
        hook.chmod(0o755)
        _run(
            [
                *NAMESPACE,
                "mmdebstrap",
                "--mode=root",
                "--variant=minbase",
                "--format=directory",
                f"--hook-dir={MERGED_USR}",
                "--skip=essential/unlink,cleanup/apt",  # the cache is mounted there
                f"--aptopt={settings}",
                "--dpkgopt=force-unsafe-io",
                f'--setup-hook={hook} "$1"',
                *([f"--include={','.join(packages)}"] if packages else []),
                suite,
                str(target),
                "-",
            ],
            f"bootstrap of {suite}",
            stdin=sources,
        )
    for name in LEFT_BY_MMDEBSTRAP:
        (target / name).unlink(missing_ok=True)


def install(root: Path, packages: list[str]) -> None:
    """Install `packages` into the Debian in `root` (made by `bootstrap`), without recommended ones.

    No service is started. Needs root. Raises CannotBuild with the end of apt's output when it fails.
    """
    sources = _sources_of(_codename(root))
    policy = root / "usr/sbin/policy-rc.d"
    is_new = not policy.exists()  # a mount point has to be there
    with _package_cache() as mount_cache, tempfile.TemporaryDirectory(prefix="airavata-runbook-apt-") as folder:
        work = Path(folder)
        (work / "sources.list").write_text(sources)
        (work / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # 101: starting services is forbidden
        (work / "policy-rc.d").chmod(0o755)
        (work / "apt.conf").write_text(_settings() + _outside(root, work))
        script = INSTALL.format(policy=work / "policy-rc.d", mount_cache=mount_cache)
        policy.touch()
        try:
            _run(
                [*NAMESPACE, "sh", "-c", script, "install", str(root), *packages],
                f"installation of {' '.join(packages)}",
                APT_CONFIG=str(work / "apt.conf"),
            )
        finally:
            if is_new:
                policy.unlink()
    for path in root.glob("var/cache/apt/*.bin"):
        path.unlink()


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
        if found := ONE_LINE.fullmatch(line.partition("#")[0].strip()):
            options, uri, suite, components = found.groups(default="")
            yield Source(uri, suite, tuple(components.split()), _keyring(options.partition("signed-by=")[2]))


def _deb822(text: str) -> Iterator[Source]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for paragraph in "\n".join(lines).split("\n\n"):
        fields = message_from_string(paragraph.strip())  # the syntax is that of a mail's header
        if "deb" not in fields.get("Types", "").split() or fields.get("Enabled", "yes").lower() == "no":
            continue
        for uri in fields.get("URIs", "").split():
            for suite in fields.get("Suites", "").split():
                yield Source(uri, suite, tuple(fields.get("Components", "").split()), _keyring(fields.get("Signed-By", "")))


def _keyring(signed_by: str) -> Path:
    # Without a path (none given, or a key in the file itself), Debian's own keyring has to verify Debian.
    first = re.match(r"\s*(/[^\s,]+)", signed_by)
    return Path(first[1]) if first else KEYRING


def _sources_of(suite: str) -> str:
    """A sources.list of a Debian suite, its updates and its security updates. Raises CannotBuild."""
    machine = machine_sources()
    if suite not in {source.suite for source in machine}:
        raise CannotBuild(
            f"no Debian mirror for {suite} is known",
            where=str(APT),
            found="suites " + (", ".join(sorted({source.suite for source in machine})) or "none"),
            needed=f"an apt source of suite {suite}",
            remedy=f"add one to {APT}/sources.list",
        )
    return "".join(
        f"deb [signed-by={source.signed_by}] {source.uri} {source.suite} {' '.join(source.components)}\n"
        for source in machine
        if source.suite in (suite, f"{suite}-updates", f"{suite}-security")
    )


def _settings() -> str:
    """apt's settings of this machine that say how to download (proxies, authorities), and SETTINGS.

    Logins (apt_auth.conf(5)) are read from this machine's own files: a copy would be one more place with secrets.
    """
    logins = f'Dir::Etc::netrc "{APT}/auth.conf";\nDir::Etc::netrcparts "{APT}/auth.conf.d";\n'
    return run("apt-config", "dump", "Acquire", failure="apt's settings could not be read") + SETTINGS + logins


def _outside(root: Path, work: Path) -> str:
    """Settings for an apt that runs outside of `root` and installs into it."""
    return f"""Dir "{root}/";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Etc::sourcelist "{work}/sources.list";
Dir::Etc::sourceparts "-";
DPkg::Chroot-Directory "{root}";
DPkg::Options {{ "--force-unsafe-io"; }};
APT::Sandbox::User "root";
"""


@contextmanager
def _package_cache() -> Iterator[str]:
    """A script that mounts the cached .debs and package lists in the root "$1"; no other apt may use them meanwhile."""
    debs, lists = cache_dir() / "debs", cache_dir() / "apt-lists"
    for folder in (debs, lists):
        (folder / "partial").mkdir(parents=True, exist_ok=True)
    with locked(debs):
        yield MOUNT_CACHE.format(debs=debs, lists=lists)


def _codename(root: Path) -> str:
    path = root / "etc/os-release"
    for line in path.read_text().splitlines() if path.is_file() else []:
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise CannotBuild("this folder holds no Debian", where=str(root), needed="a root made by debian.bootstrap")


def _run(command: list[str], what: str, stdin: str = "", **variables: str) -> None:
    proxies = {name: value for name, value in os.environ.items() if name.lower() in ("http_proxy", "https_proxy", "no_proxy")}
    fixed = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
    environment = fixed | proxies | variables
    try:
        done = subprocess.run(
            command, env=environment, input=stdin.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT
        )
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        status, output = -1, error.output or b""
    if status:
        last = output.decode(errors="replace").strip().splitlines()[-12:]
        raise CannotBuild(
            f"the {what} failed",
            found="\n".join([f"exit status {status}", *last]),
            remedy="check that apt-get update works on this machine, then run again: downloaded packages are kept",
        )
