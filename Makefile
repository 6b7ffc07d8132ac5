# As root on a fresh Debian 12: `make run` brings a site up on lab hosts and leaves it up, `make test` runs all tests.
# Both install what they need, once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PACKAGES := python3-venv busybox debootstrap systemd-container iproute2 iptables openssh-client \
            gcc libc6-dev libseccomp-dev pkg-config
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup run test unit mirror lab down lint notebooks chaos bench

run: setup
	$(BIN)/airavata-runbook mirror
	$(BIN)/airavata-runbook lab up --site lab
	$(BIN)/airavata-runbook run lab

test: setup lint
	$(BIN)/pytest -q -n auto tests/unit
	$(BIN)/airavata-runbook mirror
	$(BIN)/pytest -q tests/lab
	$(BIN)/pytest -q -s tests/chaos
	tests/nbval/run.sh

setup: $(VENV)/.ready

# Tools only: the machine itself runs no part of the cluster.
$(VENV)/.ready: pyproject.toml
	missing=$$(for name in $(PACKAGES); do dpkg-query -W -f='$${db:Status-Abbrev}' $$name 2>/dev/null | grep -q '^ii' || echo $$name; done); \
	if [ -n "$$missing" ]; then apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $$missing; fi
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

unit: setup
	$(BIN)/pytest -q -n auto tests/unit

lint: setup
	$(BIN)/ruff check -q airavata_runbook benchmarks tests
	$(BIN)/ruff format -q --check airavata_runbook benchmarks tests
	$(BIN)/lint-imports --no-cache > /dev/null || $(BIN)/lint-imports --no-cache
	$(BIN)/mypy

mirror: setup
	$(BIN)/airavata-runbook mirror

# The committed outputs of the notebooks, made anew by one run from bare lab hosts.
notebooks: setup mirror
	tests/nbval/execute.sh

lab: setup
	$(BIN)/airavata-runbook lab up

down: setup
	$(BIN)/airavata-runbook lab down

# Every fault in every chapter that it fits, on lab hosts: about three quarters of an hour. `make test` takes one a chapter, by a seed.
chaos: setup mirror
	$(BIN)/pytest -s -q tests/chaos --all-faults

# How long it takes, beside ansible-core, pyinfra, fabric and kubeadm: benchmarks/README.md. About a quarter of an hour.
bench: setup mirror
	$(BIN)/python -m benchmarks.reapply
	$(BIN)/python -m benchmarks.ready
