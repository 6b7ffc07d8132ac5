"""What ~/.ssh/config says of a host: read by OpenSSH itself (`ssh -G`), with Include and Match."""

import getpass
import re
import subprocess
from pathlib import Path

from airavata_runbook.errors import SiteError

TIMEOUT = 30.0  # seconds; `Match exec` may run a command
UNSET = "airavata-runbook-unset"
# The first value of a keyword counts: the last lines say what is left when the file has none (ssh_config(5)).
QUERY = f'Include "%s"\nMatch all\nUser {UNSET}\nIdentityFile {UNSET}\n'


def settings(alias: str, user: str | None = None) -> dict[str, object]:
    """The fields of `ssh` that ~/.ssh/config sets for a host: HostName, Port, User, IdentityFile and ProxyJump.

    user: the user to log in as, if it is known already.

    Raises SiteError when the file is invalid, has a ProxyCommand for the host, or there is no ssh on this machine.
    """
    file = Path("~/.ssh/config").expanduser()
    if not file.is_file():
        return {}
    found = _query(alias, file, user)
    if (command := found.get("proxycommand", ["none"])[0]) != "none":
        raise SiteError(
            "ssh.config: a ProxyCommand cannot be used",
            where=f"{file}, host {alias}",
            found=f"ProxyCommand {command.split()[0]} …",  # its arguments may hold a password
            needed="ProxyJump, or a host that is reached directly",
            remedy="use ProxyJump for that host in the file, or ssh.jump in the site file",
        )
    fields: dict[str, object] = {"host": found["hostname"][0], "port": int(found["port"][0])}
    if found["user"] != [UNSET]:
        fields["user"] = found["user"][0]
    values = {"n": alias, "h": found["hostname"][0], "p": found["port"][0], "r": found["user"][0]}
    values |= {"%": "%", "d": str(Path.home()), "u": getpass.getuser()}
    if keys := [_expanded(key, values) for key in found["identityfile"] if key not in (UNSET, "none")]:
        fields["key"] = next((key for key in keys if Path(key).expanduser().is_file()), keys[0])
    if (jump := found.get("proxyjump", ["none"])[0]) != "none":
        fields["jump"] = _expanded(jump, values)
    return fields


def _expanded(text: str, values: dict[str, str]) -> str:
    """`text` with the values of its tokens (ssh_config(5), "TOKENS"), which `ssh -G` leaves as they are."""
    return re.sub("%(.)", lambda token: values.get(token[1], token[0]), text)


def _query(alias: str, file: Path, user: str | None) -> dict[str, list[str]]:
    """Keyword, in lower case → its values, as OpenSSH would use them."""
    call = ["ssh", "-G", "-F", "/dev/stdin", *(["-l", user] if user else []), "--", alias]
    try:
        done = subprocess.run(call, input=QUERY % file, capture_output=True, text=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SiteError(
            "ssh.config: OpenSSH's client did not run",
            where=f"host {alias}",
            found=str(error),
            remedy="install openssh-client, or write the settings into the site file and leave out ssh.config",
        ) from None
    if done.returncode:
        raise SiteError(
            "ssh.config: the configuration of OpenSSH is invalid",
            where=f"{file}, host {alias}",
            found=done.stderr.strip(),
            remedy=f"correct it until `ssh -G {alias}` reports no error",
        )
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name, []).append(value)
    return found
