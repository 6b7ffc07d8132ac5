"""Blobs side by side: a few threads, tries again where that helps, progress told in the caller's own thread."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

import requests
import urllib3

from airavata_runbook.images.http import RegistryError, reason
from airavata_runbook.images.layout import Descriptor

WORKERS = 4
TRIES = 3
PAUSE = 1.0  # seconds before the second try, twice that before the third
TICK = 0.25  # seconds between two reports of progress

OnBytes = Callable[[int, int], None]  # bytes done, bytes in all; called in the thread that asked for the work
Work = Callable[[Descriptor, Callable[[int], None]], None]


class _Stopped(Exception):
    """Another blob failed, or the user interrupted: the rest is not worth carrying on."""


def side_by_side(blobs: Sequence[Descriptor], work: Work, progress: OnBytes | None = None) -> None:
    """Call `work(blob, count)` for every blob, four at a time; `count(n)`: n bytes of this blob are done.

    A retryable RegistryError is tried again twice; the first other error stops everything and is raised.
    """
    total = sum(blob.size for blob in blobs)
    done: dict[str, int] = {}
    stop = threading.Event()

    def one(blob: Descriptor) -> None:
        def count(size: int) -> None:
            if stop.is_set():
                raise _Stopped
            done[blob.digest] = size

        _tried(lambda: work(blob, count), stop)

    with ThreadPoolExecutor(WORKERS, "blob") as pool:
        try:
            pending = {pool.submit(one, blob) for blob in blobs}
            while pending:
                finished, pending = wait(pending, TICK, FIRST_EXCEPTION)
                for future in finished:
                    future.result()
                if progress:
                    progress(sum(done.copy().values()), total)
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _tried(call: Callable[[], None], stop: threading.Event) -> None:
    for left in reversed(range(TRIES)):
        try:
            return call()
        except RegistryError as error:
            if not (left and error.retryable) or stop.wait(PAUSE * (TRIES - left)):
                raise


class Received:
    """The raw body of an answer as a stream whose failures are RegistryErrors."""

    def __init__(self, response: requests.Response, where: str):
        self._response, self._where = response, where

    def read(self, size: int) -> bytes:
        try:
            return self._response.raw.read(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RegistryError(
                "an answer of a registry breaks off", where=self._where, found=reason(error), retryable=True
            ) from None

    def close(self) -> None:
        self._response.close()


def write(path: Path, content: Iterable[bytes]) -> None:
    """A file made of chunks that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
        try:
            for chunk in content:
                file.write(chunk)
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def intact(path: Path, blob: Descriptor) -> bool:
    """Whether a file is there and is the blob."""
    if not path.is_file() or path.stat().st_size != blob.size:
        return False
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return f"sha256:{digest.hexdigest()}" == blob.digest
