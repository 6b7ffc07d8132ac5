"""kubectl on this machine."""

import os
import shutil
import sys
from pathlib import Path

from airavata_runbook.mirror.build import folder
from airavata_runbook.mirror.components import BY_NAME


def ensure_kubectl() -> Path | None:
    """The path of kubectl: the one on PATH, or a link to the mirror's own build beside this Python. None without either."""
    if found := shutil.which("kubectl"):
        return Path(found)
    built, link = folder(BY_NAME["kubernetes"]) / "kubectl", Path(sys.executable).with_name("kubectl")
    if not built.is_file():
        return link if link.exists() else None
    part = link.with_name(f".kubectl-{os.getpid()}")
    part.unlink(missing_ok=True)
    part.symlink_to(built)
    part.replace(link)  # in one step: another process may do the same, or use the link of an earlier version
    return link
