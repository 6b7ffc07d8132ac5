"""Optional parts of libraries that take long to load are left out, and stay importable for others."""

import subprocess
import sys


def in_new_process(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout.split()


def test_paramiko_is_loaded_without_invoke_which_stays_importable():
    script = (
        "import sys, airavata_runbook.engine.step, paramiko; assert 'invoke' not in sys.modules; import invoke; "
        "print(invoke.__name__, airavata_runbook.hosts.host.paramiko is paramiko)"
    )
    assert in_new_process(script) == ["invoke", "True"]


def test_a_run_is_loaded_without_the_grammar_of_rfc_3987_which_stays_importable():
    script = (
        "import sys, airavata_runbook.run.notebook; assert 'jsonschema' in sys.modules; assert 'lark' not in sys.modules; "
        "import rfc3987_syntax; print(rfc3987_syntax.__name__)"
    )
    assert in_new_process(script) == ["rfc3987_syntax"]


def test_what_is_loaded_already_is_not_hidden():
    script = (
        "import invoke; from airavata_runbook.local.imports import without\n"
        "with without('invoke', 'no.such'): import invoke.config\n"
        "import sys; print(invoke is sys.modules['invoke'], 'no.such' in sys.modules)"
    )
    assert in_new_process(script) == ["True", "False"]
