"""The reference of the chapters' steps and of the kinds of resources, from the steps of the site `lab` on paper."""

import inspect
from collections import defaultdict
from collections.abc import Callable
from functools import cache

from airavata_runbook import Site, resources
from airavata_runbook.chapters import MODULES, steps_of
from airavata_runbook.engine.step import Step
from airavata_runbook.engine.target import Target
from airavata_runbook.run.touches import Touches
from docs.sphinx.markdown import code, escaped, prose, table

HEAD = """# Steps and resources

A chapter is a list of steps, one for each cell of its notebook. A step brings **resources** to their desired state, on all hosts
at once or on one: a plan shows what would change, a run changes it and looks again. A **check** only looks. In Python a step is
called as in the notebooks: `install.packages(site, plan=True)`, with `from airavata_runbook.chapters import install`.
[What is touched on your machines](../docs/touches.md) has every file, unit and port of them.
"""
OWN = "airavata_runbook.resources"


def page() -> str:
    by_step, used = _uses()
    parts = [HEAD, "## Steps of the chapters\n"]
    for notebook, module in MODULES.items():
        parts.append(f"### {notebook}\n")
        parts.append(table(["step", "title", "on", "resources"], [_row(module, step, by_step) for step in steps_of(notebook)]))
    parts.append("## Kinds of resources\n")
    for kind in sorted(kinds(), key=lambda one: one.__name__):
        parts.append(f"### {kind.__name__}\n\n{prose(inspect.getdoc(kind) or '')}\n")
        touched = ", ".join(code(one) for one in sorted(used[kind.__name__][0]))
        steps = ", ".join(dict.fromkeys(used[kind.__name__][1]))
        parts.append(
            "".join(f"- **{what}**: {names}\n" for what, names in (("Makes or changes", touched), ("Steps", steps)) if names)
        )
    return "\n".join(parts)


def kinds() -> list[type]:
    """Every kind of resource that the package offers."""
    return [
        one for name in resources.__all__ if inspect.isclass(one := getattr(resources, name)) and one.__module__.startswith(OWN)
    ]


def _row(module: str, step: Callable, by_step: dict[str, str]) -> list[str]:
    name = f"{module}.{step.__name__}"
    title = getattr(step, "title", None) or (inspect.getdoc(step) or "").partition("\n")[0]
    return [code(name), escaped(title), _on(step), by_step[name]]


def _on(step: object) -> str:
    if not isinstance(step, Step):
        return "check"
    site = _touches().site
    hosts = step.on(site)
    return "every host" if len(hosts) == len(site.nodes) else ", ".join(node.name for node in hosts)


@cache
def _touches() -> Touches:
    return Touches(Site.load("lab"))


def _uses() -> tuple[dict[str, str], dict[str, tuple[set[str], list[str]]]]:
    """Step → its resources in words; kind → the kinds of things that it touches, and the steps that have it."""
    by_step: dict[str, dict[str, int]] = defaultdict(dict)
    used: dict[str, tuple[set[str], list[str]]] = defaultdict(lambda: (set(), []))
    for session in _touches()._sessions.values():
        for notebook, module in MODULES.items():
            for step in steps_of(notebook):
                if not isinstance(step, Step):
                    continue
                for node in step.on(session.site):
                    for resource in step.resources(Target(session, session.hosts[node.name])):
                        kind = type(resource).__name__
                        by_step[f"{module}.{step.name}"][kind] = 1
                        used[kind][0].update(touch.kind for touch in resource.footprint())
                        used[kind][1].append(code(f"{module}.{step.name}"))
    return defaultdict(str, {name: ", ".join(found) for name, found in by_step.items()}), used
