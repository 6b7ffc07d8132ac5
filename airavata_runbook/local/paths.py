"""Where this machine keeps what the runbook makes: a cache that can be thrown away, and a little state."""

import os
from pathlib import Path

from airavata_runbook.errors import SiteError


def cache_dir() -> Path:
    """The folder of built components, packages and images; everything in it can be made again."""
    return _folder("AIRAVATA_RUNBOOK_CACHE", "~/.cache/airavata-runbook")


def state_dir() -> Path:
    """The folder of labs and kubeconfigs, mode 700: it holds keys of hosts on this machine."""
    return _folder("AIRAVATA_RUNBOOK_STATE", "~/.local/state/airavata-runbook", mode=0o700)


def project_dir(start: Path | None = None) -> Path:
    """The nearest folder from `start` (default: the working directory) upwards that holds parameters/.

    Raises FileNotFoundError when there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "parameters").is_dir():
            return folder
    raise FileNotFoundError(f"no parameters/ folder in {start} or above it")


def base_dir() -> Path:
    """What relative paths of a site file start at: the project's folder, without a project the working directory."""
    try:
        return project_dir()
    except FileNotFoundError:
        return Path.cwd()


def given(path: str | Path) -> Path:
    """A path that a site file gives: ~ is a home folder, and a relative one starts at base_dir().

    Raises SiteError for what no path can be.
    """
    try:
        if "\0" in str(path):
            raise ValueError("a NUL byte is in it")
        expanded = Path(path).expanduser()
    except (RuntimeError, ValueError) as error:  # RuntimeError: of a user who is unknown
        raise SiteError("this can be no path", found=f"{str(path)[:200]!r}: {error}", needed="the path of a file") from None
    return base_dir() / expanded  # one that is absolute stays as it is


def _folder(variable: str, default: str, mode: int = 0o755) -> Path:
    folder = Path(os.environ.get(variable) or default).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    return folder
