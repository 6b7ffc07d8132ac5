"""Commands that connect to no host: what goes into a site, and what a site file may say."""

import argparse
import sys
from pathlib import Path

from airavata_runbook.cli.site_command import Commands, site_command, site_of


def add(commands: Commands) -> None:
    mirror = commands.add_parser("mirror", help="build and pack what a run needs, before it")
    mirror.add_argument("site", nargs="?", help="only what this site needs, from where it says; default: what most sites need")
    mirror.set_defaults(command=_mirror)
    commands.add_parser("lock", help="read upstream's digests of official releases anew").set_defaults(command=_lock)
    manifests = site_command(commands, "manifests", _manifests, "write a site's manifests as files; connect to no host")
    manifests.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder to write COMPONENT/FILE.yaml into")
    on_paper = "print all that a site touches on its hosts, as Markdown; connect to no host"
    site_command(commands, "touches", _touches, on_paper)
    schema = commands.add_parser("schema", help="print the JSON Schema of site files")
    schema.add_argument("--fields", action="store_true", help="print the table of fields and when they may change instead")
    schema.set_defaults(command=_schema)


def _mirror(options: argparse.Namespace) -> None:
    from airavata_runbook.mirror import everything

    if not options.site:
        return everything.build_everything()
    from airavata_runbook.chapters.site_sources import choice_for
    from airavata_runbook.chapters.site_stack import site_images

    site = site_of(options)
    chosen = choice_for(site)
    for note in chosen.notes:
        print(f"mirror: {note}", file=sys.stderr)
    everything.build_for(site, {image.mirrored for image in site_images(site).values()} - {""}, chosen.releases)


def _lock(options: argparse.Namespace) -> int:
    from airavata_runbook.mirror import releases

    failed = releases.refresh()
    print(releases.table())
    for line in failed:
        print(f"airavata-runbook: kept as it was: {line}", file=sys.stderr)
    return 1 if failed else 0


def _manifests(options: argparse.Namespace) -> None:
    from airavata_runbook.chapters.site_stack import write_manifests
    from airavata_runbook.stacks import images_of

    stacks = write_manifests(site_of(options), Path(options.output))
    for stack in stacks:
        for component in stack.components:
            print(f"{options.output}/{component.name}/: {', '.join(file.name for file in component.files)}")
        for one in stack.left_out:
            print(f"{one.name}: left out: {one.reason}")
    manifests = [one for stack in stacks for component in stack.components for one in component.objects]
    if unknown := sorted({image for one in manifests for image in images_of(one) if "@" not in image}):
        print(f"by tag, as this machine does not know their digests: {', '.join(unknown)}")


def _touches(options: argparse.Namespace) -> None:
    from airavata_runbook.run.touches_text import text

    print(text(site_of(options)), end="")


def _schema(options: argparse.Namespace) -> None:
    from airavata_runbook.site.schema import fields_text, schema_text

    print(fields_text() if options.fields else schema_text(), end="")
