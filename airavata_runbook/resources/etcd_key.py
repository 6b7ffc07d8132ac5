"""A key in etcd that is created but never overwritten, as by `etcdctl mk` in the POC (row 6)."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from airavata_runbook.cluster import etcd
from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.footprint import Footprint, Touch

T = TypeVar("T")


@dataclass(frozen=True)
class EtcdKey(ApiResource):
    """key and its JSON value. Another value under the key is an error: pods may already depend on it."""

    key: str
    value: dict

    @property
    def label(self) -> str:
        return f"etcd key {self.key}"

    def footprint(self) -> Footprint:
        return (Touch("key", self.key),)

    def ask(self, context: Context) -> bytes | None:
        """The value under the key, or None."""

        def get() -> bytes | None:
            with etcd.client(context.session) as client:
                return client.get(self.key)[0]

        return ask_etcd(context, get)

    def change(self, found: Found, context: Context) -> Change | None:
        present, wanted = found.answered(), json.dumps(self.value)
        if present is None:
            return Change(
                "create",
                f"{wanted}\n",
                call=lambda: self._make(context, wanted),
                shown=f"etcdctl mk {self.key} '{wanted}'",
                creates=True,
            )
        if _parsed(present) != self.value:
            raise StepFailed(
                "the etcd key has another value, and is not overwritten: pods may depend on it",
                where=self.key,
                found=present.decode(errors="replace"),
                needed=wanted,
                remedy="set the found value in the site file, or drain the cluster and delete the key by hand",
            )
        return None

    def _make(self, context: Context, wanted: str) -> None:
        with etcd.client(context.session) as client:
            if not client.put_if_not_exists(self.key, wanted):
                raise StepFailed("another client created the etcd key at the same time", where=self.key, retryable=True)


def ask_etcd(context: Context, ask: Callable[[], T]) -> T:
    """What `ask` returns. Raises NotYet in a plan when etcd is to be started first, or does not answer."""
    if context.planning and "service etcd" in context.touched:
        raise NotYet("etcd runs")
    try:
        return ask()
    except etcd.NoAnswer:
        if context.planning:
            raise NotYet("etcd answers") from None
        raise


def _parsed(value: bytes) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value
