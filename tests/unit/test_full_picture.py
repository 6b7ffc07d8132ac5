"""What a picture of a finished site leaves out: the moments of its running services, and nothing else. Lines are recorded."""

import pytest

from tests.full_picture import difference, moved_by_itself

VOLUMES = "/var/lib/airavata"
ONE = "4d1f0b6c" * 8
OTHER = "9a27e5c3" * 8
CRI = f"/run/containerd/io.containerd.grpc.v1.cri/containers/{ONE}"
TASK = f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ONE}"
DIRECTORY = "d 755 0:0 "


def lines(section: str, what: str, how: str) -> list[str]:
    return difference({section: {}}, {section: {what: how}})


@pytest.mark.parametrize(
    "section, what, how",
    [
        ("files", f"{CRI}/io/1874613912", "d 700 0:0 "),
        ("files", f"{CRI}/io/1874613912/{OTHER}-stdout", "p 700 0:0 "),
        ("files", f"{TASK}/{OTHER}.pid", "f 644 0:0 "),
        ("contents", f"{TASK}/{OTHER}.pid", OTHER),
        ("contents", f"{VOLUMES}/mariadb/ibdata1", OTHER),
        ("contents", "/var/log/pods/airavata_mariadb-0_1/mariadb/0.log", OTHER),
    ],
)
def test_a_running_probe_and_a_service_that_writes_are_no_difference(section, what, how):
    (line,) = lines(section, what, how)
    assert moved_by_itself(line, VOLUMES)


@pytest.mark.parametrize(
    "section, what, how",
    [
        ("files", CRI, DIRECTORY),
        ("files", f"{CRI}/io", DIRECTORY),
        ("files", TASK, DIRECTORY),
        ("contents", f"{TASK}/init.pid", OTHER),
        ("files", f"/run/containerd/runc/k8s.io/{ONE}", DIRECTORY),
        ("files", "/var/log/ours", DIRECTORY),
        ("contents", "/etc/kubernetes/admin.conf", OTHER),
        ("contents", f"/etc{VOLUMES}/file", OTHER),
        ("contents", f"/etc{CRI}/io/1874613912", OTHER),
        ("started", "kubelet.service", "1874613912"),
    ],
)
def test_a_new_container_a_new_file_and_a_restarted_service_are_differences(section, what, how):
    (line,) = lines(section, what, how)
    assert not moved_by_itself(line, VOLUMES)
