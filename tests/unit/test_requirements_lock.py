"""requirements.lock, from which `make setup` installs, has all that pyproject.toml asks for, and a hash of each file; what only
`make docs` needs is in a lock of its own beside it."""

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
DOCS_LOCK = (PROJECT / "docs/sphinx/requirements.lock").read_text()
ENTRY = re.compile(r"^(\S.*?)((?: \\\n +--hash=sha256:[0-9a-f]{64})+)\n", re.MULTILINE)
PYTHONS = ("3.11.2", "3.12.0", "3.13.0")  # 3.11.2 is Debian 12's


def wanted() -> dict[str, list[Requirement]]:
    """Lock → what it has to have."""
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    project = content["project"]
    parts = [
        content["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *(group for name, group in content["dependency-groups"].items() if name != "docs"),
    ]
    own = [Requirement(one) for part in parts for one in part]
    return {LOCK: own, DOCS_LOCK: [Requirement(one) for one in content["dependency-groups"]["docs"]]}


def locked(python: str, lock: str = LOCK) -> dict[str, Version]:
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
    for text, _ in ENTRY.findall(lock):
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
    for lock, requirements in wanted().items():
        pins = locked(python, lock)
        for requirement in requirements:
            version = pins.get(canonicalize_name(requirement.name))
            assert version and version in requirement.specifier, f"{requirement}: {version} is locked; run make lock"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_documentation_has_what_setup_has_installed_already_in_the_same_version(python):
    pins, docs = locked(python), locked(python, DOCS_LOCK)
    both = pins.keys() & docs.keys()
    assert len(both) > 30 and {name: docs[name] for name in both} == {name: pins[name] for name in both}


def test_the_lock_has_nothing_but_entries_with_hashes():
    """No option, address or path: where packages come from is the user's choice."""
    for lock, least in ((LOCK, 100), (DOCS_LOCK, 50)):
        rest = [line for line in ENTRY.sub("", lock).splitlines() if line and not line.lstrip().startswith("#")]
        assert rest == [] and "://" not in lock and len(ENTRY.findall(lock)) > least


def test_setup_installs_only_what_has_a_hash():
    installs = [line for line in make("-n", "-B", ".venv/.ready").splitlines() if "pip install" in line]
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation --editable ." in line for line in installs)
    assert all("--no-build-isolation" in line for line in installs[1:]), "pip's build isolation knows no hashes"


def test_docs_installs_only_what_has_a_hash():
    (line,) = [line for line in make("-n", "-B", "-o", ".venv/.ready", ".venv/.docs").splitlines() if "pip install" in line]
    assert "--require-hashes" in line and "--no-deps" in line and "docs/sphinx/requirements.lock" in line


def test_setuptools_is_extracted_from_the_lock_with_its_hashes():
    (command,) = re.findall(r"sed -n '(/.*?/p)'", (PROJECT / "Makefile").read_text())
    start, end = re.fullmatch("/(.*)/,/(.*)/p", command).groups()
    lines = LOCK.splitlines()
    first = next(number for number, line in enumerate(lines) if re.match(start, line))
    taken = lines[first : next(number for number in range(first, len(lines)) if end in lines[number])]
    assert taken[0].startswith("setuptools==") and len(taken) == 3 and all("--hash=sha256:" in line for line in taken[1:])
