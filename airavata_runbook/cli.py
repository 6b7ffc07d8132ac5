"""The command line: thin, one function a command, which imports what it needs: most of the package takes a while to load."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from airavata_runbook.errors import RunbookError, SiteError, counted
from airavata_runbook.local import interrupts

if TYPE_CHECKING:
    from airavata_runbook.site import Site


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status. A RunbookError is one message on stderr and status 1."""
    options = _parser().parse_args(arguments)
    interrupts.raise_keyboard_interrupt()
    try:
        status = options.command(options) or 0
        sys.stdout.flush()
        return status
    except RunbookError as error:
        return _print_error(str(error), 1)
    except KeyboardInterrupt:
        return _print_error("stopped; run it again to continue", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports it once more at exit
        return _print_error("stopped: standard output was closed", 141)


def _print_error(message: str, status: int) -> int:
    with suppress(OSError):  # the terminal may be gone
        print(f"airavata-runbook: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="airavata-runbook", description="Airavata on Kubernetes from bare machines")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('airavata-runbook')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    lab_command = commands.add_parser("lab", help="manage lab hosts on this machine")
    actions = lab_command.add_subparsers(required=True, metavar="ACTION")
    for name, text, function in (
        ("up", "create and start the lab's hosts", _lab_up),
        ("status", "list the lab's hosts", _lab_status),
        ("down", "delete the lab with all its data", _lab_down),
        ("ssh", "log in to a host, or run a command there: ssh HOST [-- COMMAND]", _lab_ssh),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--site", default="lab", help="a site with a lab: section (default: lab)")
        action.set_defaults(command=function)
        if name == "ssh":
            action.add_argument("host")
            action.add_argument("words", nargs="*", metavar="COMMAND")

    def command(name: str, function: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        """A command for one site."""
        added = commands.add_parser(name, help=text)
        added.add_argument("site", help="a name in parameters/ or the path of a site file")
        added.set_defaults(command=function)
        return added

    run = command("run", _run, "execute a site's notebooks in order")
    plan = command("plan", _run, "show what a run would change; change nothing")
    reset = command("reset", _reset, "remove from the hosts what the runbook made; shows it and asks first")
    remove = command("remove", _remove, "drain a host, take it out of the cluster, and remove what the runbook made on it")
    move = command("move-storage", _move_storage, "move the databases to where the changed site file has them; asks first")
    backup = command("backup", _backup, "write etcd, databases, images, keys and secrets of a site to one encrypted file")
    bundle = command("bundle", _bundle, "write all that a site needs to one signed file, for a machine without a network")
    restore = command("restore", _restore, "bring a site back from its backup, on new hosts with the addresses of the old ones")
    back = command("rollback", _rollback, "bring back the release of Airavata before the last upgrade, and verify it; asks first")
    check = command("check", _check, "run the preflight checks on a site; change nothing")
    command("runs", _runs, "list a site's runs, plans and resets that are kept on this machine")
    manifests = command("manifests", _manifests, "write a site's manifests as files; connect to no host")
    touches = command("touches", _touches, "print all that a site touches on its hosts, as Markdown; connect to no host")
    kubeconfig = command("kubeconfig", _kubeconfig, "print the path of a kubeconfig that works from this machine")
    for added in (run, plan, reset, remove, move, backup, restore, back, check, manifests, touches):
        added.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="FIELD=VALUE",
            dest="settings",
            help="override a field of the site file; may be repeated",
        )
    for added in (run, plan):
        added.add_argument("--from", metavar="CHAPTER", dest="start", help="the first chapter to execute, for example 03")
        added.add_argument("--to", metavar="CHAPTER", help="the last chapter to execute")
        added.add_argument("--disruptive", action="store_true", help="let 06-verify delete a replica, and restart the database")
        added.add_argument("--only", metavar="CHAPTER", help="execute this chapter only")
        added.set_defaults(plan=added is plan)
    reset.add_argument("--data", action="store_true", help="also remove the registry's images, the databases and their secrets")
    remove.add_argument("host", help="the name of a worker in the site file; delete it there afterwards")
    move.add_argument("--delete-old", action="store_true", help="delete the folders that they were moved from")
    back.add_argument("--to", default="", metavar="NAME", help="another one of the kept releases, by its name (a time)")
    back.add_argument("--with-databases", action="store_true", help="also load their dump: what was written since is lost")
    for added in (reset, remove, move, back):
        added.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    backup.add_argument("-o", "--output", required=True, metavar="FILE", help="the file to write; none of this name may exist")
    bundle.add_argument("-o", "--output", required=True, metavar="FILE", help="the file to write; none of this name may exist")
    bundle.add_argument("--key", metavar="FILE", help="a private key of SSH that signs it (default: one of the runbook's own)")
    kinds = "of packages that the hosts install: deb (default) or rpm; may be repeated"
    bundle.add_argument("--packages", action="append", choices=("deb", "rpm"), metavar="KIND", help=kinds)
    verify = commands.add_parser("verify-backup", help="read a backup to its end: is it whole, and of this key?")
    for added in (verify, restore):
        added.add_argument("file", metavar="FILE", help="a backup, which is read to its end before anything else is done")
    verify.set_defaults(command=_verify_backup)
    backup_key, *keys = (added.add_mutually_exclusive_group(required=True) for added in (backup, verify, restore))
    public = "public key of age or SSH that encrypts it, or a file with some; may be repeated"
    backup_key.add_argument("--recipient", action="append", default=[], metavar="KEY", dest="recipients", help=public)
    for group in keys:
        group.add_argument("--identity", metavar="FILE", help="the private key of age or SSH")
    for group in (backup_key, *keys):
        group.add_argument("--passphrase", metavar="REFERENCE", help="prompt:TEXT, env:NAME, file:PATH or keyring:NAME")
    check.add_argument("--offline", action="store_true", help="check the site file only; connect to no host")
    manifests.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder to write COMPONENT/FILE.yaml into")
    kubeconfig.add_argument("--stop", action="store_true", help="stop the SSH forward that an earlier call left open")

    schema = commands.add_parser("schema", help="print the JSON Schema of site files")
    schema.add_argument("--fields", action="store_true", help="print the table of fields and when they may change instead")
    schema.set_defaults(command=_schema)
    mirror = commands.add_parser("mirror", help="build and pack what a run needs, before it")
    mirror.add_argument("site", nargs="?", help="only what this site needs, from where it says; default: what most sites need")
    mirror.set_defaults(command=_mirror)
    commands.add_parser("lock", help="read upstream's digests of official releases anew").set_defaults(command=_lock)
    return parser


def _site(options: argparse.Namespace) -> "Site":
    """The site that a command names, with what --set overrides in it."""
    from airavata_runbook.site import Site

    return Site.load(options.site, _settings(options))


def _settings(options: argparse.Namespace) -> dict[str, object]:
    from airavata_runbook.site.file import parse_settings

    return parse_settings(getattr(options, "settings", []))


def _lab_up(options: argparse.Namespace) -> None:
    from airavata_runbook import lab

    site = _site(options)
    lab.up(site)
    lab.status(site)


def _lab_status(options: argparse.Namespace) -> None:
    from airavata_runbook import lab

    lab.status(_site(options))


def _lab_down(options: argparse.Namespace) -> None:
    from airavata_runbook import lab

    lab.down(_site(options))


def _lab_ssh(options: argparse.Namespace) -> int:
    from airavata_runbook import lab

    return lab.ssh(_site(options), options.host, options.words or None)


def _run(options: argparse.Namespace) -> None:
    from airavata_runbook.run.kernels import KernelServer

    if options.only is not None and (options.start is not None or options.to is not None):
        raise SiteError("--only cannot be combined with --from or --to")
    with KernelServer() as server:  # it loads the kernels' libraries while this process loads its own
        from airavata_runbook.run import runner

        settings = _settings(options) | ({"verify.disruptive": True} if options.disruptive else {})
        chapters = {"start": options.start, "to": options.to, "only": options.only}
        runner.run(options.site, settings, **chapters, plan=options.plan, server=server)


def _reset(options: argparse.Namespace) -> None:
    from airavata_runbook.run import reset

    reset.reset(_site(options), options.data, options.yes, _settings(options))


def _remove(options: argparse.Namespace) -> None:
    from airavata_runbook.run import reset

    reset.remove(_site(options), options.host, options.yes, _settings(options))


def _move_storage(options: argparse.Namespace) -> None:
    from airavata_runbook.run import move_storage

    (move_storage.delete_old if options.delete_old else move_storage.move_storage)(_site(options), options.yes)


def _backup(options: argparse.Namespace) -> None:
    from airavata_runbook.run import backup, backup_file

    lock = backup_file.lock_for(options.recipients) if options.recipients else backup.passphrase_lock(options.passphrase)
    backup.backup(_site(options), Path(options.output), lock)


def _bundle(options: argparse.Namespace) -> None:
    from airavata_runbook.run.bundle import bundle

    key = Path(options.key).expanduser() if options.key else None
    bundle(options.site, Path(options.output), key, sorted(set(options.packages or ["deb"])))


def _rollback(options: argparse.Namespace) -> None:
    from airavata_runbook.run import rollback

    rollback.rollback(_site(options), options.to, options.with_databases, options.yes)


def _verify_backup(options: argparse.Namespace) -> None:
    from airavata_runbook.run import backup

    backup.verify(Path(options.file), backup.key_for(options.identity, options.passphrase))


def _restore(options: argparse.Namespace) -> None:
    from airavata_runbook.run import backup, restore

    key = backup.key_for(options.identity, options.passphrase)
    restore.restore(_site(options), Path(options.file), key, _settings(options))


def _check(options: argparse.Namespace) -> int:
    from airavata_runbook.checks import preflight

    site = _site(options)
    findings = preflight.offline(site) if options.offline else preflight.preflight(site)
    failed, ignored = sum(one.failed for one in findings), sum(one.ignored for one in findings)
    if findings:
        print(preflight.format_findings(findings))
    where = "without connecting to a host" if options.offline else f"on {', '.join(node.name for node in site.nodes)}"
    notes = f", {counted(len(findings) - failed - ignored, 'note')}" if len(findings) > failed + ignored else ""
    print(f"site {site.name}: {failed} failed, {ignored} ignored{notes}, {where}")
    return 1 if failed else 0


def _manifests(options: argparse.Namespace) -> None:
    from airavata_runbook.chapters.site_stack import write_manifests
    from airavata_runbook.stacks import images_of

    stacks = write_manifests(_site(options), Path(options.output))
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

    print(text(_site(options)), end="")


def _runs(options: argparse.Namespace) -> None:
    from airavata_runbook.run import history

    print(history.table(_site(options)))


def _kubeconfig(options: argparse.Namespace) -> None:
    from airavata_runbook.cluster import access
    from airavata_runbook.mirror import kubectl

    site = _site(options)
    if options.stop:
        print("SSH forward stopped" if access.stop(site) else "no SSH forward was open")
        return
    print(access.kubeconfig(site))
    if not kubectl.ensure_kubectl():
        print("no kubectl on PATH; `airavata-runbook mirror` builds one", file=sys.stderr)


def _schema(options: argparse.Namespace) -> None:
    from airavata_runbook.site.schema import fields_text, schema_text

    print(fields_text() if options.fields else schema_text(), end="")


def _mirror(options: argparse.Namespace) -> None:
    from airavata_runbook.mirror import everything

    if not options.site:
        return everything.build_everything()
    from airavata_runbook.chapters.site_sources import choice_for
    from airavata_runbook.chapters.site_stack import site_images

    site = _site(options)
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


if __name__ == "__main__":
    sys.exit(main())
