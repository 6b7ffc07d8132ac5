"""A file that is fetched over https and known by its sha256: kept in the cache, resumed after a break."""

import re
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from airavata_runbook.errors import RunbookError
from airavata_runbook.images.answer import innermost, reason
from airavata_runbook.local import paths
from airavata_runbook.local.digests import remembered_digest
from airavata_runbook.local.files import digest, room_in
from airavata_runbook.local.once import locked
from airavata_runbook.local.terminal import progress

LARGEST = 2 << 30  # bytes
TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
DEADLINE = 3600.0  # seconds for one file, with all tries and pauses
TRIES = 4  # in a row that bring nothing new
PAUSE = 1.0  # seconds before the second try; twice that before the third, and so on, unless the server says how long
REDIRECTS = 10
CHUNK = 1 << 20  # bytes
SMALL = 10 << 20  # bytes; here in a moment, and of an image of jars there are dozens

Login = tuple[str, str]  # user, password


class DownloadFailed(RunbookError):
    """A file cannot be fetched, or is not the one that was asked for. Shows neither a login nor the query of a URL."""


class _Broken(Exception):
    """A try that failed and may be repeated; its text says why. wait: seconds that the server asks for, 0 when it does not."""

    def __init__(self, why: str, wait: float = 0):
        super().__init__(why)
        self.wait = wait


def fetch(url: str, sha256: str, login: Login | None = None) -> Path:
    """The file in the cache, downloaded unless it is there. Its content has this sha256 (hexadecimal).

    What arrived before a break stays beside it and is continued, also by a later run. Redirects are followed within https;
    proxies (http_proxy, https_proxy, no_proxy) and authorities are those of the environment. Raises DownloadFailed, CannotBuild
    for a full disk.
    """
    target = cached(sha256)
    if is_here(sha256):
        return target
    with locked(target):
        if not is_here(sha256):
            with room_in(target.parent):
                part = target.with_name(f".{target.name}.part")
                continued = part.exists()
                _download(url, part, login)
                if continued and digest(part) != sha256:  # what was there may have been of another file
                    part.unlink()
                    _download(url, part, login)
                _check(part, sha256, url)
                part.replace(target)
    return target


def read(url: str, most: int = 1 << 20) -> str:
    """A small text of at most `most` bytes, such as a list of digests, read anew each time. Raises DownloadFailed."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "text"
        _download(url, part, None, most)
        return part.read_text(errors="replace")


def is_here(sha256: str) -> bool:
    """Whether the cache has the whole file."""
    target = cached(sha256)
    return target.is_file() and remembered_digest(target) == sha256


def cached(sha256: str) -> Path:
    """Where the cache keeps a file, whether it is there or not."""
    return paths.cache_dir() / "downloads" / sha256


def check(url: str, login: Login | None = None, timeout: tuple[float, float] = TIMEOUT) -> None:
    """Ask whether there is something to download, without doing it. Raises DownloadFailed."""
    try:
        with _request("HEAD", url, login, timeout) as response:
            _check_size(url, int(response.headers.get("Content-Length") or 0), LARGEST)
    except _Broken as error:
        raise _unreachable(url, str(error)) from None


def shown(url: str) -> str:
    """A URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _download(url: str, part: Path, login: Login | None, most: int | None = None) -> None:
    """Bring the whole file to `part`, in several tries; each goes on where the last one ended. most: bytes (LARGEST)."""
    end, failures = time.monotonic() + DEADLINE, 0
    while True:
        before = _size(part)
        try:
            return _continue(url, part, login, end, most or LARGEST)
        except _Broken as error:
            failures = 1 if _size(part) > before else failures + 1
            pause = error.wait or PAUSE * failures
            if failures == TRIES or time.monotonic() + pause > end:
                asked = f"; the server asks to wait {error.wait:.0f} s" if error.wait else ""
                raise _unreachable(url, f"{error}{asked}") from None
            with progress(_title(url)) as update:
                update(f"{error}; another try in {pause:.0f} s")
                time.sleep(pause)


def _title(url: str) -> str:
    return f"download {Path(urlsplit(url).path).name}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _progress(url: str, total: int) -> AbstractContextManager[Callable[..., None]]:
    """What shows the progress of a download, unless the file is small. total: bytes, 0 when unknown."""
    if 0 < total <= SMALL:
        return nullcontext(lambda *_: None)
    return progress(_title(url), total)


def _continue(url: str, part: Path, login: Login | None, end: float, most: int) -> None:
    """One try. end: of all tries, on the monotonic clock."""
    have = _size(part)
    with _request("GET", url, login, TIMEOUT, have) as response:
        if response.status_code == 416:  # no bytes after those that are here: the file is whole, or another one
            return
        have = have if response.status_code == 206 and _start(response) == have else 0
        length = int(response.headers.get("Content-Length") or 0)
        _check_size(url, have + length, most, shutil.disk_usage(part.parent).free + have)
        arrived, of = 0, f" of {(have + length) / 1e6:.0f}" if length else ""
        with (
            part.open("ab" if have else "wb") as file,
            _progress(url, length) as update,  # the time left is that of the bytes of this try
        ):
            for chunk in _chunks(response):
                file.write(chunk)
                arrived += len(chunk)
                _check_size(url, have + arrived, most)
                update(f"{(have + arrived) / 1e6:.0f}{of} MB", arrived)
                if time.monotonic() > end:
                    raise _unreachable(url, f"only {have + arrived} bytes in {DEADLINE:.0f} s")
    if length and have + arrived < _whole(response, length):
        raise _Broken(f"the connection ended after {have + arrived} bytes")


def _whole(response: requests.Response, length: int) -> int:
    """The size of the file whose last `length` bytes were sent."""
    return length + (_start(response) if response.status_code == 206 else 0)


def _start(response: requests.Response) -> int:
    """The position of the first byte of a partial response (RFC 9110 section 14.4); -1 where it does not say."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The content as it arrives: a block is not waited for, so that a slow server meets the deadline."""
    try:
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            yield chunk
    except (urllib3.exceptions.HTTPError, requests.exceptions.RequestException, OSError) as error:
        raise _Broken(reason(error)) from None


def _request(method: str, url: str, login: Login | None, timeout: tuple[float, float], start: int = 0) -> requests.Response:
    """A response with content. Raises DownloadFailed where the server refuses, _Broken where it may not the next time."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    session = requests.Session()
    session.max_redirects = REDIRECTS
    try:
        # With an auth that does nothing, requests does not use ~/.netrc.
        response = session.request(
            method,
            url,
            headers=headers,
            auth=login or (lambda request: request),
            stream=True,
            timeout=timeout,
            hooks={"response": _require_tls},
        )
    except requests.exceptions.TooManyRedirects:
        raise _unreachable(url, f"more than {REDIRECTS} redirects") from None
    except requests.exceptions.RequestException as error:
        if isinstance(innermost(error), ssl.SSLCertVerificationError):  # will be the same the next time
            raise _unreachable(url, reason(error)) from None
        raise _Broken(reason(error)) from None
    if response.status_code >= 500 or response.status_code == 429:
        raise _Broken(f"HTTP {response.status_code} {response.reason}", _retry_after(response))
    if response.status_code >= 400 and response.status_code != 416:
        raise DownloadFailed(
            "a server refuses a download",
            where=shown(url),
            found=f"HTTP {response.status_code} {response.reason}",
            remedy="check auth, the login" if response.status_code in (401, 403) else "correct the URL",
        )
    return response


def _retry_after(response: requests.Response) -> float:
    """The seconds that a server wants to be left alone (RFC 9110 section 10.2.3); 0 where it does not say."""
    said = response.headers.get("Retry-After", "")
    if re.fullmatch(r"\d{1,9}", said):
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _require_tls(response: requests.Response, **_: object) -> None:
    """Called for each response, before a redirect is followed."""
    if response.is_redirect and (to := urljoin(response.url, response.headers["Location"])) and not to.startswith("https://"):
        raise DownloadFailed("a download is redirected to a URL without TLS", where=shown(response.url), found=shown(to))


def _check(part: Path, sha256: str, url: str) -> None:
    """Raises DownloadFailed for another content, which is removed: the next run starts anew."""
    found = digest(part)
    if found != sha256:
        part.unlink()
        raise DownloadFailed(
            "a downloaded file does not match its sha256",
            where=shown(url),
            found=found,
            needed=sha256,
            remedy="correct the sha256, or find out who changed the file; it was not used",
        )


def _check_size(url: str, size: int, most: int, free: int | None = None) -> None:
    if size > most:
        raise DownloadFailed("a file to download is too large", where=shown(url), found=f"{size} bytes", needed=f"at most {most}")
    if free is not None and size > free:
        raise DownloadFailed(
            "a download does not fit on this machine's disk",
            where=str(cached("").parent),
            found=f"{free} bytes free",
            needed=f"{size} bytes",
            remedy="free disk space",
        )


def _unreachable(url: str, why: str) -> DownloadFailed:
    return DownloadFailed(
        "a file could not be downloaded",
        where=shown(url),
        found=why,
        remedy="check the URL and this machine's way to it (HTTPS_PROXY, REQUESTS_CA_BUNDLE); a run goes on with what arrived",
    )
