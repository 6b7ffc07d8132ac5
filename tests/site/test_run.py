"""A whole run, observed from outside: it succeeds, a second one changes nothing, and no secret is shown."""

from base64 import b64encode
from pathlib import Path

import yaml
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config

from airavata_runbook.cluster.session import session_of
from airavata_runbook.site import Site
from airavata_runbook.wellknown import SECRETS
from tests.site.conftest import PROJECT, report, runbook

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("[0-9][0-9]-*.ipynb"))


def running_services(site: Site) -> dict[str, str]:
    """Every running service of each host with its start time."""
    script = """names=$(systemctl list-units --type=service --state=running --plain --no-legend | awk '{print $1}' | grep -v @)
for unit in $names; do echo $unit $(systemctl show -P ExecMainStartTimestampMonotonic $unit); done"""
    return {name: host.run(script).text for name, host in session_of(site).hosts.items()}


def pods(site_file: str) -> dict[str, list]:
    """Every pod with its UID and the restart counts of its containers."""
    done = runbook("kubeconfig", site_file)
    assert done.returncode == 0, done.stderr
    listed = CoreV1Api(new_client_from_config(done.stdout.strip())).list_pod_for_all_namespaces().items
    return {
        f"{pod.metadata.namespace}/{pod.metadata.name}": [
            pod.metadata.uid,
            *(status.restart_count for status in pod.status.container_statuses or []),
        ]
        for pod in listed
    }


def test_six_chapters_succeed_and_are_reported(first, site):
    assert [chapter["chapter"] for chapter in first["chapters"]] == [path.stem for path in NOTEBOOKS]
    assert (first["site"], first["outcome"], first["failed"]) == (site.name, "ok", 0)
    assert all(chapter["steps"] for chapter in first["chapters"])
    page = (PROJECT / "outputs" / site.name / first["run"] / "report.html").read_text()
    assert "Succeeded" in page and all(path.stem in page for path in NOTEBOOKS)


def test_a_second_run_changes_nothing_and_restarts_nothing(first, site_file, site):
    services, all_pods = running_services(site), pods(site_file)
    assert any("etcd" in units for units in services.values()) and all_pods
    done = runbook("run", site_file, "--set", "verify.disruptive=false")  # else 06-verify deletes pods on purpose
    assert done.returncode == 0, done.stdout + done.stderr
    again = report(site)
    changed = [
        (chapter["chapter"], step["title"], host, item["label"], item["summary"])
        for chapter in again["chapters"]
        for step in chapter["steps"]
        for host, items in step["hosts"].items()
        for item in items
        if item["status"] == "changed"
    ]
    assert again["changed"] == 0, changed
    assert running_services(site) == services
    assert pods(site_file) == all_pods


def test_another_workstation_would_change_nothing_on_a_finished_site(first, site_file, site, tmp_path, monkeypatch):
    """Only the site file and an SSH key are copied; without its lab: section the hosts are ordinary ones."""
    content = yaml.safe_load(Path(site_file).read_text())
    content["site"].pop("lab", None)
    for name in ("key", "known_hosts"):
        copy = tmp_path / name
        copy.write_bytes(Path(getattr(site.master.ssh, name)).read_bytes())
        copy.chmod(0o600)
        content["site"].setdefault("ssh", {})[name] = str(copy)
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path / "state"))
    done = runbook("plan", str(tmp_path / "site.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    planned = report(site, "latest-plan")
    assert (planned["changed"], planned["would_change"]) == (0, 0)


def test_no_secret_is_shown_anywhere(first, site):
    hosts = session_of(site).hosts
    listing = hosts[site.master.name].run(f"cd {SECRETS} && for name in *; do echo $name $(cat $name); done").text
    secrets = dict(line.split(None, 1) for line in listing.splitlines())
    references = {"registry.password": site.registry.password, **site.airavata.secrets}
    secrets |= {name: session_of(site).vault.secret(reference) for name, reference in references.items()}
    login = f"{site.registry.user}:{secrets['registry.password']}"  # as containerd and pods have it
    secrets["registry login"] = b64encode(login.encode()).decode()
    pull_login = f"pull:{secrets['registry-pull-password']}"
    secrets["pull login"] = b64encode(pull_login.encode()).decode()
    assert all(len(value) >= 12 for value in secrets.values())
    texts = {}
    for path in [*(PROJECT / "outputs" / site.name).rglob("*"), *NOTEBOOKS]:
        if path.is_file():
            texts[str(path)] = path.read_text(errors="replace")
    for name, host in hosts.items():
        texts[f"processes of {name}"] = host.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '").text
        texts[f"journal of {name}"] = host.run("journalctl --no-pager -o cat").text
        texts[f"pod logs on {name}"] = host.run("cat /var/log/pods/*/*/*.log 2>/dev/null").text
    assert len(texts) > 10
    assert [(where, name) for where, text in texts.items() for name, value in secrets.items() if value in text] == []
