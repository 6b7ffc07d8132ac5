"""The commands by hand that reports show: those that check a step succeed on a running site, as root types them there."""

import subprocess

import pytest

from airavata_runbook.chapters import MODULES, steps_of
from tests.labs import COMMAND, PROJECT

STEPS = [step for notebook in MODULES for step in steps_of(notebook) if getattr(step, "by_hand", None)]
# kubectl keeps a cache in the home folder: the tests leave nothing on the hosts.
HOME = "export HOME=$(mktemp -d); trap 'rm -rf $HOME' EXIT; set -e\n"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.chapter}-{step.name}")
def test_the_commands_that_check_a_step_succeed(site, site_file, hosts, step):
    shown = step.by_hand(site)
    for one in shown.check if shown else ():
        script = "\n".join(one.commands) + "\n"
        if one.host:
            done = hosts[one.host].run(HOME + script, timeout=120)
            assert done.status == 0 and done.text.strip(), f"{script}{done.text}{done.last_lines}"
        else:
            here = f'set -e; airavata-runbook() {{ {COMMAND} "$@"; }}\n{script.replace(f" {site.name} ", f" {site_file} ")}'
            local = subprocess.run(["bash", "-c", here], cwd=PROJECT, capture_output=True, text=True, timeout=120)
            assert local.returncode == 0 and local.stdout.strip(), local.stdout + local.stderr
