# `make test` on a fresh Debian 12 as root installs what it needs, once, and runs the tests.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PACKAGES := python3-venv busybox debootstrap systemd-container iproute2 iptables openssh-client
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup test unit lab down lint

setup: $(VENV)/.ready

# Tools only: the machine itself runs no part of the cluster.
$(VENV)/.ready: pyproject.toml
	missing=$$(for name in $(PACKAGES); do dpkg-query -W -f='$${db:Status-Abbrev}' $$name 2>/dev/null | grep -q '^ii' || echo $$name; done); \
	if [ -n "$$missing" ]; then apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $$missing; fi
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

unit: setup
	$(BIN)/pytest -q tests/unit

test: setup lint
	$(BIN)/pytest -q tests/unit tests/lab

lint: setup
	$(BIN)/ruff check -q airavata_runbook tests

lab: setup
	$(BIN)/airavata-runbook lab up

down: setup
	$(BIN)/airavata-runbook lab down
