"""SELinux contexts: what is compared, and the commands, with STAND-INs for restorecon, semanage and matchpathcon.

There is no SELinux where these tests run. What a policy does with the commands is known from its documents only.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.resources import ContainerPolicy, Contexts, FileContext
from airavata_runbook.resources.selinux import without_rule

INSTALL = "dnf -y -q install container-selinux policycoreutils-python-utils"
VAR_LIB, CONTAINER_FILE = "system_u:object_r:var_lib_t:s0", "system_u:object_r:container_file_t:s0"


@pytest.fixture
def policy(tmp_path):
    """A folder with STAND-INs: contexts are files beside the file, NAME.context; rules are lines of `rules`."""
    (tmp_path / "rules").touch()
    programs = {
        "matchpathcon": f"""path=$2
while read -r pattern type; do expr "$path" : "$pattern$" > /dev/null && found=$type; done < {tmp_path}/rules
echo system_u:object_r:${{found:-var_lib_t}}:s0""",
        "semanage": f"""echo semanage "$*" >> {tmp_path}/calls
case $2 in
-a) if grep -qF "$5" {tmp_path}/rules; then echo "ValueError: File context for $5 already defined" >&2; exit 1; fi
    printf '%s\\n' "$5 $4" >> {tmp_path}/rules ;;
-l) while read -r pattern type; do printf '%s\\n' "$pattern   all files   system_u:object_r:$type:s0"; done < {tmp_path}/rules ;;
-d) grep -vF "$3" {tmp_path}/rules > {tmp_path}/left || true; mv {tmp_path}/left {tmp_path}/rules ;;
esac""",
        "restorecon": f"""echo restorecon "$*" >> {tmp_path}/calls
for path in "$@"; do :; done
wanted=$(matchpathcon -n "$path") now=$(cat "$path.context" 2>/dev/null || true)
test "$wanted" != "$now" || exit 0
case $* in *-n*) echo "Would relabel $path from $now to $wanted" ;; *) echo "$wanted" > "$path.context" ;; esac""",
        "stat": """for path in "$@"; do :; done; cat "$path.context" """,
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nset -eu\n{script}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def run(script: str, policy: Path) -> Found:
    done = subprocess.run(["sh", "-euc", script], capture_output=True, env={"PATH": f"{policy}:{os.environ['PATH']}"})
    assert done.stderr == b"" or b"already defined" in done.stderr
    return Found(done.stdout, done.returncode)


def calls(policy: Path) -> list[str]:
    path = policy / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_a_folder_of_pods_gets_a_rule_and_its_context_once(policy, tmp_path):
    folder = tmp_path / "srv" / "maria.db"
    folder.mkdir(parents=True)
    Path(f"{folder}.context").write_text(VAR_LIB)
    resource, context = FileContext(str(folder)), Context(None, None)
    change = resource.change(run(resource.probe(), policy), context)
    assert change.detail == f"policy {VAR_LIB.split(':')[2]} → container_file_t\nfolder var_lib_t → container_file_t\n"
    run(change.script, policy)
    escaped = str(folder).replace(".", r"\.")
    rule = escaped + "(/.*)?"
    assert calls(policy) == [f"semanage fcontext -a -t container_file_t {rule}", f"restorecon -R {folder}"]
    assert re.fullmatch(rule, f"{folder}/ibdata1") and not re.fullmatch(rule, str(folder).replace(".", "x"))


def test_a_folder_that_a_pod_runs_on_is_left_as_its_runtime_labelled_it(policy):
    found = Found(f"policy {CONTAINER_FILE}\nfolder {CONTAINER_FILE}:c12,c345\n".encode(), 0)
    assert FileContext("/srv/airavata/mariadb").change(found, Context(None, None)) is None


def test_a_folder_whose_rule_is_there_is_only_labelled_and_an_older_rule_is_changed():
    resource, context = FileContext("/srv/airavata/mariadb"), Context(None, None)
    lost = Found(f"policy {CONTAINER_FILE}\nfolder {VAR_LIB}\n".encode(), 0)
    assert resource.change(lost, context).script == "restorecon -R /srv/airavata/mariadb\n"
    other = Found(f"policy system_u:object_r:mysqld_db_t:s0\nfolder {CONTAINER_FILE}\n".encode(), 0)
    script = resource.change(other, context).script
    assert script.startswith("semanage fcontext -a ") and " || semanage fcontext -m -t container_file_t " in script
    not_there = Found(f"policy {VAR_LIB}\n".encode(), 0)  # in a plan: the folder is made before
    assert resource.change(not_there, context).detail == "policy var_lib_t → container_file_t\n"


def test_a_reset_removes_the_rule_and_no_other(policy):
    (policy / "rules").write_text("/srv/x(/.*)? container_file_t\n/srv/airavata/db(/.*)? container_file_t\n")
    look, remove = without_rule("/srv/airavata/db")
    assert run(look, policy).text == "/srv/airavata/db(/.*)?\n"
    run(remove, policy)
    assert run(look, policy).text == "" and (policy / "rules").read_text() == "/srv/x(/.*)? container_file_t\n"
    (policy / "semanage").unlink()
    assert run(look, policy) == Found(b"", 0)


def test_files_get_the_policy_s_context_where_they_have_another(policy, tmp_path):
    for name in ("kubelet", "runc"):
        (tmp_path / name).touch()
        Path(f"{tmp_path}/{name}.context").write_text("system_u:object_r:bin_t:s0" if name == "runc" else VAR_LIB)
    resource = Contexts("programs", [f"{tmp_path}/{name}" for name in ("kubelet", "runc", "not-there")], after=["package runc"])
    change = resource.change(run(resource.probe(), policy), Context(None, None))
    assert change.detail == f"Would relabel {tmp_path}/runc from system_u:object_r:bin_t:s0 to {VAR_LIB}\n"
    run(change.script, policy)
    assert resource.change(run(resource.probe(), policy), Context(None, None)) is None


def test_files_are_looked_at_again_after_a_change_of_them():
    resource = Contexts("files", ["/etc/kubernetes"], after=["package runc"])
    for touched, again in (
        ("/etc/kubernetes/proxy", True),
        ("package runc", True),
        ("/etc/hosts", False),
        ("package etcd", False),
    ):
        assert bool(resource.change(Found(b"", 0), Context(None, None, touched={touched}))) == again


def test_the_policy_is_installed_where_it_or_semanage_is_missing():
    resource, context = ContainerPolicy(INSTALL), Context(None, None)
    known, tool = "system_u:object_r:container_var_lib_t:s0\n", "/usr/sbin/semanage\n"
    assert resource.change(Found((known + tool).encode(), 0), context) is None
    for text in (known, VAR_LIB + "\n" + tool, ""):
        assert resource.change(Found(text.encode(), 0), context).shown == INSTALL
    behind = ContainerPolicy(INSTALL, "/etc/airavata-runbook/proxy.sh").change(Found(b"", 0), context)
    assert behind.script.startswith(". /etc/airavata-runbook/proxy.sh\n" + INSTALL)
