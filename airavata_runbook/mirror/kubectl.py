"""kubectl on this machine."""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

from airavata_runbook.mirror.build import folder as built_folder
from airavata_runbook.mirror.components import BY_NAME


def put_kubectl() -> Path | None:
    """Where kubectl is: on PATH, or the mirror's own build, linked beside this Python. None where neither is there."""
    if found := shutil.which("kubectl"):
        return Path(found)
    built, link = built_folder(BY_NAME["kubernetes"]) / "kubectl", Path(sys.executable).with_name("kubectl")
    if not built.is_file():
        return link if link.exists() else None
    with suppress(FileNotFoundError):
        link.unlink()  # of an earlier version
    link.symlink_to(built)
    return link
