"""The mirror's Kafka, run as its user on a root that is read-only: who may write and read, and what stays.

With the very client of Airavata 0.17, for which Kafka 4 would be too new.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from airavata_runbook.images.layout import open_archive
from airavata_runbook.mirror import images
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from tests.java_client import java
from tests.lab.test_java_images import unpacked

OLD_CLIENT = {
    "org.apache.kafka:kafka-clients:0.8.2.2": "ecf415d739cf5d4288316004d3f1b7227be5238a56c225ea19d83a4602124bf6",
    "org.slf4j:slf4j-api:1.7.36": "d3ef575e3e4979678dc01bf1dcce51021493b4d11fb7f1be8ad982877c16a1c0",
}
PASSWORD = 'can"ary\\pass word'
# A pod in a few lines: namespaces of its own, the root read-only, what the manifest mounts, and its name for itself.
RUN = """set -e
mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; mount -t proc proc "$1/proc"; mount --bind /dev "$1/dev"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"; mount --bind "$2" "$1/var/lib/kafka"; ip link set lo up
exec chroot --userspec=10001:10001 "$1" env -i PATH=/usr/local/bin:/usr/bin:/bin TOPIC_PREFIX=lab kafka-start
"""
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"


@dataclass
class Broker:
    pid: int
    root: Path

    def within(self, *command: str) -> subprocess.CompletedProcess:
        namespaces = ["nsenter", "-t", str(self.pid), "--mount", "--pid", "--net"]
        inside = ["chroot", "--userspec=10001:10001", str(self.root), "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin"]
        return subprocess.run([*namespaces, *inside, *command], capture_output=True, text=True, timeout=120)

    def read(self, topic: str) -> str:
        """The first message of a topic, read with the password."""
        login = ("--consumer.config", "/tmp/kafka/client.properties")
        where = ("--topic", topic, "--partition", "0", "--offset", "earliest", "--max-messages", "1", "--timeout-ms", "20000")
        return self.within("kafka-tool", CONSUMER, "--bootstrap-server", "kafka:9093", *login, *where).stdout.strip()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = unpacked(open_archive(images.build(["kafka"])["kafka"]), tmp_path_factory.mktemp("kafka") / "root")
    authority = pki.new_ca("Services")
    pair = pki.issue(authority, Subject("kafka", dns=("kafka",), usages=("server",)))
    files = {
        "tls/ca.crt": authority.cert,
        "tls/tls.crt": pair.cert,
        "tls/tls.key": pair.key,
        "secrets/password": PASSWORD.encode(),
    }
    for name, content in files.items():
        path = folder / "etc/airavata" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "etc/hosts").write_text("127.0.0.1 localhost kafka\n")
    return folder


@contextmanager
def running(root: Path, data: Path, log: Path) -> Iterator[Broker]:
    """Kafka until the end of the block, when it is ended as a pod is."""
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "bash", "-c", RUN, "run", str(root), str(data)]
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            child = 0
            for _ in range(120):
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                child = int(children[0]) if children else 0
                if child and Broker(child, root).within("kafka-ready").returncode == 0:
                    break
                time.sleep(0.5)
            else:
                pytest.fail(log.read_text())
            yield Broker(child, root)
        finally:
            subprocess.run(["kill", "-TERM", str(child or process.pid)], check=False)
            process.wait(60)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    subprocess.run(["chown", "10001:10001", folder], check=True)
    return folder


def test_who_may_write_and_who_may_read_and_what_a_restart_keeps(root, data, tmp_path):
    log, hosts = tmp_path / "log", tmp_path / "hosts"
    hosts.write_text("127.0.0.1 kafka localhost\n")
    with running(root, data, log) as broker:
        arguments = ("kafka:9092", "lab_apiserver_logs", "from Airavata 0.17")
        within, options = ("nsenter", "-t", str(broker.pid), "--net"), (f"-Djdk.net.hosts.file={hosts}",)
        assert java("KafkaWriter.java", OLD_CLIENT, *arguments, options=options, within=within) == "sent\n"
        assert broker.read("lab_apiserver_logs") == "from Airavata 0.17"

        said = broker.within("kafka-round-trip", "lab", "hello").stdout.splitlines()
        assert said[-3:] == ["read hello", "refused TopicAuthorizationException", "deleted lab_runbook-verify-…"]
        other = broker.within(
            "bash", "-c", "kafka-tool kafka.tools.ConsoleProducer --bootstrap-server kafka:9092 --topic other <<<x"
        )
        assert "TopicAuthorizationException" in other.stdout + other.stderr
    with running(root, data, log) as broker:
        assert broker.read("lab_apiserver_logs") == "from Airavata 0.17"
        assert "canary" not in log.read_text() and PASSWORD not in broker.within("cat", "/proc/1/cmdline").stdout


@pytest.mark.parametrize("name", ["secrets/password", "tls/tls.key"])
def test_what_is_not_mounted_is_named(root, data, tmp_path, name):
    path = root / "etc/airavata" / name
    content = path.read_bytes()
    path.unlink()
    try:
        done = subprocess.run(
            ["unshare", "--mount", "--net", "bash", "-c", RUN, "run", str(root), str(data)], capture_output=True, text=True
        )
    finally:
        path.write_bytes(content)
    assert done.returncode and f"kafka-start: /etc/airavata/{name}" in done.stderr
