"""The questions of `init` on a terminal. Enter takes what is in brackets; a wrong answer is asked for again."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airavata_runbook.errors import HostKeyRefused, RunbookError, SiteError
from airavata_runbook.hosts import first_contact
from airavata_runbook.local.files import digest
from airavata_runbook.local.paths import resolve_path
from airavata_runbook.run.new_site import hosts
from airavata_runbook.run.new_site.values import NewHost, NewSite, invalid, parse_host
from airavata_runbook.site.fields import CommonName, HostAddress, Login, NodeName, SiteName
from airavata_runbook.site.stack_file import stack_names


def ask(given: NewSite, refuse_taken: Callable[[str], None], offline: bool) -> NewSite:
    """The values of a site, asked for on this terminal. given: what options have said already. Raises SiteError without one."""
    if not (sys.stdin and sys.stdin.isatty()):
        raise SiteError("there is no terminal to ask on", needed="a terminal, or NAME and --host for each host")
    print("A new site. Ctrl-C ends this, and nothing is written before the last question is answered.")
    site = given
    while not site.name:
        name = _answer("Name of the site", "", SiteName)
        try:
            refuse_taken(name)
            site.name = name
        except SiteError as error:
            print(error)
    print("Its hosts, the master first." + ("" if offline else " Each is connected to, after you have compared its SSH key."))
    while host := _target(site):
        if _settled(site, host, offline):
            site.hosts.append(host)
    _certificate(site)
    _stack(site)
    return site


def _target(site: NewSite) -> NewHost | None:
    """The next host, as far as it is known before the connection; None when there are no more."""
    name = f"worker-{len(site.hosts)}" if site.hosts else "master"
    question = "Another host, [USER@]HOST[:PORT] (Enter: no more)" if site.hosts else "The master, [USER@]HOST[:PORT]"
    while target := _answer(question, "", str, optional=bool(site.hosts)):
        try:
            host = parse_host(f"{name}={target}")
        except SiteError as error:
            print(f"  {error.message}")
            continue
        if "@" not in target and site.hosts:
            host.user = site.hosts[-1].user
        while (name := _answer("  its name in the site", name, NodeName)) in [one.name for one in site.hosts]:
            print(f"  {name} is taken")
        host.name = name
        return host
    return None


def _settled(site: NewSite, host: NewHost, offline: bool) -> bool:
    """Whether the user and the address of a host are known, and its key was compared; the user may give it up."""
    while True:
        host.user = _answer("  user, root or with sudo without a password", host.user, Login)
        if offline:
            host.address = host.target if hosts.is_address(host.target) else _answer("  address among the hosts", "", HostAddress)
            return True
        try:
            if first_contact.is_unknown(site.node(host)) and not _trusted(site, host):
                return False
            found = first_contact.addresses(site.node(host))
        except HostKeyRefused as error:
            print(error)
            return False
        except RunbookError as error:
            print(error)
            if not _yes("  Try again, with another user perhaps?", True):
                return False
            continue
        _choose_address(host, found)
        return True


def _trusted(site: NewSite, host: NewHost) -> bool:
    """Whether the user has compared the host's key; the fingerprint is then part of the site file."""
    key = first_contact.presented_key(site.node(host))
    file = hosts.key_file(key.get_name())
    print(f"  This host is unknown. It has the {key.get_name()} key\n    {key.fingerprint}")
    print(f"  Compare it on the host's own console, `ssh-keygen -lf {file}`, or in its console log after the first boot.")
    answer = input("  Is it the same? Type yes, or paste the fingerprint that you see there: ").strip()
    if answer == "yes" or answer.rstrip("=") == key.fingerprint:
        host.fingerprint, host.compared = key.fingerprint, True
        return True
    print("  It was not confirmed: the host is left out.")
    return False


def _choose_address(host: NewHost, found: dict[str, str]) -> None:
    listed = ", ".join(f"{address} on {interface}" for address, interface in found.items())
    host.address = host.target if host.target in found else ""
    while host.address not in found:
        print(f"  It has {listed or 'no address'}")
        host.address = _answer("  address on the network that all hosts share", next(iter(found), ""), HostAddress)
    host.interface = found[host.address]
    print(f"  connected: {host.address} on {host.interface}")


def _certificate(site: NewSite) -> None:
    if site.certificate or not _yes("A certificate of your own for the registry?", False):
        return
    site.registry = _answer("  name in the certificate, by which hosts and images call the registry", "", CommonName)
    certificate, key = _path("  file of the certificate"), _path("  file of its key, mode 600")
    site.certificate = certificate, key, _path("  file of its chain (Enter: none)", optional=True)


def _stack(site: NewSite) -> None:
    known = stack_names()
    while (stack := _answer(f"Stack, {' or '.join(known)}", site.stack)) not in known:
        print(f"  needs {' or '.join(known)}")
    site.stack = stack
    if stack == "unified":
        site.realm = site.realm or _path("  file of the gateway's realm of Keycloak, JSON")
        site.jar = site.jar or _path("  the server's jar (Enter: none yet)", optional=True)
        if site.jar:
            site.sha256 = sha256(site.jar)
    if not site.jar:
        print("Airavata's own servers are in no registry. Until the site names your images, a STAND-IN can run for each.")
        site.stand_in = site.stand_in or _yes("Run STAND-INs?", True)


def sha256(path: str) -> str:
    """The digest of a file on this machine. Raises SiteError."""
    try:
        return digest(resolve_path(path))
    except OSError as error:
        raise SiteError("a file cannot be read", where=path, found=error.strerror or str(error)) from None


def _answer(question: str, default: str, kind: Any = str, optional: bool = False) -> str:
    """A valid answer; "" only where it is optional."""
    while True:
        answer = input(f"{question}{f' [{default}]' if default else ''}: ").strip() or default
        if not answer and optional:
            return ""
        problem = invalid(kind, answer) if answer else "needs an answer"
        if not problem:
            return answer
        print(f"  {problem}")


def _path(question: str, optional: bool = False) -> str:
    while (answer := _answer(question, "", str, optional)) and not Path(resolve_path(answer)).is_file():
        print(f"  there is no file {resolve_path(answer)}")
    return answer


def _yes(question: str, default: bool) -> bool:
    answer = input(f"{question} [{'Y/n' if default else 'y/N'}] ").strip().lower()
    return answer in ("y", "yes") if answer else default
