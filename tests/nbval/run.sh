#!/usr/bin/env bash
# The notebooks on fresh labs of their own, never on the one of `make run`: nbval compares their outputs with the committed
# ones, then tests observe the running site from outside, work in its notebooks in a browser, and do the exercises on it; then
# tests observe a site that differs in nearly every value.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=.venv/bin
AIRAVATA_RUNBOOK_STATE=$(mktemp -d)
export AIRAVATA_RUNBOOK_STATE
nbval=$AIRAVATA_RUNBOOK_STATE/lab.yaml
# Another name for its folder in outputs, another bridge and network for the hosts; all else is the lab's site file.
sed 's/10\.98\.0\./10.95.0./; s/\blab0\b/lab95/' parameters/lab.yaml > "$nbval"
# The second site, with a password that only this shell knows: it must show nowhere.
three=$AIRAVATA_RUNBOOK_STATE/lab-three.yaml
sed 's/^    user: puller$/&\n    password: env:CANARY_PASSWORD/' parameters/lab-three.yaml > "$three"
CANARY_PASSWORD=canary-$(head -c 12 /dev/urandom | base64 | tr -d '+/=')
export CANARY_PASSWORD

finish() {
    for site in "$nbval" "$three"; do
        $bin/airavata-runbook kubeconfig "$site" --stop || true
        $bin/airavata-runbook lab down --site "$site"
    done
    rm -rf "$AIRAVATA_RUNBOOK_STATE"
}
trap finish EXIT

$bin/airavata-runbook lab up --site "$nbval"
AIRAVATA_RUNBOOK_SITE=$nbval $bin/pytest -q -p no:cacheprovider --nbval --nbval-current-env -x \
    --nbval-sanitize-with tests/nbval/sanitize.cfg notebooks/0*.ipynb
AIRAVATA_RUNBOOK_SITE=$nbval $bin/pytest -q tests/site/test_certificates.py tests/site/test_outside.py \
    tests/site/test_run.py tests/site/test_changed_site.py
AIRAVATA_RUNBOOK_SITE=$nbval $bin/pytest -q tests/browser/test_notebooks.py tests/browser/test_board.py
AIRAVATA_RUNBOOK_SITE=$nbval $bin/pytest -q tests/exercises
$bin/airavata-runbook kubeconfig "$nbval" --stop || true
$bin/airavata-runbook lab down --site "$nbval"

$bin/airavata-runbook lab up --site "$three"
# From bare hosts through plan, run and drift back to bare hosts.
AIRAVATA_RUNBOOK_SITE=$three $bin/pytest -q tests/site
