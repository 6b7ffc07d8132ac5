"""The mirror's container images, built from Debian packages and our own binaries without any container engine.

A layer and an image are each kept in the cache under the digest of their recipe. A layer is checked by its digest whenever
it is used, and made again when it is damaged; images share the layers of their parents.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.layout import Layout, open_archive
from airavata_runbook.local import paths
from airavata_runbook.local.terminal import Progress
from airavata_runbook.mirror import image_steps, oci_writer
from airavata_runbook.mirror.build import folder as component_folder
from airavata_runbook.mirror.components import BY_NAME as COMPONENTS
from airavata_runbook.mirror.oci_writer import Layer
from airavata_runbook.mirror.recipes import BY_NAME, RECIPES, SUITE, Recipe

MAKERS = (image_steps.__file__, oci_writer.__file__)  # another way of making it makes another layer of the same recipe
NAMES = tuple(recipe.name for recipe in RECIPES if recipe.name != "base")
LABEL = "org.opencontainers.image"


@dataclass(frozen=True)
class Entry:
    """A row of the table of images: version, compressed bytes with and without the layers of its parents."""

    name: str
    title: str
    version: str
    digest: str
    size: int
    own: int


def build(names: list[str] | None = None) -> dict[str, Path]:
    """Make the named images (default: all): name → OCI layout, opened by `images.open_archive`.

    What the cache has is used again. Needs root for what is not there. Raises CannotBuild.
    """
    wanted = [_recipe(name) for name in (NAMES if names is None else names)]
    layers: dict[str, tuple[Layer, str]] = {}
    with _lock():
        order = [recipe for recipe in RECIPES if any(recipe in lineage(one) for one in wanted)]
        for recipe in order:
            if kept := _kept(recipe):
                layers[recipe.name] = kept
        todo = [recipe for recipe in order if recipe.name not in layers]
        with Progress("images", total=sum(recipe.seconds for recipe in todo) or None) as progress:
            done = 0
            for recipe in todo:
                progress.update(f"{recipe.name} ({recipe.title})", done=done)
                layers[recipe.name] = _make_layer(recipe, layers)
                done += recipe.seconds
        return {recipe.name: _layout(recipe, layers) for recipe in wanted}


def table(names: list[str] | None = None) -> list[Entry]:
    """What `build` made, for people: name, version, digest and size of each image. Builds what is missing."""
    return [_entry(name, open_archive(path)) for name, path in build(names).items()]


def lineage(recipe: Recipe) -> list[Recipe]:
    """The recipe and all its parents, the lowest first."""
    return [*(lineage(BY_NAME[recipe.parent]) if recipe.parent else []), recipe]


def key(recipe: Recipe) -> str:
    """What identifies a layer: twelve hexadecimal digits of the digest of everything that it is made from.

    Versions of Debian packages are not among it: a layer stays as it is until its recipe changes or the cache is emptied.
    """
    parts = [*(_content(Path(maker)) for maker in MAKERS), SUITE]
    parts += [
        recipe.name,
        recipe.packages,
        recipe.programs,
        recipe.folders,
        recipe.python_path,
        recipe.version,
        key(BY_NAME[recipe.parent]) if recipe.parent else "",
    ]
    parts += [component_folder(COMPONENTS[component]).name for _, component, _ in recipe.programs]
    for path, source, mode in recipe.files:
        parts += [path, mode, _content(source)]
    parts.append(_content(recipe.requirements) if recipe.requirements else "")
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _recipe(name: str) -> Recipe:
    if name not in NAMES:
        raise CannotBuild(f"there is no image {name}", needed="one of " + ", ".join(NAMES))
    return BY_NAME[name]


def _content(source: Path) -> str:
    """The digest of a file, or of all files of a folder with their names. Raises CannotBuild when there are none."""
    files = image_steps.files_of(source)
    if not files:
        raise CannotBuild(
            "files that an image is made of are missing",
            where=str(source),
            remedy="install the package anew: they are part of it",
        )
    total = hashlib.sha256()
    for name, path in files:
        total.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _home(recipe: Recipe) -> Path:
    return paths.cache_dir() / "images" / "layers" / f"{recipe.name}-{key(recipe)}"


def _kept(recipe: Recipe) -> tuple[Layer, str] | None:
    """A recipe's layer and version from the cache, if it is there and whole."""
    try:
        data = json.loads((_home(recipe) / "layer.json").read_text())
        layer, version = oci_writer.from_json(data["layer"]), data["version"]
        with (_home(recipe) / "layer.tar.gz").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (layer, version) if layer.digest == f"sha256:{digest}" else None


def _make_layer(recipe: Recipe, layers: dict[str, tuple[Layer, str]]) -> tuple[Layer, str]:
    if os.geteuid():
        raise CannotBuild("images can only be built by root", where=recipe.name, remedy="run the same command with sudo")
    home = _home(recipe)
    home.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in home.parent.glob(".building-*"):  # by a build that was killed; we hold the lock
        shutil.rmtree(abandoned)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=home.parent) as work:
        root, part = Path(work, "root"), Path(work, "layer")
        root.mkdir()
        part.mkdir()
        for parent in lineage(recipe)[:-1]:
            oci_writer.unpack(layers[parent.name][0], _home(parent) / "layer.tar.gz", root)
        before = oci_writer.snapshot(root)
        image_steps.apply(recipe, root)
        version = recipe.version or image_steps.package_version(root, recipe.versioned_by)
        layer = oci_writer.write_layer(root, part / "layer.tar.gz", before)
        (part / "layer.json").write_text(json.dumps({"layer": oci_writer.to_json(layer), "version": version}) + "\n")
        shutil.rmtree(home, ignore_errors=True)
        part.rename(home)  # only a finished layer ever has this name
    return layer, version


def _layout(recipe: Recipe, layers: dict[str, tuple[Layer, str]]) -> Path:
    chain = [(layers[one.name][0], _home(one) / "layer.tar.gz") for one in lineage(recipe)]
    config, labels = settings(recipe, layers[recipe.name][1])
    stamp = hashlib.sha256(json.dumps([[layer.digest for layer, _ in chain], config, labels]).encode()).hexdigest()[:12]
    target = paths.cache_dir() / "images" / "mirror" / f"{recipe.name}-{stamp}"
    if _is_whole(target, chain):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=target.parent) as work:
        part = Path(work, "image")
        oci_writer.write_layout(part, chain, config, labels)
        open_archive(part).verify()
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    return target


def _is_whole(target: Path, chain: list[tuple[Layer, Path]]) -> bool:
    """Whether the layout is there and its layers are the files that were checked just now."""
    try:
        layout = open_archive(target)
        if all(os.path.samefile(target / "blobs" / layer.digest.replace(":", "/"), file) for layer, file in chain):
            return True
        layout.verify()
    except (BadImage, OSError):
        return False
    return True


def settings(recipe: Recipe, version: str) -> tuple[dict, dict[str, str]]:
    """An image's configuration and labels, as OCI names them."""
    config = {
        "Entrypoint": list(recipe.entrypoint),
        "Cmd": list(recipe.command),
        "User": f"{recipe.user}:{recipe.user}",
        "WorkingDir": "/",
        "ExposedPorts": {f"{port}/tcp": {} for port in recipe.ports},
        "Env": [f"{name}={value}" for one in lineage(recipe) for name, value in one.env],
    }
    if recipe.name != "pause":
        config["Env"].insert(0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return (
        {name: value for name, value in config.items() if value},
        {f"{LABEL}.title": recipe.title, f"{LABEL}.version": version, **dict(recipe.labels)},
    )


def _entry(name: str, layout: Layout) -> Entry:
    labels = layout.config["config"]["Labels"]
    return Entry(
        name,
        labels[f"{LABEL}.title"],
        labels[f"{LABEL}.version"],
        layout.digest,
        layout.size,
        layout.blobs[0].size + layout.blobs[-1].size,
    )


@contextmanager
def _lock() -> Iterator[None]:
    """One build at a time on this cache; a second one waits and then finds everything made."""
    folder = paths.cache_dir() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
