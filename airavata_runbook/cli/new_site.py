"""The command that writes a site file."""

import argparse

from airavata_runbook.cli.site_command import Commands


def add(commands: Commands) -> None:
    text = "write a new site file: asks for its few values, or takes them as options, and tries the connections"
    init = commands.add_parser("init", help=text)
    init.set_defaults(command=_init)
    init.add_argument("name", nargs="?", default="", metavar="NAME", help="of the site; the file is parameters/NAME.yaml")
    form = "NAME=[USER@]HOST[:PORT][/ADDRESS]"
    init.add_argument("--host", action="append", default=[], dest="hosts", metavar=form, help="the master first")
    known = "of a host's key, compared with what the host says; may be repeated"
    init.add_argument("--fingerprint", action="append", default=[], dest="fingerprints", metavar="NAME=SHA256:…", help=known)
    init.add_argument("--key", default="", metavar="FILE", help="the private key to log in with (default: agent, ~/.ssh)")
    init.add_argument("--jump", default="", metavar="[USER@]HOST[:PORT]", help="a jump host")
    init.add_argument("--jump-fingerprint", default="", metavar="SHA256:…", help="of the jump host's key")
    init.add_argument("--registry", default="registry.internal", metavar="DOMAIN", help="default: registry.internal")
    init.add_argument("--certificate", metavar="FILE", help="your own, for the registry; needs --certificate-key")
    init.add_argument("--certificate-key", metavar="FILE", help="of that certificate")
    init.add_argument("--chain", default="", metavar="FILE", help="of that certificate")
    init.add_argument("--stack", default="classic", choices=("classic", "unified"), help="of Airavata (default: classic)")
    init.add_argument("--realm", default="", metavar="FILE", help="of Keycloak, for the stack unified")
    init.add_argument("--jar", default="", metavar="FILE", help="of the server, for the stack unified")
    init.add_argument("--stand-in", action="store_true", help="a STAND-IN for each of Airavata's servers that has no image")
    init.add_argument("--offline", action="store_true", help="connect to no host")


def _init(options: argparse.Namespace) -> int:
    from airavata_runbook.errors import SiteError
    from airavata_runbook.run import new_site
    from airavata_runbook.run.new_site.questions import sha256
    from airavata_runbook.run.new_site.values import NewSite, parse_host, with_fingerprints

    if bool(options.certificate) != bool(options.certificate_key):
        raise SiteError("--certificate and --certificate-key go together")
    if options.hosts and not options.name:
        raise SiteError("a site needs a name", remedy="airavata-runbook init NAME --host …")
    hosts = [parse_host(text) for text in options.hosts]
    with_fingerprints(hosts, options.fingerprints)
    site = NewSite(
        name=options.name,
        hosts=hosts,
        key=options.key,
        jump=options.jump,
        jump_fingerprint=options.jump_fingerprint,
        certificate=(options.certificate, options.certificate_key, options.chain) if options.certificate else None,
        registry=options.registry,
        stack=options.stack,
        realm=options.realm,
        jar=options.jar,
        sha256=sha256(options.jar) if options.jar else "",
        stand_in=options.stand_in,
    )
    return new_site.create(site, options.offline)
