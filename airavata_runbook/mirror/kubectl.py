"""kubectl on this machine."""

import shutil
import sys
from pathlib import Path

from airavata_runbook.local.files import replace_link
from airavata_runbook.mirror.build import folder
from airavata_runbook.mirror.components import BY_NAME


def ensure_kubectl() -> Path | None:
    """The path of kubectl: the one on PATH, or a link to the mirror's own build beside this Python. None without either."""
    if found := shutil.which("kubectl"):
        return Path(found)
    built, link = folder(BY_NAME["kubernetes"]) / "kubectl", Path(sys.executable).with_name("kubectl")
    if built.is_file():
        replace_link(link, built)
    elif not link.exists():
        return None
    return link
