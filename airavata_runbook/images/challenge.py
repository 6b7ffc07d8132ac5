"""The challenges of a WWW-Authenticate header (RFC 9110 sections 5.6, 11.2 to 11.6)."""

import re
from dataclasses import dataclass, field

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
SCHEME = re.compile(rf"({TOKEN})(?:[ \t]+|(?=,)|\Z)")
TOKEN68 = re.compile(r"[0-9A-Za-z._~+/-]+=*[ \t]*(?:(?=,)|\Z)")
PARAMETER = re.compile(rf'({TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({TOKEN}))[ \t]*(?:(?=,)|\Z)')
REST = re.compile(r"[^,]*")


@dataclass(frozen=True)
class Challenge:
    """scheme: in lower case, "basic" or "bearer" or another. parameters: by name in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def challenges(header: str) -> list[Challenge]:
    """All challenges of a header, or of several that are joined by commas; what is no challenge is skipped."""
    found: list[Challenge] = []
    position = 0
    while position < len(header):
        if header[position] in " \t,":
            position += 1
            continue
        parameter, scheme = PARAMETER.match(header, position), SCHEME.match(header, position)
        if parameter:
            name, quoted, plain = parameter.groups()
            if found:
                value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                found[-1].parameters.setdefault(name.lower(), value)
            position = parameter.end()
        elif scheme:
            found.append(Challenge(scheme[1].lower()))
            position = scheme.end()
            if not PARAMETER.match(header, position) and (blob := TOKEN68.match(header, position)):
                position = blob.end()
        else:
            position = REST.match(header, position).end()  # type: ignore[union-attr]
    return found
