"""paramiko, without invoke: `from airavata_runbook.ssh_library import paramiko`.

paramiko imports invoke, a tenth of what a process of a run takes to start, for `Match exec` in OpenSSH's own configuration
files and does without it where it is not installed (paramiko/config.py). The runbook reads no such file.
"""

import sys


def _without(name: str):
    """Import paramiko as if the package `name` was not installed; for everybody else it is there as before."""
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = None
    try:
        import paramiko
    finally:
        if hidden:
            del sys.modules[name]
    return paramiko


paramiko = _without("invoke")
__all__ = ["paramiko"]
