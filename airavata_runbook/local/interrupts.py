"""Ctrl-C, `kill` and a terminal that is closed end a command in one and the same way: by KeyboardInterrupt."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_the_command() -> None:
    """From now on each of them raises KeyboardInterrupt in the main thread."""
    _handle(signal.default_int_handler)


@contextmanager
def passed_on(to: Callable[[], None], seconds: int) -> Iterator[Callable[..., None]]:
    """The first of them calls `to`, which lets the work of the block end by itself; then KeyboardInterrupt leaves the block.

    A second one raises it at once, as does a block that has not ended after so many seconds. Yields a function that
    raises it when the first has come: to be called before more work is begun.
    """
    came = False

    def first(*_) -> None:
        nonlocal came
        came = True
        _handle(signal.default_int_handler)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(seconds)
        with suppress(OSError):  # the terminal may be gone
            print(
                f"\nstopping, within {seconds} s; Ctrl-C again: at once, without a word on how far each host got",
                file=sys.stderr,
                flush=True,
            )
        to()

    def check(**_) -> None:
        if came:
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    _handle(first)
    try:
        yield check
    except Exception:
        if not came:
            raise
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
    check()


def _handle(handler: Callable) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # of nohup, or of a shell for what it starts in the background
            signal.signal(number, handler)
