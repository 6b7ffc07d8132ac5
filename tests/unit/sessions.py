"""Sessions whose hosts are stand-ins: what a step or check does with a site, without SSH."""

import re
from collections.abc import Mapping

import pytest

from airavata_runbook.cluster import session
from airavata_runbook.hosts.host import Host, Result
from airavata_runbook.hosts.lock import SiteLock
from airavata_runbook.hosts.vault import Vault
from airavata_runbook.site import Site


class FakeHost:
    """Stands in for a host: `run` is the subclass's. It needs a name; where it cannot work as root, a node."""

    name = "here"
    run_batch = Host.run_batch

    def connect_in_background(self) -> None:
        pass

    def check_forward(self, port: int, address: str = "") -> None:
        pass


def answer_batch(script: str, texts: Mapping[str, str]) -> Result:
    """What a host answers to a batch of commands (hosts/batch.py); texts: a command's name → what it prints."""
    nonce = re.search("^echo ([0-9a-f]{16}) ", script, re.MULTILINE)[1]
    names = re.findall(rf"^echo {nonce} (\S+);", script, re.MULTILINE)
    return Result("".join(f"{nonce} {name}\n{texts[name]}\n{nonce} {name} 0 .\n" for name in names).encode())


def open_session(monkeypatch: pytest.MonkeyPatch, site: Site, hosts: Mapping[str, object]) -> session.Session:
    """The one session of this process, with these hosts by name."""
    made = session.Session(site)
    made.hosts = dict(hosts)
    made.vault, made.lock = Vault(made.master), SiteLock(made.master)
    monkeypatch.setattr(session, "_open", [made])
    return made
