"""What a registry answers, and how it is told when it is no good."""

import io
import re
import time

import requests

from airavata_runbook.errors import StepFailed
from airavata_runbook.images.archive import SMALL

WHOLE = 600.0  # seconds for the whole of an answer that is held in memory
CHUNK = 1 << 16  # bytes


class RegistryError(StepFailed):
    """A registry is unreachable, refuses a request, or answers outside the specification."""


def read_whole(response: requests.Response, where: str) -> None:
    """Read an answer into memory, within limits of size and time; it remains readable. Raises RegistryError."""
    end, body = time.monotonic() + WHOLE, bytearray()
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        body += chunk
        if len(body) > SMALL or time.monotonic() > end:
            response.close()
            found = f"more than {SMALL} bytes" if len(body) > SMALL else f"no end after {WHOLE:.0f} s"
            raise RegistryError("a registry's answer is too large", where=where, found=found, needed=f"at most {SMALL} bytes")
    response.raw = io.BytesIO(bytes(body))


def reason(error: Exception) -> str:
    """The message of the innermost error in a requests or urllib3 error, without the URL (it can carry signatures)."""
    error = innermost(error)
    text = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    return re.sub(r"(?:<[^>]*>: |\?\S+)", "", str(text))[:200]


def innermost(error: Exception) -> Exception:
    """The error that requests and urllib3 wrapped, some layers deep."""
    while wrapped := [part for part in (getattr(error, "reason", None), *error.args) if isinstance(part, Exception)]:
        error = wrapped[0]
    return error


def errors_of(response: requests.Response) -> str:
    """The registry's own errors: `CODE message`, at most 200 characters."""
    try:
        entries = response.json()["errors"]
        return "; ".join(f"{entry.get('code')} {entry.get('message', '')}" for entry in entries)[:200]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, requests.exceptions.RequestException):
        return response.reason or ""
