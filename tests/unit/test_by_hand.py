"""What a report shows under "By hand": for every step, with the site's own values, and without any secret."""

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import MODULES, steps_of
from airavata_runbook.engine.by_hand import ByHand, Shell
from airavata_runbook.engine.report import Item, Report, Status, report_html
from airavata_runbook.engine.step import Check, Step
from airavata_runbook.site.secret_text import holds_secret

SITES = ("lab", "lab-three", "lab-unified", "poc-2017")
STEPS = [(notebook, step) for notebook in MODULES for step in steps_of(notebook) if isinstance(step, Step | Check)]
MOST = 6  # commands that do a step, beside those that only say who types and where


def shells(site: Site, step) -> list[Shell]:
    shown = step.by_hand(site) if step.by_hand else None
    return [*shown.do, *shown.check] if shown else []


def typed(site: Site, notebook: str, name: str) -> str:
    """All that is shown for a step, in one text."""
    (step,) = (step for one, step in STEPS if (one, step.name) == (notebook, name))
    return "\n".join(f"{' '.join(one.login)}\n" + "\n".join(one.commands) for one in shells(site, step))


@pytest.mark.parametrize("notebook", MODULES)
def test_every_step_shows_how_to_do_and_to_check_it_by_hand(notebook):
    site = Site.load("lab")
    for step in (step for one, step in STEPS if one == notebook):
        assert step.by_hand, f"{notebook}: {step.name} has no commands by hand: chapters/by_hand/{step.chapter}.py"
        shown = step.by_hand(site)
        assert shown.check and (shown.do or isinstance(step, Check)), step.name
        for one in shown.do:
            commands = [line for line in one.commands if not line.startswith(("export ", "umask ", "#"))]
            assert 1 <= len(commands) <= MOST, step.name


@pytest.mark.parametrize("name", SITES)
def test_no_secret_is_typed(name):
    site = Site.load(name)
    lines = [line for _, step in STEPS for one in shells(site, step) for line in one.commands]
    assert len(lines) > 100 and [line for line in lines if holds_secret(line)] == []


def test_the_commands_have_the_sites_own_values():
    site = Site.load("lab-three")
    text = typed(site, "03-etcd-flannel", "network_config")
    assert f"etcdctl put {site.network.etcd_prefix}/config" in text and f'"Network": "{site.network.pods}"' in text
    assert f"lab ssh --site lab-three {site.master.name}" in text
    assert f"{site.registry.name}:{site.registry_pull_port}" in typed(site, "04-registry", "pull_settings")
    assert f"-n {site.airavata.namespace} " in typed(site, "05-deploy-airavata", "servers")
    portal = typed(site, "06-verify", "portal")
    assert all(f"https://{node.address}:{site.airavata.portal_node_port}/" in portal for node in site.nodes)
    assert "apt-get install" in typed(site, "02-install", "packages") and "dnf install" in typed(site, "02-install", "packages")


def test_hosts_are_logged_in_to_as_the_site_file_says():
    ssh = {"user": "admin", "port": 2200, "jump": "me@bastion.example.org", "key": "~/.ssh/my key"}
    nodes = [{"name": "head", "address": "10.0.0.11", "role": "master"}, {"name": "one", "address": "10.0.0.12"}]
    site = Site.load({"name": "real", "ssh": ssh, "nodes": nodes})
    (_, shell) = shells(site, dict((step.name, step) for _, step in STEPS)["etcd_service"])
    assert shell.login == ("ssh -p 2200 -J me@bastion.example.org -i ~/'.ssh/my key' admin@10.0.0.11", "sudo -i")
    assert shell.place.startswith("on head, as root (ssh -p 2200") and shell.place.endswith(", then sudo -i)")


def test_what_a_stack_does_not_have_is_not_shown():
    site, by_name = Site.load("lab-unified"), {step.name: step for _, step in STEPS}
    assert all(by_name[name].by_hand(site) is None for name in ("portal", "browser", "spread", "replica_killed"))
    assert "deployment/airavata-server" in typed(site, "06-verify", "servers")


@pytest.fixture
def report() -> Report:
    shown = ByHand(
        do=(Shell(host="one", login=("ssh root@one",), commands=("echo 'a<b' > /f",)),),
        check=(Shell(host="one", login=("ssh root@one",), commands=("cat /f",), likewise=True),),
    )
    items = {"one": [Item(label="file /f", status=Status.CHANGED)], "two": [Item(label="file /f", status=Status.OK)]}
    return Report(chapter="c", step="s", title="Files", plan=False, hosts=items, by_hand=shown)


def test_a_report_shows_it_as_text_and_folded_in_html(report):
    text, page = str(report), report_html(report)
    assert text.endswith(
        "  To do it, on one, as root (ssh root@one):\n    echo 'a<b' > /f\n"
        "  To check it, on one, as root (ssh root@one), and likewise on the other hosts:\n    cat /f"
    )
    assert "<details><summary>By hand</summary>" in page and "echo &#x27;a&lt;b&#x27; &gt; /f" in page
    # A plan on the terminal shows what would change, and report.json what was found: neither is longer by it.
    assert "cat /f" not in str(report.without_ok()) and "file /f" in str(report.without_ok())
    assert "by_hand" not in report.model_dump(mode="json")


def test_a_plan_shows_it_as_a_run_does(monkeypatch):
    from airavata_runbook.chapters import verify

    site = Site.load("lab")
    planned = verify.nodes(site, plan=True)
    assert planned.by_hand == verify.nodes.by_hand(site) and "kubectl get nodes" in str(planned)
