# The commands of the README. Each does all its set-up on a machine with Python 3.11+, make and a package index.
SHELL := /bin/bash
.DEFAULT_GOAL := help

UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
# Ray starts many Python processes: without bytecode each of them compiles the libraries anew.
export UV_COMPILE_BYTECODE := 1
export UV_PROJECT_ENVIRONMENT := .venv
RUN := .venv/bin/
ARGS ?=

.PHONY: help setup dev demo up test streams check scan audit lock wheel docs settings fmt bench kind kind-down cluster clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.tools/bin/uv:
	@echo "uv is not installed: putting it into .tools" >&2
	@python3 -m venv .tools && .tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'

setup: $(filter .tools/%,$(UV)) ## prepare .venv for what runs: the platform and its command
	@$(UV) sync --frozen --inexact --quiet --no-default-groups

dev: $(filter .tools/%,$(UV)) ## prepare .venv for tests and for Pulumi too
	@$(UV) sync --frozen --inexact --quiet

demo: setup ## the whole loop on this machine; DATA=path for your own table
	@$(RUN)vigil demo $(if $(DATA),--data "$(DATA)") $(ARGS)

up: setup ## the platform on this machine; DATA=path trains on it first
	@$(RUN)vigil up $(if $(DATA),--data "$(DATA)") $(ARGS)

test: dev ## all tests
	@$(RUN)python -m pytest -n logical --maxprocesses 4 $(ARGS)

streams: dev ## 10,000 random streams of files and of Kinesis, with deaths and errors: each row becomes one result or one dead letter
	@$(RUN)python -m pytest tests/serve/stream/test_sum_rule.py -n 0 --timeout 7200 --hypothesis-profile thorough $(ARGS)

check: dev ## ruff and pyright
	@$(RUN)ruff check .
	@$(RUN)ruff format --check .
	@$(RUN)pyright

scan: dev ## workflows, scripts, Dockerfile and rendered manifests, by the tools of their kind
	@.ci/scan

audit: dev ## pins that are old, out of support, or have a known advisory
	@$(RUN)python -m infra.audit $(ARGS)

lock: $(filter .tools/%,$(UV)) ## fail when uv.lock is not what pyproject.toml asks for
	@$(UV) lock --check --quiet

wheel: $(filter .tools/%,$(UV)) ## build the wheel; see that its command starts and that the console is in it
	@$(UV) build --quiet --wheel --out-dir dist
	@$(UV) tool run --quiet --from "$$(ls dist/vigil_anomaly-*.whl | tail -1)" vigil --help >/dev/null
	@missing=$$(comm -23 <(git ls-files serve/console | sort) \
	  <(python3 -m zipfile -l "$$(ls dist/vigil_anomaly-*.whl | tail -1)" | cut -d' ' -f1 | sort)); \
	  [ -z "$$missing" ] || { echo "not in the wheel: $$missing" >&2; exit 1; }

docs: dev ## the documentation as a site, into site/; a dead link fails
	@NO_MKDOCS_2_WARNING=1 $(RUN)mkdocs build --quiet --strict

settings: dev ## write Pulumi.yaml's keys and docs/settings.md from the settings' fields
	@$(RUN)python -m infra.declare

fmt: dev ## format
	@$(RUN)ruff check --fix --quiet .
	@$(RUN)ruff format --quiet .

bench: dev ## all benchmarks, as ratios
	@$(RUN)python -m tests.bench $(ARGS)

kind: dev ## the platform on a kind cluster, each step printed as the command that it is
	@$(RUN)python -m infra.kind up

kind-down: dev ## and all of it away again
	@$(RUN)python -m infra.kind down

cluster: dev ## tests on the cluster of $$VIGIL_TEST_KUBECONFIG, which they fill and empty (docs/cluster.md)
	@$(RUN)python -m pytest tests/cluster -n 0 --timeout 2400 -rA $(ARGS)

clean: ## remove .venv, .tools and local state
	@rm -rf .venv .tools .vigil
