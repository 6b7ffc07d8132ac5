"""Commands that write a site to one file, and read it."""

import argparse
from pathlib import Path

from airavata_runbook.cli.site_command import Commands, settings_of, site_command, site_of


def add(commands: Commands) -> None:
    whole = "write etcd, databases, images, keys and secrets of a site to one encrypted file"
    backup = site_command(commands, "backup", _backup, whole)
    verify = commands.add_parser("verify-backup", help="read a backup to its end: is it whole, and of this key?")
    verify.set_defaults(command=_verify_backup)
    anew = "bring a site back from its backup, on new hosts with the addresses of the old ones"
    restore = site_command(commands, "restore", _restore, anew)
    for added in (verify, restore):
        added.add_argument("file", metavar="FILE", help="a backup, which is read to its end before anything else is done")
    offline = "write all that a site needs to one signed file, for a machine without a network"
    bundle = site_command(commands, "bundle", _bundle, offline, settings=False)
    for added in (backup, bundle):
        added.add_argument("-o", "--output", required=True, metavar="FILE", help="the file to write; none of this name may exist")
    bundle.add_argument("--key", metavar="FILE", help="a private key of SSH that signs it (default: one of the runbook's own)")
    kinds = "of packages that the hosts install: deb (default) or rpm; may be repeated"
    bundle.add_argument("--packages", action="append", choices=("deb", "rpm"), metavar="KIND", help=kinds)
    backup_key, *keys = (added.add_mutually_exclusive_group(required=True) for added in (backup, verify, restore))
    public = "public key of age or SSH that encrypts it, or a file with some; may be repeated"
    backup_key.add_argument("--recipient", action="append", default=[], metavar="KEY", dest="recipients", help=public)
    for group in keys:
        group.add_argument("--identity", metavar="FILE", help="the private key of age or SSH")
    for group in (backup_key, *keys):
        group.add_argument("--passphrase", metavar="REFERENCE", help="prompt:TEXT, env:NAME, file:PATH or keyring:NAME")


def _backup(options: argparse.Namespace) -> None:
    from airavata_runbook.run import backup, backup_file

    lock = backup_file.lock_for(options.recipients) if options.recipients else backup.passphrase_lock(options.passphrase)
    backup.backup(site_of(options), Path(options.output), lock)


def _verify_backup(options: argparse.Namespace) -> None:
    from airavata_runbook.run import backup

    backup.verify(Path(options.file), backup.key_for(options.identity, options.passphrase))


def _restore(options: argparse.Namespace) -> None:
    from airavata_runbook.run import backup, restore

    key = backup.key_for(options.identity, options.passphrase)
    restore.restore(site_of(options), Path(options.file), key, settings_of(options))


def _bundle(options: argparse.Namespace) -> None:
    from airavata_runbook.run.bundle import bundle

    key = Path(options.key).expanduser() if options.key else None
    bundle(options.site, Path(options.output), key, sorted(set(options.packages or ["deb"])))
