"""The distributions that hosts may have: what each file says, and that nothing outside of them names one."""

import re
from pathlib import Path

import pytest

from airavata_runbook import distributions
from airavata_runbook.distributions import ACCEPTED, KNOWN, SUPPORTED, OsRelease, packaging_of

PACKAGE = Path(distributions.__file__).parent


def test_the_accepted_distributions_are_those_of_the_documentation():
    assert SUPPORTED == "Debian 12, Ubuntu 24.04, or later"
    assert set(ACCEPTED) == {"debian", "ubuntu"}


@pytest.mark.parametrize(
    ("name", "version", "too_old"),
    [
        ("debian", "11", True),
        ("debian", "12", False),
        ("debian", "12.11", False),
        ("debian", "13", False),
        ("ubuntu", "22.04", True),
        ("ubuntu", "24.04", False),
        ("ubuntu", "24.10", False),
        ("ubuntu", "rolling", True),
    ],
)
def test_a_version_is_compared_as_numbers(name, version, too_old):
    assert KNOWN[name].is_too_old(version) == too_old


def test_to_add_a_distribution_is_to_add_a_file():
    """Nothing outside the package compares the name of one; each file has one, under its own name."""
    for name in KNOWN:
        assert f'Distribution("{name}"' in re.sub(r"\(\s+", "(", (PACKAGE / f"{name}.py").read_text())
    compared = re.compile(rf"""(==|!=|\bin) *[(\[{{]?["']({"|".join(KNOWN)})["']""")
    for path in PACKAGE.parent.rglob("*.py"):
        if path.parent != PACKAGE:
            assert not compared.search(path.read_text()), path


@pytest.mark.parametrize(
    ("system", "packaging"),
    [
        (OsRelease("debian", "12"), "deb"),
        (OsRelease("raspbian", "12", ("debian",)), "deb"),
        (OsRelease("linuxmint", "22", ("ubuntu", "debian")), "deb"),
        (OsRelease("nixos", "24.11"), "deb"),
        (None, "deb"),
    ],
)
def test_a_host_s_packages_are_managed_as_those_of_the_distribution_that_it_has_or_is_like(system, packaging):
    assert packaging_of(system).name == packaging
