"""Lab hosts for tests and benchmarks, with a bridge and a state folder of their own."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from airavata_runbook import lab
from airavata_runbook.cluster.session import session_of
from airavata_runbook.site import Site

PROJECT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("airavata-runbook")  # as a user calls it


def site_like_lab(folder: Path, name: str, bridge: str, network: str) -> Path:
    """Write parameters/lab.yaml to the folder with another name, bridge and network ("10.98.0."); returns its path."""
    text = (PROJECT / "parameters" / "lab.yaml").read_text()
    for old, new in (("name: lab\n", f"name: {name}\n"), ("lab0", bridge), ("10.98.0.", network)):
        assert old in text
        text = text.replace(old, new)
    file = folder / "lab.yaml"
    file.write_text(text)
    return file


@contextmanager
def lab_hosts(source: Path | Mapping, folder: Path) -> Iterator[Site]:
    """The site with its bare hosts booted; they are removed afterwards. The state is kept in the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRAVATA_RUNBOOK_STATE", str(folder / "state"))
        site = Site.load(source)
        try:
            lab.up(site)
            yield site
        finally:
            session_of(site).close()
            lab.down(site)
