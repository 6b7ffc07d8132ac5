#!/usr/bin/env bash
# Replace the committed outputs of the notebooks: one run, top to bottom, on bare lab hosts.
set -euo pipefail
cd "$(dirname "$0")/../.."
.venv/bin/airavata-runbook mirror
.venv/bin/airavata-runbook lab down
.venv/bin/airavata-runbook lab up
for notebook in notebooks/0*.ipynb; do
    echo "$notebook"
    AIRAVATA_RUNBOOK_SITE=lab .venv/bin/jupyter nbconvert --log-level WARN --to notebook --execute --inplace \
        --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False "$notebook"
done
