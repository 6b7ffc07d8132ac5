"""Ctrl-C, `kill` and a closed terminal (SIGINT, SIGTERM, SIGHUP) end a command alike: by KeyboardInterrupt."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from airavata_runbook.errors import STOPPED_BY_USER

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raise_keyboard_interrupt() -> None:
    """From now on each of these signals raises KeyboardInterrupt in the main thread."""
    _handle(signal.default_int_handler)


def interrupt_kernel() -> None:
    """What a notebook's ■ does (jupyter_client's LocalProvisioner.send_signal): SIGINT to this kernel, and to the programs that
    it has started, if it leads a process group of its own."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def without_traceback() -> Iterator[None]:
    """A notebook's cell that is stopped within the block shows one line, not our call stack."""
    try:
        yield
    except KeyboardInterrupt as stop:
        # IPython calls this instead of printing a traceback.
        vars(stop)["_render_traceback_"] = lambda: [f"{STOPPED_BY_USER}; run the cell again: what is done stays done"]
        raise


@contextmanager
def graceful_stop(stop: Callable[[], None], timeout: int) -> Iterator[Callable[..., None]]:
    """The first signal calls `stop`, which lets the block's work end by itself; then the block raises KeyboardInterrupt.

    A second signal raises it at once, as does a block that has not ended `timeout` seconds after the first. Yields a
    function that raises KeyboardInterrupt if a signal has come, to be called (with any keywords) before more work is
    started.
    """
    stopping = False

    def first(*_: object) -> None:
        nonlocal stopping
        stopping = True
        _handle(signal.default_int_handler)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(timeout)
        with suppress(OSError):  # the terminal may be gone
            print(
                f"\nstopping, within {timeout} s; press Ctrl-C again to stop at once, without a report of each host's progress",
                file=sys.stderr,
                flush=True,
            )
        stop()

    def raise_if_stopped(**_: object) -> None:
        if stopping:
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    _handle(first)
    try:
        yield raise_if_stopped
    except Exception:
        if not stopping:
            raise
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
    raise_if_stopped()


def _handle(handler: Callable[..., object]) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored by nohup, or by a shell for background jobs
            signal.signal(number, handler)
