"""How 06-verify asks Kafka: with its own tools, in its pod, whose files have the password."""

import secrets

from airavata_runbook.chapters.probes import output_of, pods_of
from airavata_runbook.chapters.verified_calls import Calls
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import NotYet
from airavata_runbook.stacks import Component

SECONDS = 90  # four starts of Java on a busy host
LINES = 10  # of what the tools printed, in a problem


def verify(session: Session, component: Component, calls: Calls) -> None:
    """A message is written as Airavata's servers do, and read with the password, but not without it; its topic is deleted."""
    pod = next((name for name, ends in pods_of(session, component.name).items() if not ends), None)
    if not pod:
        raise NotYet(f"a pod of {component.name} runs")
    text = f"06-verify {secrets.token_hex(8)}"
    said = output_of(session, pod, session.site.airavata.namespace, ["kafka-round-trip", session.site.name, text], SECONDS)
    found = dict(line.partition(" ")[::2] for line in said.splitlines())
    printed = "\n".join(said.strip().splitlines()[-LINES:]) or f"nothing for {SECONDS} s"
    if "deleted" not in found:
        return calls.problems.append(f"kafka-round-trip ended early, it printed {printed}")
    calls.expect("write without a password, read with it", found["read"], text, shown="the same message")
    if found["read"] != text:
        calls.problems.append(f"kafka-round-trip printed {printed}")
    calls.expect("read without a password", found["refused"], "TopicAuthorizationException")
    calls.note("delete the topic", "deleted")
