"""Where a text or the name of a setting shows that a secret's value was written down."""

import re

_NAME = re.compile(
    r"(pass(word|wd|phrase)|(^|[_.-])(pass|pwd)$|secret|token|cookie|credential|(private|api)[_.-]?key)"
    r"(?!.*(domain|enabled|endpoint|expiry|file|length|name|path|seconds|ttl|ur[il])$)",  # of one, and not itself
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"://[^/@\s:]+:[^/@\s$]+@"  # a login in an address
    r"|(password|passwd|passphrase|secret|token)[\"']?\s*[=:]\s*[\"']?[^\s/$\"']"
    r"|\b(mysql|mariadb)[\w-]*([ \t]+\S+)*?[ \t]+(?-i:-p)[^\s/$]"  # clients of the database take it so; -P is a port
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----",
    re.IGNORECASE,
)


def is_secret(name: str, value: str) -> bool:
    """Whether a setting of this name has a secret as its value, or a text with one. A path is none."""
    named = bool(_NAME.search(name)) and value.lower() not in ("", "true", "false") and not value.startswith("/")
    return named or holds_secret(value)


def holds_secret(text: str) -> bool:
    """Whether a text has a login, a password, a token or a private key in it. A path after the word is none."""
    return bool(_SECRET.search(text))
