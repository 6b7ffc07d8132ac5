"""The Makefile's targets, and the hooks of pre-commit."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]


def make(*arguments: str) -> str:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # of the make that runs these tests
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True).stdout


def test_help_has_a_line_for_every_target():
    targets = re.search(r"^\.PHONY: (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert targets and [line.split()[0] for line in make("help").splitlines()] == targets[1].split()


def test_make_test_announces_each_part_in_order():
    parts = re.findall(r'^echo "== (.*)"$', make("-n", "test"), re.MULTILINE)
    assert [part for part in parts if part != "setup"] == [
        "lint",
        "unit tests",
        "mirror",
        "tests on lab hosts",
        "one fault in each chapter",
        "poc-2017",
        "notebooks and running sites",
    ]


def test_hooks_run_the_tools_of_the_environment_without_network():
    (repository,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system" and hook["entry"].startswith(".venv/bin/")
