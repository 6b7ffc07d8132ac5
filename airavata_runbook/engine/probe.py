"""What resources are now, looked at together, and the change that each needs."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from airavata_runbook.engine.resource import ApiResource, Change, Context, Found, Resource, Together
from airavata_runbook.errors import StepFailed
from airavata_runbook.local.screen import carried

API_REQUESTS = 8  # to an API at a time


def compare(resource: Resource, found: Found, context: Context) -> Change | None:
    """The change that a resource needs, if any. Raises StepFailed when its parser does not accept the probe's output."""
    try:
        return resource.change(found, context)
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # of a parser
        output = "(not shown: it may hold a secret)" if getattr(resource, "secret", False) else found.text[:200] or "no output"
        raise StepFailed(
            "unexpected probe output",
            where=resource.label,
            found=output + (f" (exit status {found.status})" if found.status else ""),
            needed="the output of: " + resource.probe().strip()[:200],
            retryable=True,
        ) from error


def probe(resources: Sequence[Resource], context: Context) -> list[Found]:
    """The output of the resources' probes, in one round trip; API requests are sent in parallel meanwhile."""
    context = replace(context, together=Together())
    found = [Found()] * len(resources)
    with ThreadPoolExecutor(API_REQUESTS) as threads:  # it starts no more of them than there are requests
        asked = {
            position: threads.submit(carried(one.ask), context)
            for position, one in enumerate(resources)
            if isinstance(one, ApiResource)
        }
        fragments = {str(position): script for position, one in enumerate(resources) if (script := one.probe())}
        for name, answer in (context.host.run_batch(fragments) if fragments else {}).items():
            found[int(name)] = Found(answer.stdout, answer.status)
    for position, request in asked.items():  # an exception is raised when its resource is compared, and reported for it
        found[position] = replace(found[position], answer=request.exception() or request.result())
    return found
