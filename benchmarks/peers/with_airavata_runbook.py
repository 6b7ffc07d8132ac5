"""`reapply` by this engine. Prints how many items it changed."""

import sys
from collections.abc import Iterator

from airavata_runbook.engine.step import step
from airavata_runbook.engine.target import Target
from airavata_runbook.resources import Block, File, Folder, Packages, Resource, Service
from airavata_runbook.site import Site
from benchmarks import items


@step("The items of the benchmark")
def bench(target: Target) -> Iterator[Resource]:
    for path in items.FOLDERS:
        yield Folder(path, items.MODE["folder"])
    for path, content in items.FILES.items():
        yield File(path, content, items.MODE["file"])
    yield Block(items.BLOCK_PATH, items.BLOCK_NAME, tuple(items.BLOCK_LINES))
    yield Packages(dict(pair.split("=") for pair in sys.argv[2:]), "debian")
    for name in items.SERVICES:
        yield Service(name, [f"/etc/systemd/system/{name}.service"])


print(bench(Site.load(sys.argv[1])).count("changed"))
