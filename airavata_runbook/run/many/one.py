"""What the process of one site does, where several are run side by side (process.py starts it)."""

import json
import os
import signal
import sys
import threading

from airavata_runbook.errors import RunbookError
from airavata_runbook.local import interrupts
from airavata_runbook.run import runner
from airavata_runbook.run.many.process import STOPPED


def main() -> int:
    """Run the site that standard input names, and tell the descriptor its record's folder and its error, a JSON line each."""
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8", buffering=1) as tells:

        def tell(**said: str) -> None:
            print(json.dumps(said), file=tells)

        request = json.loads(sys.stdin.readline())
        threading.Thread(target=_stop_with_parent, daemon=True).start()
        interrupts.raise_keyboard_interrupt()
        try:
            settings, site = request.pop("settings"), request.pop("site")
            runner.run(site, settings, **request, on_start=lambda folder: tell(folder=str(folder)))
            return 0
        except RunbookError as error:
            print(f"airavata-runbook: {error}", file=sys.stderr)
            tell(error=str(error))
            return 1
        except KeyboardInterrupt:
            return STOPPED


def _stop_with_parent() -> None:
    """Stop as by `kill` when the run of all has died: its end of standard input is closed then."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
