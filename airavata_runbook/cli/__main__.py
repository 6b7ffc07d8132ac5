"""`python -m airavata_runbook.cli`: the command line, where its script is not on PATH."""

import sys

from airavata_runbook.cli import main

if __name__ == "__main__":
    sys.exit(main())
