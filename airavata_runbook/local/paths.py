"""Folders on this machine: a cache that can be deleted at any time, a little state, and the project."""

import os
from pathlib import Path

from airavata_runbook.errors import SiteError


def cache_dir() -> Path:
    """The folder of built components, packages and images; everything in it can be rebuilt."""
    return _folder("AIRAVATA_RUNBOOK_CACHE", "~/.cache/airavata-runbook")


def state_dir() -> Path:
    """The folder of labs and kubeconfigs, mode 700: it holds private keys."""
    return _folder("AIRAVATA_RUNBOOK_STATE", "~/.local/state/airavata-runbook", mode=0o700)


def project_dir() -> Path:
    """The project: the nearest folder from the working directory upwards that holds parameters/.

    Raises SiteError when there is none.
    """
    start = Path.cwd()
    for folder in (start, *start.parents):
        if (folder / "parameters").is_dir():
            return folder
    raise SiteError(
        "no project in the working directory",
        found=f"no parameters/ folder in {start} or above it",
        remedy="start in the folder that contains notebooks/",
    )


def base_dir() -> Path:
    """The base of relative paths in a site file: the project's folder, or without a project the working directory."""
    try:
        return project_dir()
    except SiteError:
        return Path.cwd()


def resolve_path(path: str | Path) -> Path:
    """A path of a site file as an absolute one: ~ is expanded, and a relative path starts at base_dir().

    Raises SiteError for an invalid path.
    """
    try:
        if "\0" in str(path):
            raise ValueError("it contains a NUL byte")
        expanded = Path(path).expanduser()
    except (RuntimeError, ValueError) as error:  # RuntimeError: ~USER of an unknown user
        raise SiteError("invalid path", found=f"{str(path)[:200]!r}: {error}", needed="the path of a file") from None
    return base_dir() / expanded  # an absolute path stays as it is


def _folder(variable: str, default: str, mode: int = 0o755) -> Path:
    folder = Path(os.environ.get(variable) or default).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    return folder
