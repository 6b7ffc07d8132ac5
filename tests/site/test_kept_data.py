"""What a database has written stays, whatever happens to its pod and its host; and no second pod gets at it."""

import io
import json
import tarfile
import time
from contextlib import suppress

import pytest

from airavata_runbook import lab
from airavata_runbook.chapters.registry import registry_client, site_password
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.session import session_of
from airavata_runbook.images.layout import open_archive
from airavata_runbook.lab.host import lab_host
from airavata_runbook.run import backup_file
from airavata_runbook.site import Site
from airavata_runbook.site.life import RESTORING
from airavata_runbook.wellknown import IMAGES, PKI, SECRETS
from tests.full_picture import kubectl, over_ssh, pictures
from tests.site.conftest import actions, in_database, make_noisy, report, runbook
from tests.unit.image_samples import files_of, image, layer, write_folder

PASSPHRASE, GIVEN = "a-passphrase-of-this-test", ("--passphrase", "env:BACKUP_PASSPHRASE")
IMAGE = files_of(*image(layer("what only the registry has")))
# Every table, and every user with a digest of what MariaDB keeps of the password.
TABLES = (
    "SELECT table_schema, table_name, engine, table_collation FROM information_schema.tables WHERE table_schema NOT IN "
    "('information_schema', 'performance_schema') ORDER BY 1, 2; "
    "SELECT Host, User, MD5(JSON_VALUE(Priv, '\\$.authentication_string')) FROM mysql.global_priv ORDER BY 1, 2"
)
ROW = "SELECT a FROM app_catalog.kept"
MAKE = "DROP TABLE IF EXISTS app_catalog.kept; CREATE TABLE app_catalog.kept (a INT); INSERT INTO app_catalog.kept VALUES (4711)"


@pytest.fixture
def row(first, site) -> None:
    in_database(site, MAKE)
    assert in_database(site, ROW) == "4711"


def await_row(site: Site) -> None:
    deadline = time.monotonic() + 180
    while in_database(site, ROW) != "4711":
        assert time.monotonic() < deadline, kubectl(site, f"-n {site.airavata.namespace} describe pod mariadb-0")
        time.sleep(1)


def test_a_deleted_pod_comes_back_with_the_data(row, site):
    kubectl(site, f"-n {site.airavata.namespace} delete pod mariadb-0 rabbitmq-0 zookeeper-0")
    await_row(site)


def test_what_was_written_to_kafka_is_there_after_its_pod_was_deleted(first, site):
    if not any(one.name == "kafka" for one in stack_of(site).components):
        pytest.skip("this site has no Kafka")
    here, pod, topic = f"-n {site.airavata.namespace}", "kafka-0", f"{site.name}_kept_logs"
    tool = f"{here} exec {pod} -- kafka-tool"
    write = f"kafka.tools.ConsoleProducer --bootstrap-server kafka:9092 --topic {topic} --request-required-acks all"
    kubectl(site, f"{here} exec {pod} -- sh -c 'echo written before | kafka-tool {write}'")
    kubectl(site, f"{here} delete pod {pod}")
    kubectl(site, f"{here} wait --for=condition=Ready pod/{pod} --timeout=180s")
    login = "--bootstrap-server kafka:9093 --consumer.config /tmp/kafka/client.properties"
    read = f"org.apache.kafka.tools.consumer.ConsoleConsumer {login} --topic {topic} --partition 0 --offset earliest"
    assert kubectl(site, f"{tool} {read} --max-messages 1 --timeout-ms 20000").strip() == "written before"


def test_a_second_pod_does_not_start_on_the_folder(row, site):
    here = f"-n {site.airavata.namespace}"
    kubectl(site, f"{here} scale statefulset mariadb --replicas=2")
    try:
        deadline, why = time.monotonic() + 60, ""
        while "ReadWriteOncePod" not in why:
            assert time.monotonic() < deadline, why
            time.sleep(1)
            why = kubectl(site, f"{here} get pod mariadb-1 -o jsonpath='{{.spec.nodeName}} {{.status.conditions[*].message}}'")
        assert why.startswith(" "), f"it is on a node: {why}"
    finally:
        kubectl(site, f"{here} scale statefulset mariadb --replicas=1")
        kubectl(site, f"{here} wait --for=delete pod/mariadb-1 --timeout=60s")
    assert in_database(site, ROW) == "4711"


def test_a_deleted_claim_is_made_anew_for_the_same_data(row, site_file, site):
    """Its volume is then of a claim that is gone, which the API server never gives to another one."""
    here = f"-n {site.airavata.namespace}"
    kubectl(site, f"{here} scale statefulset mariadb --replicas=0")
    kubectl(site, f"{here} wait --for=delete pod/mariadb-0 --timeout=90s")
    kubectl(site, f"{here} delete pvc mariadb")
    done = runbook("run", site_file, "--only", "05")
    assert done.returncode == 0, done.stdout + done.stderr
    await_row(site)
    assert kubectl(site, f"get pv {site.airavata.namespace}-mariadb -o jsonpath='{{.status.phase}}'") == "Bound"


def test_data_survives_a_reboot_of_its_host_and_a_run_changes_nothing(row, site_file, site):
    if site.lab is None:
        pytest.skip("only lab hosts are restarted")
    lab_host(site, site.storage_node.name).poweroff()
    lab.up(site)
    await_row(site)
    done = runbook("run", site_file, "--from", "03", "--to", "05")
    assert done.returncode == 0 and actions(report(site), "changed") == {}, done.stdout + done.stderr
    pods = json.loads(kubectl(site, f"-n {site.airavata.namespace} get pods -o json"))["items"]
    assert {"mariadb-0", "rabbitmq-0", "zookeeper-0"} <= {pod["metadata"]["name"] for pod in pods}
    assert in_database(site, ROW) == "4711"


@pytest.fixture(scope="module")
def backup(first, site_file, site, tmp_path_factory):
    """A backup of the site with the row and an image that only the registry has; its passphrase is in the environment."""
    file = tmp_path_factory.mktemp("backup") / "site.backup"
    in_database(site, MAKE)
    session = session_of(site)
    session.forget()
    registry_client(session, site_password(session)).push("kept", "1", open_archive(write_folder(file.parent / "image", IMAGE)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKUP_PASSPHRASE", PASSPHRASE)
        done = runbook("backup", site_file, "-o", str(file), *GIVEN)
        assert done.returncode == 0, done.stdout + done.stderr
        yield file


def test_a_backup_has_the_rows_the_objects_the_images_and_the_keys(backup, site):
    done = runbook("verify-backup", str(backup), *GIVEN)
    assert done.returncode == 0 and f"site {site.name}" in done.stdout and "whole" in done.stdout, done.stdout + done.stderr

    parts: dict[str, bytes] = {}
    for name, piece in backup_file.read(backup, backup_file.Key(passphrase=PASSPHRASE)):
        parts[name] = parts.get(name, b"") + piece
    assert parts.keys() == {"etcd.db", "master.tar", "mariadb.sql", "registry.tar"}
    assert b"INSERT INTO `kept` VALUES" in parts["mariadb.sql"] and b"(4711)" in parts["mariadb.sql"]
    assert b"/registry/statefulsets/" in parts["etcd.db"] and len(parts["etcd.db"]) % 512 == 32, "with etcd's own SHA-256"
    with tarfile.open(fileobj=io.BytesIO(parts["master.tar"])) as master:
        assert {f"{PKI}/ca.key", f"{SECRETS}/mariadb-root"} <= {f"/{name}" for name in master.getnames()}
    with tarfile.open(fileobj=io.BytesIO(parts["registry.tar"])) as registry:
        assert any(name.endswith("/repositories/mariadb") for name in registry.getnames())
    assert {one.name for one in backup.parent.iterdir()} == {"site.backup", "image"}


def test_a_backup_that_is_cut_and_a_site_that_lives_are_refused_by_a_restore(backup, site_file, site, tmp_path):
    cut = tmp_path / "cut"
    cut.write_bytes(backup.read_bytes()[:-1])
    for words in (("verify-backup", str(cut)), ("restore", site_file, str(cut))):
        done = runbook(*words, *GIVEN)
        assert done.returncode == 1 and "this backup is refused" in done.stderr, done.stdout + done.stderr
    done = runbook("restore", site_file, str(backup), *GIVEN)
    assert done.returncode == 1 and "overwrites none" in done.stderr and f"reset {site.name} --data" in done.stderr
    assert in_database(site, ROW) == "4711"


def test_a_site_is_restored_from_its_backup_on_new_hosts(backup, site_file, site, request):
    if site.lab is None:
        pytest.skip("only lab hosts are destroyed")
    before, in_it, images = objects(site), in_database(site, TABLES), image_digests(site)
    assert in_database(site, ROW) == "4711" and "mariadb" in str(images) and len(before) > 100
    for host in session_of(site).hosts.values():
        host.close()
    lab.down(site)
    lab.up(site)
    make_noisy(site)
    # Other tests compare with the first hosts before their first run.
    with suppress(pytest.skip.Exception):
        bare = request.getfixturevalue("bare")
        bare.update(pictures(site))
    assert not over_ssh(site, site.master.name, "ls /etc/kubernetes /var/lib/etcd 2>/dev/null"), "these are new hosts"

    done = runbook("restore", site_file, str(backup), *GIVEN)
    assert done.returncode == 0 and PASSPHRASE not in done.stdout + done.stderr, done.stdout + done.stderr
    assert in_database(site, ROW) == "4711" and in_database(site, TABLES) == in_it
    assert image_digests(site) == images
    after = objects(site)
    assert {name: after.get(name) for name in before} == before and after.keys() == before.keys()
    assert over_ssh(site, site.master.name, f"ls {RESTORING} 2>/dev/null") == ""

    done = runbook("run", site_file)
    assert done.returncode == 0 and actions(report(site), "changed") == {}, done.stdout + done.stderr
    assert objects(site) == before


def objects(site: Site) -> dict[str, str]:
    """Kind, namespace and name → UID, of all that the cluster does not make anew for hosts that start."""
    kinds = (
        "namespaces,nodes,deployments,statefulsets,jobs,services,secrets,configmaps,serviceaccounts,persistentvolumes,"
        "persistentvolumeclaims,roles,rolebindings,clusterroles,clusterrolebindings"
    )
    columns = "KIND:.kind,NS:.metadata.namespace,NAME:.metadata.name,UID:.metadata.uid"
    lines = kubectl(site, f"get {kinds} -A --no-headers -o custom-columns={columns}").splitlines()
    return {" ".join(line.split()[:3]): line.split()[3] for line in lines}


def image_digests(site: Site) -> list[str]:
    """The digest under each tag of the registry's folder, and the record of the images that the site runs."""
    tags = f"cd {site.registry.root}/data/docker/registry/v2/repositories && grep -r . --include=link */_manifests/tags | sort"
    return [over_ssh(site, site.registry_node.name, tags), over_ssh(site, site.master.name, f"cat {IMAGES}")]
