"""requirements.lock, from which `make setup` installs, has all that pyproject.toml asks for, and a hash of each file."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.unit.test_make import make

PROJECT = Path(__file__).parents[2]
LOCK = (PROJECT / "requirements.lock").read_text()
ENTRY = re.compile(r"^(\S.*?)((?: \\\n +--hash=sha256:[0-9a-f]{64})+)\n", re.MULTILINE)
PYTHONS = ("3.11.2", "3.12.0", "3.13.0")  # 3.11.2 is Debian 12's


def wanted() -> list[Requirement]:
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    project = content["project"]
    parts = [
        content["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *content["dependency-groups"].values(),
    ]
    return [Requirement(one) for part in parts for one in part]


def locked(python: str) -> dict[str, Version]:
    """Name → version of what is installed on Linux with this Python. Each is pinned, and named once."""
    environment = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    found: dict[str, Version] = {}
    for text, _ in ENTRY.findall(LOCK):
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        (pin,) = requirement.specifier
        name = canonicalize_name(requirement.name)
        assert pin.operator == "==" and name not in found, text
        found[name] = Version(pin.version)
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_within_its_bounds(python):
    pins = locked(python)
    for requirement in wanted():
        version = pins.get(canonicalize_name(requirement.name))
        assert version and version in requirement.specifier, f"{requirement}: {version} is locked; run make lock"


def test_the_lock_has_nothing_but_entries_with_hashes():
    """No option, address or path: where packages come from is the user's choice."""
    rest = [line for line in ENTRY.sub("", LOCK).splitlines() if line and not line.lstrip().startswith("#")]
    assert rest == [] and "://" not in LOCK and len(ENTRY.findall(LOCK)) > 100


def test_setup_installs_only_what_has_a_hash():
    installs = [line for line in make("-n", "-B", ".venv/.ready").splitlines() if "pip install" in line]
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation --editable ." in line for line in installs)
    assert all("--no-build-isolation" in line for line in installs[1:]), "pip's build isolation knows no hashes"


def test_setuptools_is_extracted_from_the_lock_with_its_hashes():
    (command,) = re.findall(r"sed -n '(/.*?/p)'", (PROJECT / "Makefile").read_text())
    start, end = re.fullmatch("/(.*)/,/(.*)/p", command).groups()
    lines = LOCK.splitlines()
    first = next(number for number, line in enumerate(lines) if re.match(start, line))
    taken = lines[first : next(number for number in range(first, len(lines)) if end in lines[number])]
    assert taken[0].startswith("setuptools==") and len(taken) == 3 and all("--hash=sha256:" in line for line in taken[1:])
