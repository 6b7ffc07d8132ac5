"""Keys and certificates for client libraries that read files only, without a file on disk."""

import os


class MemoryFile:
    """An anonymous file of this process, which ends with it (memfd_create(2)); open as long as this object is in use.

    A temporary file with the admin's key would stay in /tmp when this process is killed.
    """

    def __init__(self, content: bytes):
        self._file = os.fdopen(os.memfd_create("airavata-runbook"), "wb")
        self._file.write(content)
        self._file.flush()
        self.path = f"/proc/self/fd/{self._file.fileno()}"
