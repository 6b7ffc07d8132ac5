"""Applies a recipe to a root folder: Debian packages, binaries, files, Python packages, and the cleanup after them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local import debian
from airavata_runbook.local.once import remove
from airavata_runbook.mirror.build import binary, environment, go_command
from airavata_runbook.mirror.components import BY_NAME as COMPONENTS
from airavata_runbook.mirror.recipes import SUITE, USER, Recipe

# Licences stay: they must be distributed with the software.
SLIM = """path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/lintian/*
"""
UNWANTED = ("usr/share/man/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/lintian", "usr/share/doc/*/*")
# Logs, backups and caches differ between two builds of the same packages.
LEFT_OVER = (
    "var/cache/ldconfig/*",
    "var/cache/apt/*.bin",
    "var/cache/debconf/*",
    "var/cache/man",
    "var/lib/dpkg/*-old",
    "etc/*-",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "tmp/*",
    "dev/*",
    "run/*",
    "root/.cache",
)
# Made when a package is installed, for one machine: secrets, and a trust store (of Java, which no program here uses) that
# contains the time.
MADE_ONCE = ("var/lib/rabbitmq/.erlang.cookie", "etc/ssl/certs/java/cacerts", "etc/ssl/private/*", "etc/ssh/ssh_host_*")
SHADOW_DAY = "20454"  # 2026-01-01: the day on which every password of the image was last changed


def apply(recipe: Recipe, root: Path) -> None:
    """Apply the recipe to `root`, which holds its parents. Needs root. Raises CannotBuild."""
    if recipe.name == "base":
        _base(root, recipe.packages)
    elif recipe.packages:
        debian.install(root, list(recipe.packages))
    if recipe.name == "pause":
        _pause(root / "pause", recipe.version or "")
    if (root / "etc/debian_version").exists():
        _tidy(root)
    for path, component, name in recipe.programs:
        _copy(binary(component, name), root / path.lstrip("/"), 0o755)
    for path, source, mode in recipe.files:
        for name, file in files_of(source):
            _copy(file, root / path.lstrip("/") / name, mode)
    for path in recipe.folders:
        folder = root / path.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, USER, USER)
        folder.chmod(0o700)
    if recipe.requirements:
        _pip(recipe.requirements, root / recipe.python_path.lstrip("/"))
        _compile(root, recipe.python_path)
    if "python3" in recipe.packages:
        _compile(root, "/usr/lib/python3", "/usr/lib/python3.11")


def files_of(source: Path) -> list[tuple[str, Path]]:
    """A file as ("", itself); a folder's files by name, without what Python leaves behind."""
    if source.is_file():
        return [("", source)]
    return [
        (str(path.relative_to(source)), path) for path in sorted(source.rglob("*")) if path.is_file() and path.suffix != ".pyc"
    ]


def package_version(root: Path, package: str) -> str:
    """A package's upstream version in the image: 10.11.14 of 1:10.11.14-0+deb12u2."""
    done = _run(["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f=${Version}", package], "dpkg-query")
    return done.partition(":")[2].partition("-")[0] if ":" in done else done.partition("-")[0]


def _base(root: Path, packages: tuple[str, ...]) -> None:
    debian.bootstrap(root, list(packages), SUITE)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(SLIM)
    for pattern in UNWANTED:
        for path in root.glob(pattern):
            if path.name != "copyright":
                remove(path)
    # update-alternatives, as Java's packages call it, fails where this folder is missing.
    (root / "usr/share/man/man1").mkdir(parents=True, exist_ok=True)
    for name, line in (
        ("passwd", f"airavata:x:{USER}:{USER}:Airavata:/nonexistent:/usr/sbin/nologin"),
        ("group", f"airavata:x:{USER}:"),
        ("shadow", f"airavata:*:{SHADOW_DAY}:0:99999:7:::"),
    ):
        with (root / "etc" / name).open("a") as file:
            file.write(line + "\n")


def _tidy(root: Path) -> None:
    for pattern in (*LEFT_OVER, *MADE_ONCE):
        for path in root.glob(pattern):
            remove(path)
    for path in [*root.glob("var/log/**/*"), *root.glob("var/lib/apt/lists/*")]:
        if path.is_file():  # apt wants its folders
            path.unlink()
    for cache in [*root.glob("usr/lib/python3*/**/__pycache__"), *root.glob("usr/share/**/__pycache__")]:
        if _is_dated(cache):
            remove(cache)
    shadow = root / "etc/shadow"
    fields = [line.split(":") for line in shadow.read_text().splitlines()]
    text = "".join(":".join([*line[:2], SHADOW_DAY, *line[3:]]) + "\n" for line in fields)
    if text != shadow.read_text():
        shadow.write_text(text)


def _is_dated(cache: Path) -> bool:
    """Whether bytecode is bound to its source's time (flags 0 in its header), which a layer does not keep."""
    return any(path.read_bytes()[4:8] == bytes(4) for path in cache.glob("*.pyc"))


def _compile(root: Path, *folders: str) -> None:
    """Bytecode that Python trusts without a look at times: the image's file system is read-only, its times are fixed."""
    _run(
        ["chroot", str(root), "python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", *folders],
        "compilation of Python modules",
    )


def _pip(requirements: Path, target: Path) -> None:
    _run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-compile",
            "--require-hashes",
            "--target",
            str(target),
            "--requirement",
            str(requirements),
        ],
        "installation by pip",
    )
    for path in [*target.rglob("*.so"), target / "bin", *target.rglob("direct_url.json")]:
        remove(path)  # thrift works without its C extension, which was built for this machine's Python


def _pause(target: Path, version: str) -> None:
    """Compile Kubernetes' pause.c, from the pinned module, statically."""
    component = COMPONENTS["kubernetes"]
    said = _run(
        [go_command(), "mod", "download", "-json", component.module],
        "download of Kubernetes' module",
        cwd=component.folder,
        env=environment(component),
    )
    source = Path(json.loads(said)["Dir"]) / "build/pause/linux/pause.c"
    if not shutil.which("gcc"):
        raise CannotBuild("gcc is not installed on this machine", where="pause", remedy="apt-get install gcc libc6-dev")
    _run(["gcc", "-Os", "-Wall", "-static", "-s", f"-DVERSION={version}", "-o", str(target), str(source)], "compilation of pause")


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _run(command: list[str], what: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=cwd, env=env)
    if done.returncode:
        raise CannotBuild(
            f"the {what} failed", where=" ".join(command)[:200], found=(done.stderr.strip() or done.stdout.strip())[-1000:]
        )
    return done.stdout
