"""A server's jar of the site, packed on the mirror's Java: the same jar on the same Java gives the same image, byte by byte.

The server runs as user 10001 in /opt/airavata, where conf/ is for a mount; the root file system can be read-only, with /tmp
mounted. Its heap takes half of the container's memory limit, unless the manifest sets JAVA_TOOL_OPTIONS.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.images import download
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.layout import Layout, is_whole, open_archive
from airavata_runbook.local import paths
from airavata_runbook.local.digests import remembered_digest
from airavata_runbook.local.files import digest
from airavata_runbook.local.once import build_once
from airavata_runbook.local.terminal import progress
from airavata_runbook.mirror import images, oci_writer
from airavata_runbook.mirror.oci_writer import Layer
from airavata_runbook.mirror.recipes import BY_NAME
from airavata_runbook.mirror.source_code import fingerprint
from airavata_runbook.site.parts import ImageSource

BASE = "java"
JAVA = 17  # of BASE
HOME = "/opt/airavata"
FILE = f"{HOME}/server.jar"
OPTIONS = "-XX:MaxRAMPercentage=50 -XX:+ExitOnOutOfMemoryError"
# Names as Flyway has them, whose convention the server's sources follow: V1_2__what_it_does.sql
MIGRATION = re.compile(r"(?:BOOT-INF/classes/)?db/migration/(?:.*/)?V([0-9]+(?:[._][0-9]+)*)__[^/]*\.sql")
LEVEL = 1  # of gzip: a jar is compressed already
SECONDS = 10  # on 2 cores, for 150 MB


def pack(source: ImageSource, auth: str | None = None) -> Layout:
    """The image of a jar, fetched and packed unless the cache has it; the mirror's Java is built if it is missing.

    auth: the value of `source.auth`. Raises BadImage, DownloadFailed, CannotBuild.
    """
    file = _fetched(source, auth)
    check_content(file, source)
    chain = images.chain(BASE)
    target = _home(source, chain)
    build_once(target, lambda: is_whole(target), lambda part: _write(part, file, source, chain))
    return open_archive(target)


def built(source: ImageSource) -> Layout | None:
    """The image, where the cache has it."""
    chain = images.recorded_chain(BASE)
    with suppress(BadImage, OSError):
        if chain and (target := _home(source, chain)).exists():
            return open_archive(target)
    return None


def kept(source: ImageSource) -> list[Path]:
    """What the cache has of it, once it is packed: the mirror's Java, the image, and the jar where that was fetched."""
    fetched = [download.cached(source.sha256 or "")] if _is_url(source) else []
    return [*images.kept(BASE), _home(source, images.chain(BASE)), *fetched]


def pending(image: str) -> dict[str, int]:
    """What `pack` would build, each with the seconds that it takes on 2 cores, without a download."""
    return images.pending([BASE]) | {f"image {image}": SECONDS}


def tag(source: ImageSource) -> str:
    """The tag of the image in a registry: `jar-` and 16 digits, known before it is packed, on any machine.

    It changes with the jar, with the mirror's Java and with the code that packs.
    """
    parts = [source.sha256, images.tag(BASE), _code(), _settings(source)]
    return f"jar-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def check(source: ImageSource, auth: str | None = None, online: bool = False) -> None:
    """Check a jar that is on this machine, or with `online` that its URL has something. Raises BadImage, DownloadFailed."""
    if not _is_url(source):
        check_content(_fetched(source, auth), source)
    elif download.is_here(source.sha256 or ""):
        check_content(download.cached(source.sha256 or ""), source)
    elif online:
        download.check(source.place, _login(auth))


def check_content(file: Path, source: ImageSource) -> None:
    """Raises BadImage for what is not a jar that Java can run."""
    where, needed = download.shown(source.place) if _is_url(source) else source.place, "a jar with Main-Class in its manifest"
    try:
        with zipfile.ZipFile(file) as jar:
            manifest = re.sub(r"\r?\n ", "", jar.read("META-INF/MANIFEST.MF").decode(errors="replace"))  # lines of 72 bytes
            classes: dict[str, str] = dict(re.findall(r"^(Main|Start)-Class: *(\S+)", manifest, re.MULTILINE))
            if "Main" not in classes:
                raise BadImage("a jar cannot be started", where=where, found="no Main-Class in its manifest", needed=needed)
            version = _java_version(jar, classes.get("Start", classes["Main"]))  # what Spring Boot's launcher starts
    except (zipfile.BadZipFile, KeyError, OSError, NotImplementedError, RuntimeError) as error:
        raise BadImage("not a jar", where=where, found=str(error), needed=needed) from None
    if version > JAVA:
        raise BadImage("a jar needs another Java", where=where, found=f"compiled for Java {version}", needed=f"Java {JAVA}")


def schema(source: ImageSource, auth: str | None = None) -> bytes:
    """The SQL by which the server's tables are made, out of its jar: all files of db/migration, by their versions; b"" for none.

    Raises BadImage, DownloadFailed.
    """
    with zipfile.ZipFile(_fetched(source, auth)) as jar:
        found = {match[1]: name for name in jar.namelist() if (match := MIGRATION.fullmatch(name))}
        in_order = sorted(found, key=lambda version: [int(part) for part in re.split("[._]", version)])
        return b"\n".join(jar.read(found[version]) for version in in_order)


def _java_version(jar: zipfile.ZipFile, name: str) -> int:
    """The Java that a class was compiled for; 0 for a class that is elsewhere."""
    path = name.replace(".", "/") + ".class"
    for place in (f"BOOT-INF/classes/{path}", path):
        with suppress(KeyError), jar.open(place) as file:
            return int.from_bytes(file.read(8)[6:8], "big") - 44  # JVM specification, 4.1
    return 0


def _fetched(source: ImageSource, auth: str | None) -> Path:
    """The jar on this machine. Raises BadImage for another one, DownloadFailed."""
    if _is_url(source):
        return download.fetch(source.place, source.sha256 or "", _login(auth))
    path = paths.resolve_path(source.place)
    if not path.is_file():
        raise BadImage("no such jar", where=str(path), remedy="correct the path in the site file")
    if (found := remembered_digest(path)) != source.sha256:
        raise _another(source, found)
    return path


def _another(source: ImageSource, found: str) -> BadImage:
    return BadImage(
        "a jar does not match its sha256 in the site file",
        where=source.place,
        found=found,
        needed=source.sha256 or "",
        remedy="correct the sha256, or find out who changed the jar",
    )


def _is_url(source: ImageSource) -> bool:
    return source.place.startswith("https://")


def _login(auth: str | None) -> download.Login | None:
    user, _, password = (auth or "").partition(":")
    return (user, password) if auth else None


def _settings(source: ImageSource) -> tuple[dict, dict[str, str]]:
    """Configuration and labels."""
    config, _ = images.settings(BY_NAME[BASE], "")
    config |= {"Entrypoint": ["java", "-jar", FILE], "WorkingDir": HOME}
    config["Env"] = [*config["Env"], f"JAVA_TOOL_OPTIONS={OPTIONS}"]
    del config["Cmd"]
    return config, {f"{images.LABEL}.title": f"A jar of the site on Java {JAVA}", f"{images.LABEL}.version": source.sha256 or ""}


def _code() -> list[str]:
    return [fingerprint(Path(module).read_text()) for module in (__file__, oci_writer.__file__)]


def _home(source: ImageSource, chain: list[tuple[Layer, Path]]) -> Path:
    content = [source.sha256, [layer.digest for layer, _ in chain], _code(), _settings(source)]
    return paths.cache_dir() / "images" / "jars" / hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def _write(part: Path, jar: Path, source: ImageSource, chain: list[tuple[Layer, Path]]) -> None:
    if os.geteuid():
        raise CannotBuild("a jar can only be packed by root", where=source.place, remedy="run the same command with sudo")
    part.mkdir()
    with progress("pack") as update, tempfile.TemporaryDirectory(dir=part) as work:
        update(f"{Path(source.place).name} on Java {JAVA}")
        root, packed = Path(work, "root"), Path(work, "layer.tar.gz")
        conf, copy = root / HOME.lstrip("/") / "conf", root / FILE.lstrip("/")
        conf.mkdir(parents=True)
        for folder in (conf, conf.parent, conf.parent.parent):
            folder.chmod(0o755)
        shutil.copyfile(jar, copy)
        copy.chmod(0o644)
        if (found := digest(copy)) != source.sha256:  # changed since it was checked
            raise _another(source, found)
        layer = oci_writer.write_layer(root, packed, level=LEVEL)
        oci_writer.write_layout(part, [*chain, (layer, packed)], *_settings(source))
    open_archive(part).verify()
