"""What is touched on a machine or in the cluster, as data: each kind of resource says it of itself, and each program of a service
beside that. `airavata-runbook touches` lists it; a test compares the list with what changed on running hosts.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

Kind = Literal[
    "file",
    "folder",  # with all that is in it
    "lines",  # in a file that others write too
    "packaged",  # a file of a package
    "package",
    "unit",
    "port",  # "PORT/tcp"
    "interface",
    "chain",  # of the packet filter
    "setting",  # of the kernel, "NAME = VALUE"
    "module",
    "mount",
    "cgroup",
    "object",  # of Kubernetes
    "key",  # in etcd, and its users
    "image",  # in the registry
]
EVERY = "*"  # host
UNTIL_RESTART = "until the host restarts"


class Touch(NamedTuple):
    """One thing that is made or changed. name: a path, or what else identifies it; `*` stands for any name.

    by: the program that makes it while it runs, or the package that has it; "" for the resource itself. stays: how long it is
    there after a reset, in words; "" where a reset removes it. host: its name, or EVERY, where it is another one than the step's.
    """

    kind: Kind
    name: str
    by: str = ""
    stays: str = ""
    host: str = ""


Footprint = Iterable[Touch]
