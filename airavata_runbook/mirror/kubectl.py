"""kubectl on this machine."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local.files import replace_link
from airavata_runbook.mirror import released
from airavata_runbook.mirror.build import folder
from airavata_runbook.mirror.components import BY_NAME


def ensure_kubectl() -> Path | None:
    """The path of kubectl: the one on PATH, or a link to the mirror's own beside this Python, built or of the release.

    None without either."""
    if found := shutil.which("kubectl"):
        return Path(found)
    link = Path(sys.executable).with_name("kubectl")
    if built := own_kubectl():
        replace_link(link, built)
    elif not link.exists():
        return None
    return link


def own_kubectl() -> Path | None:
    """The mirror's kubectl, where the cache has one, built or of the release."""
    return next((path for path in _here() if path.is_file()), None)


def _here() -> Iterator[Path]:
    kubernetes = BY_NAME["kubernetes"]
    yield folder(kubernetes) / "kubectl"
    with suppress(CannotBuild):  # the lock file has no digest of the release
        yield released.folder(kubernetes) / "kubectl"
