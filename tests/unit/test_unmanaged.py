"""Network managers of a host leave the pods' interfaces alone: who would take them, what tells it so, and the way back."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import reset
from airavata_runbook.configs.unmanaged import MANAGERS
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.hosts.links import NETWORK_MANAGER, NETWORKD, LinkManagers
from airavata_runbook.resources import Unmanaged

HOST0 = "file /etc/systemd/network/10-host0.network\nName=host0\n"


def managers(text: str) -> set[str]:
    return set(LinkManagers().parse(text))


def test_networkmanager_takes_every_interface():
    assert managers("active\n" + HOST0) == {NETWORK_MANAGER} and managers("") == set()


@pytest.mark.parametrize(
    "match",
    ["Name=*", "Name=c* e*", "Type=bridge", "Kind=veth", "Name=!host0 lo", "Driver=vxlan\nHost=master", "Name = flannel.?"],
)
def test_networkd_takes_interfaces_that_a_file_matches(match):
    assert managers(f"{HOST0}file /etc/systemd/network/50-all.network\n{match}\n") == {NETWORKD}


@pytest.mark.parametrize(
    "match",
    ["Name=host0", "Name=en* eth*", "Name=*\nPermanentMACAddress=52:54:00:00:00:24", "Type=wlan", "Name=vz-*\nDriver=bridge",
     "Name=!*", "Virtualization=container", "", "Path=*"],
)  # fmt: skip
def test_networkd_takes_no_interface_of_pods_by_files_for_others(match):
    assert managers(f"{HOST0}file /run/systemd/network/50-one.network\n{match}\n") == set()


def test_our_own_file_is_not_taken_for_one_that_manages_them():
    path = MANAGERS[NETWORKD].path
    assert managers(f"file {path}\nName=cni0 flannel.1 veth*\n") == set()
    assert managers(f"file {path}\nName=cni0 flannel.1 veth*\nfile /etc/systemd/network/50-all.network\nName=*\n") == {NETWORKD}


def test_what_is_no_file_of_networkd_is_unexpected():
    with pytest.raises(ValueError, match="not a condition"):
        managers("Name=*\n")


def test_the_files_as_the_managers_read_them():
    assert MANAGERS[NETWORK_MANAGER].path == "/etc/NetworkManager/conf.d/airavata-runbook.conf"
    assert MANAGERS[NETWORK_MANAGER].text.endswith(
        "[keyfile]\nunmanaged-devices=interface-name:cni0;interface-name:flannel.1;interface-name:veth*\n"
    )
    assert MANAGERS[NETWORKD].path == "/etc/systemd/network/00-airavata-runbook.network"  # before any other
    assert MANAGERS[NETWORKD].text.endswith("[Match]\nName=cni0 flannel.1 veth*\n\n[Link]\nUnmanaged=yes\n")


@pytest.mark.parametrize(
    ("name", "tool", "printed"),
    [  # recorded on lab hosts, 2026-11-30: NetworkManager 1.42, systemd 252
        (NETWORK_MANAGER, "nmcli", "lo:connected (externally)\nhost0:connected (externally)\ncni0:disconnected\n"
         "veth02ce689d:connected (externally)\nflannel.1:unmanaged\n"),
        (NETWORKD, "networkctl", "  1 lo           loopback carrier     configured\n  2 host0 ether routable configured\n"
         "  3 flannel.1    vxlan    degraded   unmanaged\n  4 cni0         bridge   no-carrier configuring\n"
         "  5 veth02ce689d ether    enslaved   configured\n"),
    ],
)  # fmt: skip
def test_a_manager_that_has_taken_an_interface_is_told_again(name, tool, printed, tmp_path):
    program = tmp_path / tool
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{printed}E\n")
    program.chmod(0o755)
    resource = Unmanaged(name)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-euc", resource.probe()], capture_output=True, env=environment, check=True)
    change = resource.change(Found(done.stdout, done.returncode), context := Context(None, None))
    assert change.detail == "cni0 is managed\nveth02ce689d is managed\n" and change.script.startswith(MANAGERS[name].reload)
    # And after its file was written, of which it does not know yet; else nothing is done.
    assert resource.change(Found(b"", 0), context) is None
    context.touched.add(MANAGERS[name].path)
    assert resource.change(Found(b"", 0), context).shown == MANAGERS[name].reload


def stand_in_nmcli(folder: Path, gives_up: str) -> None:
    """A STAND-IN for nmcli and systemctl, which keeps cni0 until it is told by gives_up."""
    (folder / "managed").touch()
    for tool in ("nmcli", "systemctl"):
        (folder / tool).write_text(
            f"#!/bin/sh\necho {tool} $* >> {folder}/calls\n"
            f"case '{tool} '$* in '{gives_up}') rm {folder}/managed ;;\n"
            f"*device) echo lo:unmanaged; test ! -e {folder}/managed || echo cni0:disconnected ;; esac\n"
        )
        (folder / tool).chmod(0o755)


@pytest.mark.parametrize("gives_up", ["nmcli general reload conf", "systemctl restart NetworkManager"])
def test_networkmanager_is_restarted_only_where_it_keeps_an_interface(gives_up, tmp_path):
    stand_in_nmcli(tmp_path, gives_up)
    script = Unmanaged(NETWORK_MANAGER).change(Found(b"cni0\n", 0), Context(None, None)).script.replace("sleep 0.2", "true")
    subprocess.run(["sh", "-euc", script], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    told = [call for call in calls if "device" not in call]
    assert told == list(dict.fromkeys(["nmcli general reload conf", gives_up])) and not (tmp_path / "managed").exists()


def test_a_reset_takes_the_files_back_and_has_the_managers_read_the_rest(tmp_path):
    site = Site.load("lab")
    target = SimpleNamespace(site=site, node=site.master)
    cleared = {one.label: one for one in reset.files.resources(target)}
    for name, manager in MANAGERS.items():
        resource = cleared[f"no file of {name} for pods' interfaces"]
        own = tmp_path / "own.conf"
        own.touch()
        (tmp_path / "systemctl").write_text("#!/bin/sh\n")  # active
        tool = tmp_path / manager.reload.split()[0]
        tool.write_text(f"#!/bin/sh\ntest ! -e {own} && echo $* >> {tmp_path}/calls\n")
        for program in (tmp_path / "systemctl", tool):
            program.chmod(0o755)
        found, change = on_this(resource.look, manager.path, own, tmp_path), on_this(resource.remove, manager.path, own, tmp_path)
        assert (found, change) == (f"{own}\n", "") and not own.exists()
        assert on_this(resource.look, manager.path, own, tmp_path) == ""
    assert (tmp_path / "calls").read_text() == "general reload conf\nreload\n"


def on_this(script: str, path: str, own: Path, tools: Path) -> str:
    environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-euc", script.replace(path, str(own))], capture_output=True, env=environment, check=True)
    return done.stdout.decode()
