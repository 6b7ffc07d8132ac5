"""What holds for all tests."""

import signal


def pytest_configure(config):
    """Commands that tests stop by a signal heed it also where the tests run in the background, or by nohup.

    There the signals are ignored, and so would they be by all that is started from here. A handler that does nothing is
    inherited by none (execve(2)).
    """
    for one in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(one) is signal.SIG_IGN:
            signal.signal(one, lambda *_: None)
