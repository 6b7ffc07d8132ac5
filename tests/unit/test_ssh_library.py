"""paramiko comes without invoke, and nobody else misses it."""

import subprocess
import sys


def test_paramiko_is_loaded_without_invoke_which_stays_importable():
    script = (
        "import sys, airavata_runbook.engine.step, paramiko; assert 'invoke' not in sys.modules; import invoke; "
        "print(invoke.__name__, airavata_runbook.hosts.host.paramiko is paramiko)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["invoke", "True"], done.stderr
