"""Users and roles in etcd: which keys each client may read and write. etcd takes the CN of a client's certificate as its user."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airavata_runbook.cluster.etcd import ETCDCTL
from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.errors import NotYet
from airavata_runbook.footprint import Footprint, Touch

ROOT = "root"  # the user and the role that etcd itself knows; without them authentication cannot be enabled
READWRITE = 2  # authpb.Permission.Type
# `etcdctl user` and `etcdctl role` wait without an end for an etcd that has stopped, whatever --command-timeout says (3.6.16).
ANSWER = 20  # seconds for one command
TIMED_OUT = 124  # timeout(1)
LOOK = f"""look() {{ timeout {ANSWER} {ETCDCTL} -w json "$@" 2> /dev/null; }}
get() {{ look "$@" || case $? in {TIMED_OUT}) exit 1;; *) echo null;; esac; }}
look auth status || exit 1
"""  # etcdctl logs a missing user as an error
CHANGE = f"""etcdctl() {{
    timeout {ANSWER} {ETCDCTL} "$@" > /dev/null && return
    status=$?; test $status -ne {TIMED_OUT} || echo "etcd has not answered within {ANSWER} s" >&2; return $status
}}
"""


@dataclass(frozen=True)
class EtcdAccess:
    """users: user → the prefix of the keys that its role, of the same name, may read and write. Authentication is enabled.

    Users and roles that are not named are left alone: an admin may have made them.
    """

    users: Mapping[str, str]
    label = "users and roles in etcd"

    def footprint(self) -> Footprint:
        return [Touch("key", f"user {name}") for name in self._all()]

    def probe(self) -> str:
        return LOOK + "".join(f"get user get {name}\nget role get {name}\n" for name in map(quote, self._all()))

    def change(self, found: Found, context: Context) -> Change | None:
        if found.status:
            raise NotYet("etcd answers")
        status, *answers = map(json.loads, found.text.splitlines())
        commands: list[str] = []
        for (name, prefix), user, role in zip(self._all().items(), answers[::2], answers[1::2], strict=True):
            commands += _role_commands(quote(name), role, prefix)
            commands += [f"user add {quote(name)} --no-password"] if user is None else []
            commands += [] if name in ((user or {}).get("roles") or ()) else [f"user grant-role {quote(name)} {quote(name)}"]
        commands += [] if status.get("enabled") else ["auth enable"]
        if not commands:
            return None
        typed = "".join(f"etcdctl {line}\n" for line in commands)
        return Change(
            "change" if status.get("enabled") else "create",
            typed,
            script=CHANGE + typed,
            shown=f"{ETCDCTL} …   # each line above",
            creates=not status.get("enabled"),
        )

    def _all(self) -> dict[str, str]:
        return {ROOT: "", **self.users}


def _role_commands(name: str, role: dict[str, Any] | None, prefix: str) -> Iterator[str]:
    """The etcdctl commands that give a role the keys with the prefix, and no others."""
    if role is None:
        yield f"role add {name}"
    if not prefix:
        return
    right = False
    for permission in (role or {}).get("perm") or ():
        key, end = (base64.b64decode(permission.get(field, "")).decode() for field in ("key", "range_end"))
        if (key, end, permission.get("permType")) == (prefix, range_end(prefix), READWRITE):
            right = True
        else:
            yield f"role revoke-permission {name} {quote(key, end) if end else quote(key)}"
    if not right:
        yield f"role grant-permission {name} readwrite {quote(prefix)} --prefix"


def range_end(prefix: str) -> str:
    """The first key after all those that begin with `prefix`, as etcd wants a range: "/registry/" → "/registry0"."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
