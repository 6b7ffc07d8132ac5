"""The mirror's container images, built from Debian packages and our own binaries without any container engine.

A layer and an image are each kept in the cache under the digest of their recipe. A layer is checked by its digest whenever
it is used, and built again when it is damaged; images share the layers of their parents.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import astuple, replace
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.layout import open_archive
from airavata_runbook.local import paths
from airavata_runbook.local.files import digest
from airavata_runbook.local.once import build_once
from airavata_runbook.local.terminal import progress
from airavata_runbook.mirror import build as component_builds
from airavata_runbook.mirror import image_steps, jar_steps, java_steps, oci_writer, released
from airavata_runbook.mirror.components import BY_NAME as COMPONENTS
from airavata_runbook.mirror.oci_writer import Layer
from airavata_runbook.mirror.recipes import BY_NAME, DEBIAN, RECIPES, SUITE, Recipe
from airavata_runbook.mirror.source_code import fingerprint

MAKERS = (image_steps.__file__, oci_writer.__file__)  # other code builds another layer from the same recipe
NAMES = tuple(recipe.name for recipe in RECIPES if recipe.name != "base")
LABEL = "org.opencontainers.image"

BuiltLayer = tuple[Layer, str]  # a recipe's own layer, and the version of what is in it


def build(names: Iterable[str] | None = None, releases: Collection[str] = ()) -> dict[str, Path]:
    """Build the named images (default: all): name → OCI layout, for `open_archive`.

    What the cache has is used again. Needs root for what is not there. releases: the components whose official release is in
    them, and not a build. Raises CannotBuild, DownloadFailed.
    """
    wanted = [_recipe(name, releases) for name in (NAMES if names is None else names)]
    layers = _layers(wanted)
    return {recipe.name: _image(recipe, layers) for recipe in wanted}


def chain(name: str) -> list[tuple[Layer, Path]]:
    """The layers of an image with their files, the lowest first; what the cache lacks is built. Raises CannotBuild."""
    recipe = _recipe(name)
    return _chain(recipe, _layers([recipe]))


def recorded_chain(name: str) -> list[tuple[Layer, Path]] | None:
    """As `chain`; None when something of it has still to be built."""
    recipe = _recipe(name)
    layers = {one.name: layer for one in lineage(recipe) if (layer := _recorded(one))}
    return _chain(recipe, layers) if len(layers) == len(lineage(recipe)) else None


def pending(names: Iterable[str], releases: Collection[str] = ()) -> dict[str, int]:
    """What `build` would build for these images: components and layers, each with the seconds that it takes on 2 cores."""
    recipes = lacking(names, releases)
    wanted = {component for recipe in recipes for _, component, _ in recipe.programs}
    components = component_builds.pending(wanted.difference(releases)) | released.pending(wanted.intersection(releases))
    return components | {f"image {recipe.name}": recipe.seconds for recipe in recipes}


def lacking(names: Iterable[str], releases: Collection[str] = ()) -> list[Recipe]:
    """The recipes of these images and of their parents whose layer the cache lacks, parents first."""
    return [recipe for recipe in _with_parents([_recipe(name, releases) for name in names]) if not _recorded(recipe)]


def built(name: str, releases: Collection[str] = ()) -> str | None:
    """The digest of the manifest of an image that the cache has; None when it has still to be built."""
    recipe = _recipe(name, releases)
    layers = {one.name: layer for one in lineage(recipe) if (layer := _recorded(one))}
    if len(layers) < len(lineage(recipe)):
        return None
    try:
        return open_archive(_home_of_image(recipe, layers)).digest
    except (BadImage, OSError):
        return None


def kept(name: str, releases: Collection[str] = ()) -> list[Path]:
    """The folders of the cache that an image is in, once it is built: those of its layers, and its own. Raises CannotBuild."""
    recipe = _recipe(name, releases)
    layers = _layers([recipe])
    return [*(_home(one) for one in lineage(recipe)), _image(recipe, layers)]


def tag(name: str, releases: Collection[str] = ()) -> str:
    """The tag of an image in a registry: `recipe-` and 16 digits, known before the image is built, on any machine.

    It changes when the recipe, one of its files or components, or the code that builds it changes. Two builds of one recipe
    may differ in the versions of Debian packages and have the same tag: where that matters, compare `built`.
    """
    recipe = _recipe(name, releases)
    parts = [key(recipe), settings(recipe, recipe.version or "")]
    return f"recipe-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def lineage(recipe: Recipe) -> list[Recipe]:
    """The recipe and all its parents, the lowest first."""
    return [*(lineage(BY_NAME[recipe.parent]) if recipe.parent else []), recipe]


def key(recipe: Recipe) -> str:
    """What identifies a layer: twelve hexadecimal digits of the digest of everything that it is made from.

    Versions of Debian packages are not part of it: a layer stays as it is until its recipe changes (recipes.DEBIAN is for
    that) or the cache is emptied.
    """
    parts: list[object] = [*(fingerprint(Path(maker).read_text()) for maker in MAKERS), SUITE, DEBIAN]
    parts += [
        recipe.name,
        recipe.packages,
        recipe.programs,
        recipe.folders,
        recipe.python_path,
        recipe.version,
        key(BY_NAME[recipe.parent]) if recipe.parent else "",
    ]
    parts += [_folder(component, recipe).name for _, component, _ in recipe.programs]
    for path, source, mode in recipe.files:
        parts += [path, mode, _content(source)]
    parts.append(_content(recipe.requirements) if recipe.requirements else "")
    if recipe.archive or recipe.trust_store:
        parts += [fingerprint(Path(java_steps.__file__).read_text()), recipe.trust_store]
        parts += astuple(recipe.archive) if recipe.archive else ()
    if recipe.jars:
        parts += [fingerprint(Path(jar_steps.__file__).read_text()), _content(recipe.jars.list), recipe.jars.path]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def settings(recipe: Recipe, version: str) -> tuple[dict, dict[str, str]]:
    """An image's configuration and labels, as OCI names them."""
    env = [f"{name}={value}" for one in lineage(recipe) for name, value in one.env]
    if recipe.name != "pause":
        env.insert(0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    config = {
        "Entrypoint": list(recipe.entrypoint),
        "Cmd": list(recipe.command),
        "User": f"{recipe.user}:{recipe.user}",
        "WorkingDir": "/",
        "ExposedPorts": {f"{port}/tcp": {} for port in recipe.ports},
        "Env": env,
    }
    return (
        {name: value for name, value in config.items() if value},
        {f"{LABEL}.title": recipe.title, f"{LABEL}.version": version, **dict(recipe.labels)},
    )


def _recipe(name: str, releases: Collection[str] = ()) -> Recipe:
    if name not in BY_NAME:
        raise CannotBuild(f"there is no image {name}", needed="one of " + ", ".join(NAMES))
    recipe = BY_NAME[name]
    own = {component for _, component, _ in recipe.programs}.intersection(releases)
    return replace(recipe, released=tuple(sorted(own))) if own else recipe


def _folder(component: str, recipe: Recipe) -> Path:
    """Where the cache keeps a component of an image, built or released."""
    return (released if component in recipe.released else component_builds).folder(COMPONENTS[component])


def _with_releases(recipe: Recipe) -> Recipe:
    """The recipe with the programs of releases as files, which are downloaded now; for image_steps a program is a build."""
    builds = tuple(one for one in recipe.programs if one[1] not in recipe.released)
    files = [
        (path, released.obtain(COMPONENTS[component]) / name, 0o755)
        for path, component, name in recipe.programs
        if component in recipe.released
    ]
    return replace(recipe, programs=builds, files=(*recipe.files, *files))


def _with_parents(recipes: Iterable[Recipe]) -> list[Recipe]:
    """The recipes and all their parents, each once, parents first."""
    needed = {one.name: one for recipe in recipes for one in lineage(recipe)}
    return [needed[recipe.name] for recipe in RECIPES if recipe.name in needed]


def _content(source: Path) -> str:
    """The digest of a file, or of all files of a folder with their names. Raises CannotBuild when there are none."""
    files = image_steps.files_of(source)
    if not files:
        raise CannotBuild(
            "files that an image is made of are missing",
            where=str(source),
            remedy="reinstall the package airavata-runbook: they are part of it",
        )
    total = hashlib.sha256()
    for name, path in files:
        total.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _layers(wanted: list[Recipe]) -> dict[str, BuiltLayer]:
    """The layers of these recipes and of their parents, by recipe."""
    todo = [recipe for recipe in _with_parents(wanted) if not _recorded(recipe)]
    done = 0
    layers: dict[str, BuiltLayer] = {}
    with progress("images", total=sum(recipe.seconds for recipe in todo)) as update:
        for recipe in _with_parents(wanted):
            if recipe in todo:
                update(f"{recipe.name} ({recipe.title})", done=done)
                done += recipe.seconds
            layers[recipe.name] = _layer(recipe, layers)
    return layers


def _chain(recipe: Recipe, layers: dict[str, BuiltLayer]) -> list[tuple[Layer, Path]]:
    return [(layers[one.name][0], _home(one) / "layer.tar.gz") for one in lineage(recipe)]


def _home(recipe: Recipe) -> Path:
    return paths.cache_dir() / "images" / "layers" / f"{recipe.name}-{key(recipe)}"


def _layer(recipe: Recipe, layers: dict[str, BuiltLayer]) -> BuiltLayer:
    """A recipe's own layer, built when the cache has none that is whole. layers: those of its parents."""
    build_once(_home(recipe), lambda: _is_whole(recipe), lambda part: _build_layer(recipe, layers, part))
    if layer := _recorded(recipe):
        return layer
    raise CannotBuild("a layer was removed while it was used", where=str(_home(recipe)), remedy="run it again")


def _recorded(recipe: Recipe) -> BuiltLayer | None:
    """The layer as it was when it was built, if the cache has it."""
    try:
        data = json.loads((_home(recipe) / "layer.json").read_text())
        return oci_writer.from_json(data["layer"]), data["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_whole(recipe: Recipe) -> bool:
    file, kept = _home(recipe) / "layer.tar.gz", _recorded(recipe)
    return kept is not None and file.is_file() and kept[0].digest == f"sha256:{digest(file)}"


def _build_layer(recipe: Recipe, layers: dict[str, BuiltLayer], part: Path) -> None:
    if os.geteuid():
        raise CannotBuild("images can only be built by root", where=recipe.name, remedy="run the same command with sudo")
    part.mkdir()
    # The root is beside the cache, which is known to have room, and part of what the next build removes if this one is killed.
    with tempfile.TemporaryDirectory(dir=part) as work:
        root = Path(work, "root")
        root.mkdir()
        for parent in lineage(recipe)[:-1]:
            oci_writer.unpack(layers[parent.name][0], _home(parent) / "layer.tar.gz", root)
        before = oci_writer.snapshot(root)
        java_steps.prepare(recipe, root)
        image_steps.apply(_with_releases(recipe), root)
        jar_steps.apply(recipe, root)
        java_steps.finish(recipe, root)
        version = recipe.version or image_steps.package_version(root, recipe.versioned_by)
        layer = oci_writer.write_layer(root, part / "layer.tar.gz", before)
    (part / "layer.json").write_text(json.dumps({"layer": oci_writer.to_json(layer), "version": version}) + "\n")


def _home_of_image(recipe: Recipe, layers: dict[str, BuiltLayer]) -> Path:
    content = [[layers[one.name][0].digest for one in lineage(recipe)], *settings(recipe, layers[recipe.name][1])]
    stamp = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    return paths.cache_dir() / "images" / "mirror" / f"{recipe.name}-{stamp}"


def _image(recipe: Recipe, layers: dict[str, BuiltLayer]) -> Path:
    chain = _chain(recipe, layers)
    target = _home_of_image(recipe, layers)

    def write(part: Path) -> None:
        oci_writer.write_layout(part, chain, *settings(recipe, layers[recipe.name][1]))
        open_archive(part).verify()

    build_once(target, lambda: _is_whole_image(target, chain), write)
    return target


def _is_whole_image(target: Path, chain: list[tuple[Layer, Path]]) -> bool:
    """Whether the layout is there and its layers are the files that were checked just now."""
    try:
        layout = open_archive(target)
        if all(os.path.samefile(target / "blobs" / layer.digest.replace(":", "/"), file) for layer, file in chain):
            return True
        layout.verify()
    except (BadImage, OSError):
        return False
    return True
