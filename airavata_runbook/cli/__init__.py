"""The command line: thin, one function a command, which imports what it needs: most of the package takes a while to load."""

import argparse
import os
import sys
from contextlib import suppress

from airavata_runbook.cli import backups, classes, completion, inputs, labs, new_site, sites
from airavata_runbook.cli.version import ShowVersion
from airavata_runbook.errors import RunbookError
from airavata_runbook.local import interrupts

# 128 and the number of a signal: as a shell says of a program that SIGINT or SIGPIPE has ended.
FAILED, STOPPED, CLOSED = 1, 130, 141
EXIT_CODES = """exit status:
  0    done; with check: no check failed
  1    failed, with one message on standard error; with check: a check failed; with several sites: one of them failed
  2    the command line is wrong
  130  stopped by Ctrl-C, kill or a closed terminal
  141  standard output was closed, as by head
lab ssh HOST COMMAND ends as COMMAND does, or with 255 where SSH failed.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status, one of EXIT_CODES. A RunbookError is one message on stderr."""
    options = parser().parse_args(arguments)
    interrupts.raise_keyboard_interrupt()
    try:
        status = options.command(options) or 0
        sys.stdout.flush()
        return status
    except RunbookError as error:
        return _print_error(str(error), FAILED)
    except KeyboardInterrupt:
        return _print_error("stopped; run it again to continue", STOPPED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports it once more at exit
        return _print_error("stopped: standard output was closed", CLOSED)


def _print_error(message: str, status: int) -> int:
    from airavata_runbook.local.colours import painted

    with suppress(OSError):  # the terminal may be gone
        print(painted("airavata-runbook:", "failed" if status == FAILED else "stopped", sys.stderr), message, file=sys.stderr)
    return status


def parser() -> argparse.ArgumentParser:
    """The whole command line; the reference and the shells' completion are made from it."""
    parser = argparse.ArgumentParser(
        prog="airavata-runbook",
        description="Airavata on Kubernetes from bare machines",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (new_site, labs, classes, sites, backups, inputs, completion):
        group.add(commands)
    return parser
