"""paramiko, without invoke: `from airavata_runbook.hosts.ssh_library import paramiko`.

paramiko imports invoke, a tenth of what a process of a run takes to start, for `Match exec` in OpenSSH's own configuration
files and does without it where it is not installed (paramiko/config.py). The runbook reads no such file.
"""

import sys

if "invoke" in sys.modules:
    import paramiko
else:
    sys.modules["invoke"] = None  # type: ignore[assignment]  # as if it was not installed; for everybody else it is there as before
    try:
        import paramiko
    finally:
        del sys.modules["invoke"]

__all__ = ["paramiko"]
