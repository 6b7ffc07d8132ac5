"""paramiko, without invoke: `from airavata_runbook.hosts.ssh_library import paramiko`.

paramiko imports invoke only for `Match exec` in OpenSSH's configuration files, and works without it where it is not installed
(paramiko/config.py). The runbook leaves such files to OpenSSH (site/ssh_config.py), and importing invoke takes a tenth of the
start of each process of a run.
"""

import sys

if "invoke" in sys.modules:
    import paramiko
else:
    sys.modules["invoke"] = None  # type: ignore[assignment]  # as if it was not installed, for this import only
    try:
        import paramiko
    finally:
        del sys.modules["invoke"]

__all__ = ["paramiko"]
