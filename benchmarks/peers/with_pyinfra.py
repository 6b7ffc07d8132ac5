"""`reapply` by pyinfra: a deploy for `pyinfra -y INVENTORY DEPLOY`, run in the peers' environment."""

import io
import os
import sys

from pyinfra.operations import apt, files, systemd

sys.path.insert(0, os.environ["BENCH_PROJECT"])
from benchmarks import items

for path in items.FOLDERS:
    files.directory(path=path, mode="755", user="root", group="root")
for path, content in items.FILES.items():
    files.put(src=io.StringIO(content), dest=path, mode="644", user="root", group="root")
files.block(
    path=items.BLOCK_PATH,
    content=items.BLOCK_LINES,
    marker="# {mark} bench",
    begin="BEGIN",
    end="END",
    try_prevent_shell_expansion=True,
)
apt.packages(packages=items.PACKAGES)
for name in items.SERVICES:
    systemd.service(service=name, running=True, enabled=True)
