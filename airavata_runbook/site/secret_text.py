"""Where a text or the name of a setting shows that a secret's value was written down."""

import re

NAMED_SECRET = re.compile(
    r"pass(word|wd|phrase)|(^|[_.-])(pass|pwd)$|secret|token|cookie|credential|(private|api)[_.-]?key", re.I
)
_SECRET = re.compile(
    r"://[^/@\s:]+:[^/@\s$]+@"  # a login in an address
    r"|(password|passwd|passphrase|secret|token)[\"']?\s*[=:]\s*[\"']?[^\s/$\"']"
    r"|\b(mysql|mariadb)\S*(\s+\S+)*?\s+-p[^\s/$]"  # clients of the database take it so
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----",
    re.IGNORECASE,
)


def holds_secret(text: str) -> bool:
    """Whether a text has a login, a password, a token or a private key in it. A path after the word is none."""
    return bool(_SECRET.search(text))
