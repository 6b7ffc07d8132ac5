"""The environment variables by which the runner tells a notebook's kernel what it does for it, and a user names a site."""

SITE = "AIRAVATA_RUNBOOK_SITE"  # a site's name or path, for notebooks that are executed without parameters
PLAN = "AIRAVATA_RUNBOOK_PLAN"  # set by `airavata-runbook plan`; the notebooks' own `plan` wins when True
PLANNED = "AIRAVATA_RUNBOOK_PLANNED"  # of the runner: a file with one JSON line for each host and step
REPORT_FILE = "AIRAVATA_RUNBOOK_REPORT"  # a file that the runner gives to the kernel; one JSON line a step
PROGRESS = "AIRAVATA_RUNBOOK_PROGRESS"  # such a file too; one line, rewritten while a step runs: what it is doing
# Set for all of a restore: folders of databases, separated by blanks, whose data is loaded later, or which begin empty.
RESTORE = "AIRAVATA_RUNBOOK_RESTORE"
LOCK_HELD = "AIRAVATA_RUNBOOK_LOCK"  # set for the kernels of a run: the runner holds the lock for them
