"""Files of Maven Central, fetched as this machine's Maven would: from the mirror that its settings name.

Source: maven.apache.org/settings.html, guides/mini/guide-mirror-settings.html. Maven itself need not be installed.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from airavata_runbook.errors import CannotBuild
from airavata_runbook.images import download

CENTRAL = "https://repo.maven.apache.org/maven2"
VARIABLE = re.compile(r"\$\{env\.(\w+)\}")


def fetch(artifact: str, sha256: str, kind: str = "tar.gz") -> Path:
    """A file of an artifact, GROUP:NAME:VERSION, in the cache. kind: how its name ends, `tar.gz` or `jar`.

    Raises DownloadFailed, CannotBuild for unusable settings.
    """
    group, name, version = artifact.split(":")
    repository, login = _central()
    return download.fetch(f"{repository}/{group.replace('.', '/')}/{name}/{version}/{name}-{version}.{kind}", sha256, login)


def _central() -> tuple[str, download.Login | None]:
    """The URL of Maven Central or of its mirror, and the login for it."""
    found = [_read(file) for file in _settings()]
    mirrors = [_texts(mirror) for settings in found for mirror in settings.iterfind("{*}mirrors/{*}mirror")]
    chosen = next((mirror for mirror in mirrors if _is_of_central(mirror.get("mirrorOf", ""))), {"id": "central", "url": CENTRAL})
    url = chosen["url"].rstrip("/")
    if not url.startswith("https://"):
        raise CannotBuild("Maven's mirror of Central has no https URL", where="its settings.xml", found=download.shown(url))
    servers = [_texts(server) for settings in found for server in settings.iterfind("{*}servers/{*}server")]
    server = next((one for one in servers if one.get("id") == chosen.get("id") and one.get("username")), None)
    return url, (server["username"], server.get("password", "")) if server else None


def _settings() -> Iterator[Path]:
    """The user's settings, which come first, and the installation's."""
    home = os.environ.get("MAVEN_HOME") or "/usr/share/maven"
    for path in (Path.home() / ".m2/settings.xml", Path(home, "conf/settings.xml")):
        if path.is_file():
            yield path


def _read(settings: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(settings).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise CannotBuild("Maven's settings are unreadable", where=str(settings), found=str(error)) from None


def _texts(element: ElementTree.Element) -> dict[str, str]:
    """The values of an element's children by name, with ${env.NAME} replaced."""
    return {child.tag.rpartition("}")[2]: VARIABLE.sub(_of_environment, child.text or "").strip() for child in element}


def _of_environment(variable: re.Match) -> str:
    return os.environ.get(variable[1], "")


def _is_of_central(patterns: str) -> bool:
    """Whether a mirror is Central's, which has the id `central` and an external https URL."""
    names = [one.strip() for one in patterns.split(",")]
    return "!central" not in names and bool({"*", "external:*", "central"} & set(names))
