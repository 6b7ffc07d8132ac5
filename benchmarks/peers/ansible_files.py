"""`reapply` for ansible-core: its playbook, inventory and configuration, rendered from the same items."""

from pathlib import Path
from typing import Any

import yaml

from airavata_runbook.site import Site
from benchmarks import items


def write(folder: Path, site: Site) -> Path:
    """Write playbook.yml, hosts.ini and ansible.cfg into the folder; returns the playbook's path."""
    tasks: list[dict[str, Any]] = [
        {
            "ansible.builtin.file": {
                "path": path,
                "state": "directory",
                "mode": items.MODE["folder"],
                "owner": "root",
                "group": "root",
            }
        }
        for path in items.FOLDERS
    ]
    tasks += [
        {"ansible.builtin.copy": {"dest": path, "content": content, "mode": items.MODE["file"], "owner": "root", "group": "root"}}
        for path, content in items.FILES.items()
    ]
    tasks += [
        {
            "ansible.builtin.blockinfile": {
                "path": items.BLOCK_PATH,
                "marker": f"# {{mark}} {items.BLOCK_NAME}",
                "block": "\n".join(items.BLOCK_LINES),
            }
        },
        # Not ansible.builtin.apt: it needs python3-apt on the hosts, and is slower.
        {"ansible.builtin.command": {"cmd": "dpkg-query -W " + " ".join(items.PACKAGES)}, "changed_when": False},
    ]
    tasks += [{"ansible.builtin.systemd_service": {"name": name, "state": "started", "enabled": True}} for name in items.SERVICES]
    playbook = folder / "playbook.yml"
    playbook.write_text(
        yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}], sort_keys=False), encoding="utf-8"
    )
    ssh = site.master.ssh
    (folder / "hosts.ini").write_text(
        "".join(f"{node.name} ansible_host={node.address} ansible_user=root\n" for node in site.nodes), encoding="utf-8"
    )
    (folder / "ansible.cfg").write_text(
        f"""[defaults]
inventory = {folder}/hosts.ini
host_key_checking = True
forks = {len(site.nodes)}
private_key_file = {ssh.key}
interpreter_python = /usr/bin/python3
[ssh_connection]
pipelining = True
ssh_args = -o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={ssh.known_hosts} -o StrictHostKeyChecking=yes
control_path_dir = {folder}/control
""",
        encoding="utf-8",
    )
    return playbook
