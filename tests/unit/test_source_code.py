"""What code does identifies it, not how it is written down."""

import pytest

from airavata_runbook.mirror.source_code import fingerprint

SOURCE = '''"""What the module is for."""

import os

LEVEL = 6


def write(path: str) -> None:
    """Write it."""
    os.write(path, b"text", LEVEL, None)
'''


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("import os\n", "import os  # the system\nfrom pathlib import Path\n"),
        ("LEVEL = 6", "# of gzip\nLEVEL = 6  # not more"),
        ('"""What the module is for."""', '"""Something else."""'),
        ('    """Write it."""\n', ""),
        ("path: str) -> None", "path)"),
        ('b"text", LEVEL', 'b"text",\n        LEVEL'),
    ],
)
def test_comments_docstrings_imports_hints_and_layout_change_nothing(was, becomes):
    assert was in SOURCE
    assert fingerprint(SOURCE.replace(was, becomes)) == fingerprint(SOURCE)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [("LEVEL = 6", "LEVEL = 5"), ('b"text"', '"text"'), ("None)\n", "False)\n"), ("write(path", "writes(path")],
)
def test_another_constant_or_another_call_does(was, becomes):
    assert was in SOURCE
    assert fingerprint(SOURCE.replace(was, becomes)) != fingerprint(SOURCE)


def test_every_version_of_python_finds_the_same():
    """It was taken with Python 3.11."""
    assert fingerprint(SOURCE).startswith("16af362e4fbfe832")
