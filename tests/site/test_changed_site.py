"""A site file that is changed while its site exists: each field does what its declared life says (site/marks.py).

On the site with two hosts only, which is left as it was found, but for its data.
"""

import copy
import json
import time
from pathlib import Path

import pytest
import yaml

from airavata_runbook.site import Site
from airavata_runbook.site.life import lives
from airavata_runbook.site.marks import Fixed, Moved, Outside
from tests.full_picture import etcdctl, kubectl, over_ssh
from tests.site.conftest import in_database, report, runbook
from tests.unit.test_site_life import CHANGES

PASSWORD = "CHANGED_PASSWORD"
# Field of lab.yaml → another valid value. Fields of a node are changed in the second one. None: there is no other valid value.
OTHERS = CHANGES | {
    "ssh.user": "operator",
    "nodes.name": "renamed",
    "nodes.address": "99",  # the last part
    "nodes.interface": "host1",
    "nodes.role": "master",  # and the first one becomes a worker
    "repository.name": "Other packages",
    "repository.baseurl": "file:///opt/other/repository",
    "repository.gpgcheck": None,  # together with baseurl only
    "registry.name": "images.other",
    "registry.user": "someone",
    "registry.password": f"env:{PASSWORD}",
    "airavata.stack": None,
    "airavata.gateway": "other",
    "airavata.stand_in": False,
    "airavata.components": {"portal": {"env": {"PAGE_TITLE": "other"}, "replicas": 2}},
    "verify.disruptive": False,
    "lab.bridge": "labother",
    "lab.network": "/23",  # a larger one around it
}
APPLIED = ("nodes.name", "repository.name", "registry.user", "registry.password", "airavata.gateway", "airavata.stand_in")
MOVED = {"airavata.storage_path": "/srv/moved/databases", "airavata.storage_node": "master"}


def leaves(content: object, prefix: str = "") -> set[str]:
    """The dotted fields of a site file's content; those of all nodes as those of one."""
    if isinstance(content, dict):
        return {leaf for key, value in content.items() for leaf in leaves(value, f"{prefix}.{key}".lstrip("."))}
    if isinstance(content, list):
        return {leaf for value in content for leaf in leaves(value, prefix)}
    return {prefix}


@pytest.fixture(scope="module")
def two(first, site):
    if len(site.nodes) != 2:
        pytest.skip("on the site with two hosts")
    return site


@pytest.fixture(scope="module")
def changed_file(site_file, tmp_path_factory):
    """A function from fields and values to the path of the site file with these changes; of a host that is renamed as well.

    Without lab:, as the tool for lab hosts knows them by their names.
    """
    site, folder = Site.load(site_file), tmp_path_factory.mktemp("changed")

    def write(**fields: object) -> str:
        content = yaml.safe_load(Path(site_file).read_text())
        changed = content["site"]
        if not any(field.startswith("lab") for field in fields):
            changed.pop("lab")
            changed["ssh"] |= {"key": str(site.master.ssh.key), "known_hosts": str(site.master.ssh.known_hosts)}
        for field, value in fields.items():
            section, _, name = field.rpartition(".")
            part = changed
            for key in filter(None, section.split(".")):
                part = part.setdefault(key, {})
            if section != "nodes":
                part[name] = str(site.lab.network.supernet()) if field == "lab.network" else value
            elif field == "nodes.role":
                part[0]["role"], part[1]["role"] = "worker", "master"
            elif field == "nodes.address":
                part[1]["address"] = f"{part[1]['address'].rpartition('.')[0]}.{value}"
            else:
                part[1][name] = value
        path = folder / f"{len(list(folder.iterdir()))}.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return write


def where_pods_run(site: Site) -> set[str]:
    """The nodes of all pods that run."""
    pods = json.loads(kubectl(site, "get pods -A -o json"))["items"]
    return {pod["spec"].get("nodeName") for pod in pods if pod["status"]["phase"] == "Running"}


def configuration(site: Site) -> dict[str, str]:
    """The names of all files below /etc and /opt, and the objects of Airavata's namespace with the users of its registry."""
    listed = {node.name: over_ssh(site, node.name, "find /etc /opt -not -path '*/docker/*' | sort") for node in site.nodes}
    listed["cluster"] = kubectl(site, f"get deploy,statefulset,pvc,pv,svc,pdb,secret -n {site.airavata.namespace} -o name")
    listed["labels"] = kubectl(site, "get nodes --no-headers -o custom-columns=:.metadata.labels")
    return listed


def test_every_field_of_the_lab_has_another_value_here(two, site_file):
    assert leaves(yaml.safe_load(Path(site_file).read_text())["site"]) <= OTHERS.keys()


@pytest.mark.parametrize("field", [field for field, value in OTHERS.items() if value is not None])
def test_the_first_look_at_a_changed_field_is_as_its_life_says(two, changed_file, monkeypatch, field):
    monkeypatch.setenv(PASSWORD, "a-password-of-this-test")
    life = lives()[field]
    done = runbook("check", changed_file(**{field: OTHERS[field]}))
    found = [line for line in done.stdout.splitlines() if line.startswith("fixed-fields ")]
    if isinstance(life, (Fixed, Moved)):
        assert done.returncode == 1 and any(f" {field}: " in line for line in found), done.stdout + done.stderr
        assert "move-storage" in done.stdout or not isinstance(life, Moved)
    else:
        assert found == [] and (done.returncode == 0 or isinstance(life, Outside)), done.stdout + done.stderr


def test_chapters_that_change_hosts_refuse_all_fixed_fields_and_touch_nothing(two, changed_file, site):
    fixed = {
        field: value for field, value in OTHERS.items() if value and isinstance(lives()[field], Fixed) and "nodes" not in field
    }
    file, before = changed_file(**fixed), configuration(site)
    for chapter in ("02", "03", "05"):
        done = runbook("run", file, "--only", chapter)
        assert done.returncode == 1 and [field for field in fixed if f"{field}: found" not in done.stderr] == []
        assert report(Site.load(file))["changed"] == 0
    assert configuration(site) == before


def test_free_fields_and_those_with_a_run_as_procedure_are_changed_and_set_back(two, changed_file, site_file, site, monkeypatch):
    monkeypatch.setenv(PASSWORD, "a-password-of-this-test")
    before = configuration(site)
    file = changed_file(**{field: OTHERS[field] for field in APPLIED})
    for expected, words in (
        (True, ("run", file)),
        (False, ("run", file)),
        (True, ("run", site_file)),
        (False, ("run", site_file)),
    ):
        done = runbook(*words, "--to", "05")
        assert done.returncode == 0, done.stdout + done.stderr
        assert bool(report(site)["changed"]) == expected
        if words[1] == file and expected:
            assert "deployment.apps/portal" not in (now := configuration(site))["cluster"] and "renamed" in now["labels"]
            assert "renamed" in over_ssh(site, site.master.name, "cat /etc/hosts")
            assert over_ssh(site, site.master.name, f"cut -d: -f1 {site.registry.root}/auth/htpasswd").split()[:1] == ["someone"]
    assert configuration(site) == before


def test_databases_move_with_their_data_and_the_old_folders_are_kept_until_confirmed(two, changed_file, site):
    old, new = site.airavata.storage_path, MOVED["airavata.storage_path"]
    in_database(site, "DROP TABLE IF EXISTS app_catalog.moved; CREATE TABLE app_catalog.moved (a INT);"
                " INSERT INTO app_catalog.moved VALUES (4711)")  # fmt: skip
    file = changed_file(**MOVED)
    over_ssh(site, "master", f"mkdir -p {new}/mariadb; touch {new}/mariadb/of-somebody")
    done = runbook("move-storage", file, "--yes")
    assert done.returncode == 1 and "not empty" in done.stderr and "nothing was changed" in done.stderr
    assert in_database(site, "SELECT a FROM app_catalog.moved") == "4711", "it still runs"
    over_ssh(site, "master", f"rm -r {new}")

    done = runbook("move-storage", file, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert in_database(site, "SELECT a FROM app_catalog.moved") == "4711"
    assert "mariadb" in over_ssh(site, "worker", f"ls {old}") and "mariadb" in over_ssh(site, "master", f"ls {new}")
    volume = kubectl(site, f"get pv {site.airavata.namespace}-mariadb -o jsonpath='{{.spec.local.path}} {{.status.phase}}'")
    assert volume == f"{new}/mariadb Bound"
    done = runbook("run", file)
    assert done.returncode == 0 and report(site)["changed"] == 0, done.stdout + done.stderr
    assert f"{old}/mariadb" in runbook("check", file).stdout
    done = runbook("move-storage", file, "--delete-old", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert over_ssh(site, "worker", f"ls -d {old} /etc/airavata-runbook/storage 2>/dev/null") == ""


@pytest.fixture
def alone(site_file, tmp_path):
    """The site file with the moved databases; and the same without its worker."""
    content = yaml.safe_load(Path(site_file).read_text())
    content["site"]["airavata"] |= {"storage_path": MOVED["airavata.storage_path"], "storage_node": "master"}
    files = tmp_path / "moved.yaml", tmp_path / "alone.yaml"
    files[0].write_text(yaml.safe_dump(content))
    smaller = copy.deepcopy(content)
    smaller["site"]["nodes"] = [node for node in content["site"]["nodes"] if node["role"] == "master"]
    files[1].write_text(yaml.safe_dump(smaller))
    return [str(file) for file in files]


def test_a_worker_is_removed_and_joins_again(two, alone, site):
    moved, without = alone
    address = str(site.node("worker").address)
    for host, why in (("master", "the master"), ("nobody", "no node")):
        done = runbook("remove", moved, host, "--yes")
        assert done.returncode == 1 and why in done.stderr, done.stdout + done.stderr
    done = runbook("check", without)
    assert done.returncode == 1 and f"no worker ({address})" in done.stdout and "airavata-runbook remove" in done.stdout

    done = runbook("remove", moved, "worker", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert address not in kubectl(site, "get nodes") and address not in etcdctl(
        site, f"get --prefix {site.network.etcd_prefix}/subnets"
    )
    services = "systemctl is-active kubelet kube-proxy flanneld containerd; ls -d /etc/kubernetes /etc/cni 2>&1"
    left = over_ssh(site, "worker", services)
    assert "active\n" not in left.replace("inactive", "") and left.count("No such file") == 2, left
    deadline = time.monotonic() + 120  # the API server keeps pods of a deleted node for up to a minute
    while (names := where_pods_run(site)) != {str(site.master.address)}:
        assert time.monotonic() < deadline, names
        time.sleep(2)
    for expected in (True, False):
        done = runbook("run", without)
        assert done.returncode == 0 and bool(report(site)["changed"]) == expected, done.stdout + done.stderr
    assert "worker" not in over_ssh(site, "master", "cat /etc/hosts /etc/airavata-runbook/site.json")

    for expected in (True, False):
        done = runbook("run", moved)
        assert done.returncode == 0 and bool(report(site)["changed"]) == expected, done.stdout + done.stderr


def test_the_databases_move_back(two, site_file, site):
    for words in (("move-storage", site_file, "--yes"), ("move-storage", site_file, "--delete-old", "--yes")):
        done = runbook(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert in_database(site, "SELECT a FROM app_catalog.moved") == "4711"
    assert over_ssh(site, "master", f"ls -d {MOVED['airavata.storage_path']} 2>/dev/null") == ""
    done = runbook("run", site_file)
    assert done.returncode == 0 and report(site)["changed"] == 0, done.stdout + done.stderr
