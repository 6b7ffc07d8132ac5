"""Lines of the registry's htpasswd file, hashed with bcrypt (POC row 9)."""

import bcrypt

from airavata_runbook.errors import RunbookError


def htpasswd_entry(user: str, password: str, rounds: int = 10) -> str:
    """One line of an htpasswd file, `user:$2b$…`, without a newline: the registry accepts bcrypt only.

    rounds: the cost, 2**rounds. Raises RunbookError for a user or password that such a line cannot hold.
    """
    if not user or ":" in user or any(ord(character) < 33 for character in user):
        raise RunbookError(
            "invalid user name for an htpasswd file", found=repr(user), needed="a name without colon, blank or control character"
        )
    secret = password.encode()
    if not 1 <= len(secret) <= 72 or b"\0" in secret:  # bcrypt's limit; older versions truncate silently
        raise RunbookError(
            "the password does not fit bcrypt",
            where=f"user {user}",
            found=f"{len(secret)} bytes",
            needed="1 to 72 bytes in UTF-8, no NUL byte",
        )
    return f"{user}:{bcrypt.hashpw(secret, bcrypt.gensalt(rounds)).decode()}"


def htpasswd_matches(entry: str, user: str, password: str) -> bool:
    """Whether an htpasswd line is for `user` and its bcrypt hash is of `password`; False for any other line."""
    name, _, hashed = entry.strip().partition(":")
    if name != user or not hashed:
        return False
    try:
        return bcrypt.checkpw(password.encode(), hashed.encode())
    except ValueError:
        return False  # not a bcrypt hash (md5, sha1, plain), or a password over bcrypt's limit
