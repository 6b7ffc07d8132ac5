"""paramiko, without invoke: `from airavata_runbook.hosts.ssh_library import paramiko`.

paramiko imports invoke only for `Match exec` in OpenSSH's configuration files, and works without it where it is not installed
(paramiko/config.py). The runbook leaves such files to OpenSSH (site/ssh_config.py), and importing invoke takes a tenth of the
start of each process of a run.
"""

from airavata_runbook.local.imports import without

with without("invoke"):
    import paramiko

__all__ = ["paramiko"]
