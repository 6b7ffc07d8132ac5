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
    targets = re.search(r"^\.PHONY: (.*)$", (PROJECT / "Makefile").read_text().replace("\\\n", ""), re.MULTILINE)
    assert targets and [line.split()[0] for line in make("help").splitlines()] == targets[1].split()


def test_make_test_announces_each_part_in_order():
    parts = re.findall(r'^echo "== (.*)"$', make("-n", "test"), re.MULTILINE)
    assert [part for part in parts if not part.startswith("setup")] == [
        "lint",
        "docs",
        "unit tests",
        "JupyterLab in a browser",
        "mirror",
        "tests on lab hosts",
        "one fault in each chapter",
        "poc-2017",
        "notebooks and running sites",
    ]


APT = """#!/bin/sh
# Stands in for apt-get: installs its packages while pip installs others, or fails.
[ $2 = update ] && exit
case "$*" in *busybox*) ;; *) exit 0 ;; esac
while [ ! -e "$FOLDER/pip begins" ]; do sleep 0.05; done
touch "$FOLDER/apt ends"
exit $APT_STATUS
"""
PYTHON = """#!/bin/sh
# Stands in for python3 -m venv FOLDER: a pip that waits for apt to end, or fails.
mkdir -p $3/bin
cat > $3/bin/pip <<'END'
#!/bin/sh
cat > /dev/null
touch "$FOLDER/pip begins"
[ $PIP_STATUS = 0 ] || exit $PIP_STATUS
while [ ! -e "$FOLDER/apt ends" ]; do sleep 0.05; done
END
chmod +x $3/bin/pip
"""


@pytest.mark.parametrize(("apt", "pip"), [(0, 0), (100, 0), (0, 1)], ids=["good", "apt fails", "pip fails"])
def test_setup_installs_debian_packages_beside_python_ones_and_fails_with_either(tmp_path, apt, pip):
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    for name, script in {"apt-get": APT, "python3": PYTHON, "dpkg-query": "#!/bin/sh\nexit 1\n"}.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "FOLDER": str(tmp_path),
        "APT_STATUS": str(apt),
        "PIP_STATUS": str(pip),
    }
    command = ["make", "setup", f"VENV={tmp_path}/venv"]
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )
    assert (done.returncode == 0) == (apt == pip == 0) == (tmp_path / "venv/.ready").exists(), done.stderr
    assert (tmp_path / "apt ends").exists(), "apt is never left half-way"


def test_hooks_run_the_tools_of_the_environment_without_network():
    (repository,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system" and hook["entry"].startswith(".venv/bin/")
