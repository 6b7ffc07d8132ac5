"""The command line: thin, one function a command, which imports what it needs: most of the package takes a while to load."""

import argparse
import os
import sys
from contextlib import suppress
from importlib.metadata import version

from airavata_runbook.cli import backups, inputs, labs, sites
from airavata_runbook.errors import RunbookError
from airavata_runbook.local import interrupts


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
    from airavata_runbook.local.colours import painted

    with suppress(OSError):  # the terminal may be gone
        print(painted("airavata-runbook:", "failed" if status == 1 else "stopped", sys.stderr), message, file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="airavata-runbook", description="Airavata on Kubernetes from bare machines")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('airavata-runbook')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (labs, sites, backups, inputs):
        group.add(commands)
    return parser
