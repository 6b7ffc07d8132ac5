"""`airavata-runbook init`: a site file from a few values, whose hosts were connected to and whose host keys were compared."""

import os
import tempfile
from pathlib import Path

import yaml

from airavata_runbook.checks import preflight
from airavata_runbook.errors import SiteError
from airavata_runbook.local import paths
from airavata_runbook.run.new_site import hosts, questions
from airavata_runbook.run.new_site.text import site_text
from airavata_runbook.run.new_site.values import NewSite
from airavata_runbook.site import Site


def create(given: NewSite, offline: bool = False) -> int:
    """Write parameters/NAME.yaml from these values, or from answers on this terminal where no host is given.

    offline: connect to no host. Returns 0, or 1 when what the file names is not all there, which is printed. Raises SiteError,
    HostUnreachable (HostKeyRefused) before anything is written; nothing that exists is overwritten.
    """
    project = paths.project_dir()
    if given.name:
        refuse_taken(project, given.name)
    if given.hosts:
        site = hosts.as_given(given) if offline else hosts.looked_at(given)
    else:
        site = questions.ask(given, lambda name: refuse_taken(project, name), offline)
    file = project / "parameters" / f"{site.name}.yaml"
    text = site_text(site)
    loaded = Site.load(yaml.safe_load(text)["site"])
    write_new(file, text)
    findings = preflight.offline(loaded)
    if findings:
        print(preflight.format_findings(findings))
    print(f"wrote {file.relative_to(project)}; next: airavata-runbook check {site.name}")
    return 1 if any(one.failed for one in findings) else 0


def refuse_taken(project: Path, name: str) -> None:
    """Raises SiteError when there is a file or a site of that name."""
    for file in sorted((project / "parameters").glob("*.yaml")):
        try:
            taken = yaml.safe_load(file.read_text(encoding="utf-8"))["site"]["name"]
        except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
            taken = ""  # a broken file of somebody else's
        if name in (taken, file.stem):
            raise SiteError(
                f"there is a site {name} already", where=str(file), needed="another name; a site file is never overwritten"
            )


def write_new(file: Path, text: str) -> None:
    """Write a file that does not exist yet, whole or not at all. Raises SiteError when it exists by now."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".part-", encoding="utf-8") as part:
        part.write(text)
        part.flush()
        os.fchmod(part.fileno(), 0o644)
        try:
            os.link(part.name, file)
        except FileExistsError:
            raise SiteError("the site file exists by now", where=str(file), needed="another name") from None
