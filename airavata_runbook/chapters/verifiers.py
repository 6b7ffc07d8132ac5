"""What 06-verify asks of Airavata's servers, by the protocol of each: health alone proves nothing.

A component names its verifier in stack.yaml (`verify: NAME`). Whatever a verifier makes it removes again.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module

from thrift.Thrift import TException
from thrift.transport.TTransport import TTransportException

from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.chapters.verified_calls import Calls
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import NotYet, RunbookError
from airavata_runbook.stacks import Component

Verifier = Callable[[Session, Component, Calls], None]


def _of(module: str, function: str) -> Verifier:
    """The verifier in a module of the chapters, which is imported when it is needed: the SDK's classes are large."""

    def verify(session: Session, component: Component, calls: Calls) -> None:
        getattr(import_module(f"airavata_runbook.chapters.{module}"), function)(session, component, calls)

    return verify


# site/stack_file.py has the names too, so that a stack is refused that names another.
VERIFIERS: Mapping[str, Verifier] = {
    "airavata-api": _of("verify_classic", "airavata_api"),
    "airavata-server": _of("verify_unified", "verify"),
    "credential-store": _of("verify_classic", "credential_store"),
    "kafka": _of("verify_kafka", "verify"),
    "profile-service": _of("verify_classic", "profile_service"),
    "sharing-registry": _of("verify_classic", "sharing_registry"),
    "version": _of("verify_classic", "version"),
}


def server_calls(session: Session) -> tuple[list[list[str]], list[str]]:
    """(rows of component, call, response and note; a line for each call that was refused or answered otherwise)."""
    stack = stack_of(session.site)
    components = [component for component in stack.components if component.verify]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(partial(_calls, session), components))
    rows = [
        [component.name, call, answer, "STAND-IN" if component.stand_in else ""]
        for component, calls in zip(components, made, strict=True)
        for call, answer in calls.rows
    ]
    problems = [
        f"{component.name}: {problem}" for component, calls in zip(components, made, strict=True) for problem in calls.problems
    ]
    left_out = [[one.name, "not verified", f"left out: {one.reason}", ""] for one in stack.left_out if one.wanted]
    return rows + left_out, problems


def _calls(session: Session, component: Component) -> Calls:
    """The calls to one server; one that it refuses is a problem, and the last."""
    calls = Calls()
    try:
        VERIFIERS[component.verify](session, component, calls)
    except TTransportException as error:
        calls.problems.append(f"the connection was lost after {calls.last}: {error}")
    except TException as error:
        calls.problems.append(f"it refused the call after {calls.last}: {error}")
    except NotYet as missing:
        calls.problems.append(f"needs: {missing}")
    except RunbookError as error:
        calls.problems.append(str(error))
    return calls
