"""The OpenPGP signature of a list of digests, verified with GnuPG, against the fingerprints of those who may sign it."""

import re
import tempfile
from collections.abc import Collection
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local.process import run


def signed_text(message: str, keys: str, signers: Collection[str], where: str) -> str:
    """What was signed in a clear-signed message, and nothing of what stands around it.

    keys: public keys, armoured; they are not trusted for where they come from. signers: the fingerprints of the primary keys of
    which one has to have signed. where: of the message, for errors. Raises CannotBuild, also for an expired or revoked key.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o700)
        (home / "keys").write_text(keys)
        (home / "message").write_text(message)

        def gpg(*words: str) -> str:
            return run(
                *("gpg", "--homedir", folder, "--batch", "--no-tty", "--no-auto-key-retrieve", "--status-fd", "1", *words),
                failure="a list of digests has no good signature",
                where=where,
                needed=f"one by {' or '.join(signers)}",
                remedy="if gpg is not installed, apt-get install gnupg; else do not use this release before you know why",
            )

        gpg("--import", str(home / "keys"))
        said = gpg("--output", str(home / "text"), "--decrypt", str(home / "message"))
        by = re.search(r"^\[GNUPG:\] VALIDSIG .* ([0-9A-F]{40})$", said, re.MULTILINE)
        signer = by[1] if by else "nobody"
        if signer in signers and not re.search(r"^\[GNUPG:\] GOODSIG ", said, re.MULTILINE):
            signer += ", a key that has expired or was revoked"
        if signer not in signers:
            raise CannotBuild(
                "a list of digests is not signed by whom it should be",
                where=where,
                found=signer,
                needed=" or ".join(signers),
                remedy="find out whether its project has a new key; only then name it in mirror/releases.py",
            )
        return (home / "text").read_text()
