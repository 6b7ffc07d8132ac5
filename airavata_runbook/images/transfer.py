"""Blobs in parallel: a few threads, and retries where they help."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import requests
import urllib3

from airavata_runbook.images.http import RegistryError, reason
from airavata_runbook.images.manifest import Descriptor
from airavata_runbook.local.files import digest

WORKERS = 4
TRIES = 3
PAUSE = 1.0  # seconds before the second try, twice that before the third


def transfer(blobs: Sequence[Descriptor], one: Callable[[Descriptor, threading.Event], None]) -> None:
    """Call `one(blob, stop)` for every blob, four at a time; `stop` is set once the others are to be cancelled.

    A retryable RegistryError is retried twice; the first other error cancels the rest and is raised.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(WORKERS, "blob") as pool:
        try:
            for future in as_completed([pool.submit(_retry, one, blob, stop) for blob in blobs]):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _retry(one: Callable[[Descriptor, threading.Event], None], blob: Descriptor, stop: threading.Event) -> None:
    for left in reversed(range(TRIES)):
        try:
            return one(blob, stop)
        except RegistryError as error:
            if not (left and error.retryable) or stop.wait(PAUSE * (TRIES - left)):
                raise


class ResponseBody:
    """The raw body of a response as a stream whose failures are RegistryErrors."""

    def __init__(self, response: requests.Response, where: str):
        self._response, self._where = response, where

    def read(self, size: int) -> bytes:
        try:
            return self._response.raw.read(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RegistryError(
                "a registry's response broke off", where=self._where, found=reason(error), retryable=True
            ) from None

    def close(self) -> None:
        self._response.close()


def intact(path: Path, blob: Descriptor) -> bool:
    """Whether the file exists and is the blob."""
    return path.is_file() and path.stat().st_size == blob.size and f"sha256:{digest(path)}" == blob.digest
