"""The labs of a class by number: their names, site files and folders, and the record of what was made for each."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from airavata_runbook.errors import SiteError
from airavata_runbook.local import once, paths
from airavata_runbook.local.files import write_file
from airavata_runbook.serialise import yaml_text
from airavata_runbook.site import Site, file
from airavata_runbook.site.parts import Lab

NAME = re.compile("[a-z][a-z0-9]{0,5}[a-z]")  # with two digits after it, the name of a bridge; with a digit last, ambiguous
NAMED = "two to seven lower-case letters and digits, a letter first and last"
NETWORK = IPv4Network("10.120.0.0/16")
MOST = 99  # labs
FOLDER = "students"  # in the project
HEAD = """# yaml-language-server: $schema=site.schema.json
# The lab of a student: made by `airavata-runbook class up` from {template}, and deleted by `class down` unless it was changed.
"""


@dataclass(frozen=True)
class Member:
    """One student's lab. site_file: the teacher's. folder: the student's, with a copy of it and of the notebooks."""

    name: str
    site: Site
    site_file: Path
    folder: Path
    text: str

    @property
    def lab(self) -> Lab:
        assert self.site.lab
        return self.site.lab


class Class:
    """The class of that name. network: of which each lab has a /24. template: the site whose lab each student's is like.

    Raises SiteError for a name, network or template that will not do.
    """

    def __init__(self, name: str = "class", network: IPv4Network = NETWORK, template: str = "lab"):
        if not NAME.fullmatch(name):
            raise SiteError(f"invalid name of a class {name!r}", needed=NAMED)
        if network.prefixlen > 16:
            raise SiteError("the network of a class is too small", found=str(network), needed="/16 or larger; each lab has a /24")
        self.name, self.network, self.template = name, network, template
        self.project = paths.project_dir()
        self._record = paths.state_dir() / "classes" / f"{name}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time."""
        with once.locked(self._record):
            yield

    def member(self, number: int) -> Member:
        """The lab of that number, as it was made, or as it would be. Raises SiteError for a file that is not this class's."""
        if number > MOST:
            raise SiteError("too many labs for a class", found=str(number), needed=f"at most {MOST}")
        name = f"{self.name}-{number}"
        site_file = self.project / "parameters" / f"{name}.yaml"
        if site_file.exists():
            site = Site.load(site_file)
            if site.name != name or site.lab is None or site.lab.bridge != f"{self.name}{number}":
                raise SiteError(
                    "a site file with the name of a student's is none",
                    where=str(site_file),
                    needed=f"name: {name} and lab.bridge: {self.name}{number}",
                    remedy="rename the file, or give the class another name: --name",
                )
            text = site_file.read_text(encoding="utf-8")
        else:
            content = self._content(name, number)
            site = Site.load(content)
            text = HEAD.format(template=self.template) + yaml_text({"site": content}, width=120)
        return Member(name, site, site_file, self.project / FOLDER / name, text)

    def members(self) -> list[Member]:
        """Those that were made."""
        return [self.member(number) for number in sorted(int(name.rpartition("-")[2]) for name in self._read())]

    def make(self, member: Member) -> None:
        """Write what is missing of a student's files. What was written is recorded first, so that `forget` finds all of it."""
        wanted = {member.site_file: member.text.encode()}
        wanted[member.folder / "parameters" / member.site_file.name] = member.text.encode()
        for folder, pattern in (("notebooks", "**/*.ipynb"), ("parameters", "*.json")):
            for source in sorted((self.project / folder).glob(pattern)):
                if ".ipynb_checkpoints" not in source.parts:
                    wanted[member.folder / source.relative_to(self.project)] = source.read_bytes()
        missing = {path: content for path, content in wanted.items() if not path.exists()}
        recorded = self._read()
        recorded[member.name] = recorded.get(member.name, {}) | {str(path): _digest(content) for path, content in missing.items()}
        self._write(recorded)
        for path, content in missing.items():
            write_file(path, content, 0o644)

    def forget(self, member: Member) -> list[Path]:
        """Delete the files that were made for a student, and their folders where nothing else is; returns those that are kept."""
        recorded = self._read()
        made = {Path(path): digest for path, digest in recorded.pop(member.name, {}).items()}
        kept = [path for path, digest in made.items() if path.is_file() and _digest(path.read_bytes()) != digest]
        for path in made.keys() - set(kept):
            path.unlink(missing_ok=True)
        if member.folder.is_dir() and not any(path.is_file() for path in member.folder.rglob("*")):
            shutil.rmtree(member.folder)
        with suppress(OSError):  # other students' are there
            member.folder.parent.rmdir()
        self._write(recorded)
        return sorted(kept)

    def shown(self, path: Path) -> str:
        """A path for people, from the project's folder."""
        return str(path.relative_to(self.project))

    def _content(self, name: str, number: int) -> dict[str, Any]:
        """What is below `site:` for a new lab: the template's, with its own names, network and addresses."""
        data, where = file.read(self.template)
        template = Site.load(self.template)
        if template.lab is None:
            raise SiteError("the template of a class has no lab", where=where, needed="a site with a `lab:` section, such as lab")
        network = _subnet(self.network, number)
        moved = {str(node.address): str(_moved(node.address, template.lab.network, network)) for node in template.nodes}
        data = _replaced(data, moved)
        data["name"] = name
        data["lab"] = {**data["lab"], "bridge": f"{self.name}{number}", "network": str(network)}
        return data

    def _read(self) -> dict[str, dict[str, str]]:
        """Student → path → digest of what was made for him."""
        with suppress(FileNotFoundError):
            return json.loads(self._record.read_text(encoding="utf-8"))
        return {}

    def _write(self, recorded: Mapping[str, Mapping[str, str]]) -> None:
        if recorded:
            write_file(self._record, json.dumps(recorded, indent=1).encode())
        else:
            self._record.unlink(missing_ok=True)


def _subnet(network: IPv4Network, number: int) -> IPv4Network:
    return IPv4Network((int(network.network_address) + (number << 8), 24))


def _moved(address: IPv4Address, old: IPv4Network, new: IPv4Network) -> IPv4Address:
    """The address with the same host part in another network."""
    return new.network_address + (int(address) - int(old.network_address)) % 256


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """The value with other addresses in all its texts, a jump host's among them."""
    if isinstance(value, dict):
        return {key: _replaced(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, texts) for item in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"[0-9]+(\.[0-9]+){3}", lambda found: texts.get(found[0], found[0]), value)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
