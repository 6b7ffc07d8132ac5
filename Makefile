# As root on a fresh Debian 12: `make run` brings a site up on lab hosts and leaves it up, `make test` runs all tests.
# Every target installs what it needs, once. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PACKAGES := python3-venv busybox mmdebstrap systemd-container iproute2 iptables openssh-client curl \
            gcc libc6-dev libseccomp-dev pkg-config chromium-headless-shell
# Tests call dnf with repositories of their own.
RPM := dnf rpm createrepo-c gpg gpg-agent
# Airavata's own Java client, which tests call with, comes from Maven Central.
JAVA := openjdk-17-jdk-headless maven
VENV := .venv
BIN := $(VENV)/bin
UV := uv==0.13.9
SOURCES := airavata_runbook benchmarks docs/sphinx tests

# Debian packages, those that are missing.
install = missing=$$(for name in $(1); do dpkg-query -W -f='$${db:Status-Abbrev}' $$name 2>/dev/null | grep -q '^ii' || echo $$name; done); \
	if [ -n "$$missing" ]; then apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $$missing; fi

.NOTPARALLEL:
.PHONY: run test lint unit lab-tests faults poc notebooks-test exercises browser air-gapped chaos notebooks bench mirror lab down java docs \
	setup lock help

run: setup ## Bring a site up on lab hosts of this machine, with all notebooks, and leave it up
	@echo "== mirror"
	$(BIN)/airavata-runbook mirror lab
	@echo "== run"
	$(BIN)/airavata-runbook lab up --site lab
	$(BIN)/airavata-runbook run lab

test: lint docs unit browser lab-tests faults poc notebooks-test ## Run all tests: these eight parts, each of which can be run alone

lint: setup ## Check style, imports between packages, and types
	@echo "== lint"
	$(BIN)/ruff check -q $(SOURCES)
	$(BIN)/ruff format -q --check $(SOURCES)
	$(BIN)/lint-imports --no-cache > /dev/null || $(BIN)/lint-imports --no-cache
	$(BIN)/mypy

unit: setup java ## Run the unit tests; they need no host
	@echo "== unit tests"
	$(BIN)/pytest -q -n auto tests/unit

lab-tests: mirror ## Run the tests of single functions on lab hosts
	@echo "== tests on lab hosts"
	@$(call install,buildah)
	$(BIN)/pytest -q tests/lab

faults: mirror ## Run all chapters with one fault in each, chosen by a printed seed
	@echo "== one fault in each chapter"
	$(BIN)/pytest -q -s tests/chaos

poc: mirror ## Run parameters/poc-2017.yaml as it is on hosts with rpm and dnf, and reset it
	@echo "== poc-2017"
	$(BIN)/pytest -q tests/poc

notebooks-test: mirror java ## Compare the notebooks' outputs with the committed ones, then test the running sites from outside
	@echo "== notebooks and running sites"
	tests/nbval/run.sh

exercises: mirror ## Do every exercise on a lab: broken, mended by its solution, repaired by the runbook
	@echo "== exercises"
	$(BIN)/pytest -q tests/exercises

browser: setup ## Work in JupyterLab with a headless Chromium; on a running site too, where AIRAVATA_RUNBOOK_SITE names one
	@echo "== JupyterLab in a browser"
	$(BIN)/pytest -q tests/browser

air-gapped: mirror ## Bring a site up from its bundle, in a network namespace that reaches the lab hosts and nothing else
	@echo "== a site from its bundle, without a network"
	$(BIN)/pytest -q tests/air_gapped

chaos: mirror ## Run all chapters with every fault that fits each: about three quarters of an hour
	@echo "== every fault in each chapter"
	$(BIN)/pytest -q -s tests/chaos --all-faults

notebooks: mirror ## Execute the notebooks on bare lab hosts and replace their committed outputs
	@echo "== outputs of the notebooks"
	tests/nbval/execute.sh

bench: mirror ## Measure against ansible-core, pyinfra, fabric and kubeadm, and itself with nothing to do (benchmarks/README.md): about 20 minutes
	@echo "== benchmarks"
	$(BIN)/python -m benchmarks.reapply
	$(BIN)/python -m benchmarks.ready
	$(BIN)/python -m benchmarks.again

mirror: setup ## Build and package all components and images: about 15 minutes the first time
	@echo "== mirror"
	$(BIN)/airavata-runbook mirror

lab: setup ## Boot the lab hosts of site lab
	$(BIN)/airavata-runbook lab up

down: setup ## Remove the lab hosts of site lab, with all their data
	$(BIN)/airavata-runbook lab down

java: ## Install a JDK and Maven, for the tests with Airavata's Java client
	@$(call install,$(JAVA))

docs: $(VENV)/.docs ## Build the documentation as a site into outputs/docs/html
	@echo "== docs"
	$(BIN)/python -m docs.sphinx.build

setup: $(VENV)/.ready ## Install the Debian packages and the virtual environment

# Tools only: the machine itself runs no part of the cluster. Each file from PyPI must have a hash in requirements.lock. Packages
# without a wheel are built with the setuptools that is installed first, because pip's build isolation would fetch one by itself.
# pip needs the first Debian package only, so that apt installs the others beside it. The lock is whole: pip has nothing to resolve,
# and compiles with one processor only (as it does, what cannot be compiled is passed over).
$(VENV)/.ready: pyproject.toml requirements.lock
	@echo "== setup"
	@$(call install,python3-venv)
	python3 -m venv $(VENV)
	@($(call install,$(PACKAGES) $(RPM))) & trap wait EXIT; set -x; \
	sed -n '/^setuptools==/,/#/p' requirements.lock | $(BIN)/pip install --quiet --require-hashes --requirement /dev/stdin; \
	$(BIN)/pip install --quiet --no-deps --no-compile --require-hashes --no-build-isolation --use-pep517 --requirement requirements.lock; \
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .; \
	$(BIN)/pip check; \
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null || true; \
	wait $$!
	touch $@

# The documentation's tools, beside what setup installs: the lock is whole, as above.
$(VENV)/.docs: $(VENV)/.ready docs/sphinx/requirements.lock
	@echo "== setup of the documentation"
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement docs/sphinx/requirements.lock
	touch $@

lock: ## Pin every Python package with its hashes in requirements.lock; with UPGRADE=--upgrade at the newest versions
	@echo "== requirements.lock"
	@tools=$$(mktemp -d); trap 'rm -rf $$tools' EXIT; \
	python3 -m venv $$tools; $$tools/bin/pip install --quiet $(UV); \
	compile="$$tools/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-emit-index-url $(UPGRADE)"; \
	$$compile --custom-compile-command 'make lock' --all-extras --group build --output-file requirements.lock pyproject.toml; \
	$$compile --custom-compile-command 'make lock' --group docs --constraint requirements.lock --output-file docs/sphinx/requirements.lock

help: ## List the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r target text; do printf '%-16s%s\n' "$$target" "$$text"; done
