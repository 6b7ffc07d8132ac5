"""`reapply` by a script as one would write it by hand with fabric. Runs in the peers' environment;
prints the number of changed items."""

import hashlib
import io
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor

import paramiko
from fabric import Connection

sys.path.insert(0, sys.argv[1])
from benchmarks import items

KEY, KNOWN_HOSTS, HOSTS = sys.argv[2], sys.argv[3], sys.argv[4:]


def output(host: Connection, command: str) -> str:
    return host.run(command, hide=True, warn=True, in_stream=False).stdout.strip()


def reapply(address: str) -> int:
    changed = 0
    with Connection(address, user="root", connect_kwargs={"key_filename": KEY, "look_for_keys": False}) as host:
        host.client.load_host_keys(KNOWN_HOSTS)
        host.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        for path in items.FOLDERS:
            if output(host, f"stat -c '%a %U:%G %F' {path}") != "755 root:root directory":
                host.run(f"install -d -m 755 {path}")
                changed += 1
        for path, content in items.FILES.items():
            digest = hashlib.sha256(content.encode()).hexdigest()
            if output(host, f"sha256sum {path}; stat -c '%a %U:%G' {path}") != f"{digest}  {path}\n644 root:root":
                host.put(io.StringIO(content), path)
                changed += 1
        block = "\n".join(["# BEGIN bench", *items.BLOCK_LINES, "# END bench"])
        if output(host, f"sed -n '/^# BEGIN bench$/,/^# END bench$/p' {items.BLOCK_PATH}") != block:
            host.run(f"printf '%s\\n' {shlex.quote(block)} >> {items.BLOCK_PATH}")
            changed += 1
        query = f"dpkg-query -W -f='${{db:Status-Status}} ' {' '.join(items.PACKAGES)}"
        if output(host, query).split() != ["installed"] * len(items.PACKAGES):
            host.run(f"apt-get -y install {' '.join(items.PACKAGES)}")
            changed += 1
        for name in items.SERVICES:
            if output(host, f"systemctl is-active {name}; systemctl is-enabled {name}") != "active\nenabled":
                host.run(f"systemctl enable --now {name}")
                changed += 1
    return changed


with ThreadPoolExecutor() as pool:
    print(sum(pool.map(reapply, HOSTS)))
