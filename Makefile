# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DISTRIBUTIONS := pipelines operator components
IN_FOUR := --numprocesses 4 --no-loadscope-reorder
IMAGE_PACKAGES := buildah mmdebstrap netavark skopeo
NODE_PACKAGES := containerd runc containernetworking-plugins nftables iproute2

.PHONY: help setup demo test test-long test-unit test-integration lint types layers ir crds docs charts locks verify bench perf simulations lock baselines fuzz cluster cluster-user cluster-down control-plane images e2e kubeflow-e2e clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(READY) ## Make the environment in .venv

$(READY): constraints.txt $(DISTRIBUTIONS:%=%/pyproject.toml)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	awk '/^uv==/, !/\\$$/' constraints.txt > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes \
		-r constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation \
		$(DISTRIBUTIONS:%=-e ./%)
	touch $@

# One thread, so that figures do not depend on how many cores there are.
demo test test-long test-unit test-integration bench perf fuzz simulations: export OMP_NUM_THREADS = 1

# Exit code 4 is "inconclusive": an honest end, on a machine where the figures do not decide.
demo: setup ## Compress a CNN on real images and prove the result (1 to 3 minutes after set-up)
	$(BIN)/fulcrum run examples/mnist/job.yaml || test $$? -eq 4

test: setup ## Run all tests, in four processes
	$(BIN)/python -m pytest $(IN_FOUR) --durations=20

test-long: setup ## Run the full sizes of tests that `make test` runs on smaller samples
	$(BIN)/python -m pytest -m long

test-unit: setup ## Run the fast tests only
	$(BIN)/python -m pytest tests/unit $(IN_FOUR)

test-integration: setup ## Run the tests that run whole pipelines
	$(BIN)/python -m pytest tests/integration

lint: setup ## Check format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup ## Check types
	$(BIN)/mypy

layers: setup ## Check the import rules
	$(BIN)/lint-imports

ir: setup ## Compile the pipeline, and generate the components for other pipelines
	$(BIN)/python -m fulcrum_pipelines.definition
	$(BIN)/python components/kubeflow/generate.py

crds: setup ## Generate the Python types and the shipped copy of the schemas
	$(BIN)/python crds/generate_types.py

docs: setup ## Generate the published schema of the evidence, tables of metrics and settings, a graph
	$(BIN)/python docs/generate.py
	PYTHONPATH=tests:hack $(BIN)/python -m perf.scale --draw docs/scale.json --plot docs/scale.svg

charts: setup ## Copy schemas, roles and policies into the chart, render it for review (builds helm)
	$(BIN)/python charts/generate.py
	PYTHONPATH=tests:hack $(BIN)/python -m helm

locks: setup ## Cut what each image installs out of constraints.txt
	$(BIN)/python images/lock.py

verify: lint types layers crds ir docs locks ## Generate everything anew and fail where that changes a file
	$(BIN)/python charts/generate.py
	git diff --exit-code

simulations: setup ## Simulate how often gates are wrong, for the tables in docs/gates.md (1 hour)
	PYTHONPATH=tests $(BIN)/python tests/simulations/gates.py --workers 2
	$(BIN)/python docs/generate.py

# NETWORKS=1000 tries more, FIRST=300 others.
NETWORKS ?= 300
FIRST ?= 0
fuzz: setup ## Send random networks through each stage and compare what they compute (45 minutes)
	PYTHONPATH=tests $(BIN)/python -m fuzz --networks $(NETWORKS) --first $(FIRST)

bench: setup ## Time the whole job and our int8 against ONNX Runtime's defaults
	$(BIN)/python tests/perf/bench.py

perf: setup ## Measure the operator with thousands of jobs on a real API server (10 minutes)
	PYTHONPATH=tests:hack $(BIN)/python -m perf.scale

baselines: setup ## Train the examples' baselines anew
	for example in mnist digits diabetes; do (cd examples/$$example && ../../$(BIN)/python train.py); done

# K8S=1.36 chooses another version of Kubernetes, for the tests too.
cluster: setup ## Start Kubernetes' control plane and the operator here (built once: 8 minutes)
	@PYTHONPATH=hack $(BIN)/python -m cluster up

cluster-user: setup ## Make credentials of a user of it, without any rights yet: NAME=ann
	@PYTHONPATH=hack $(BIN)/python -m cluster user $(NAME)

cluster-down: setup ## Stop it, and forget its data
	@PYTHONPATH=hack $(BIN)/python -m cluster down

control-plane: setup ## Only build the control plane that tests and `make cluster` use
	@PYTHONPATH=hack $(BIN)/python -m cluster build

# IMAGE=operator builds one; TORCH= and BASE= are arguments of the Containerfiles (docs/images.md).
images: setup ## Build the container images without a daemon, as root: .fulcrum/images/*.tar
	@if [ "$$(id -u)" -eq 0 ] && ! dpkg --status $(IMAGE_PACKAGES) > /dev/null 2>&1; then \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(IMAGE_PACKAGES); \
	fi
	@PYTHONPATH=hack $(BIN)/python -m images $(IMAGE)

# Skips all where there can be no nodes; installs what nodes have of Debian, if it is missing.
e2e: export OMP_NUM_THREADS = 1
e2e: $(if $(filter 0,$(shell id -u)),images,setup) ## Run the tests on real nodes, which are made of this machine, as root
	if [ "$$(id -u)" -eq 0 ] && ! dpkg --status $(NODE_PACKAGES) > /dev/null 2>&1; then \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(NODE_PACKAGES); \
	fi
	$(BIN)/python -m pytest tests/e2e --timeout=1200

kubeflow-e2e: export OMP_NUM_THREADS = 1
kubeflow-e2e: setup ## Run the engine's suite and whole jobs on a real Kubeflow: KFP_URL= S3= IMAGE=
	@$(if $(and $(KFP_URL),$(S3),$(IMAGE)),,echo "give KFP_URL=, S3= and IMAGE= (docs/kubeflow.md)"; exit 2)
	KFP_URL="$(KFP_URL)" S3="$(S3)" IMAGE="$(IMAGE)" \
		$(BIN)/python -m pytest tests/integration/kubeflow/real

lock: setup ## Resolve constraints.txt anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate -o constraints.txt requirements.in \
		pipelines/pyproject.toml operator/pyproject.toml components/pyproject.toml \
		--extra local --extra s3 --extra kubeconfig --no-emit-package fulcrum-pipelines
	$(BIN)/python images/lock.py

clean: ## Remove the environment and everything that was made
	if [ -d .fulcrum/cluster ]; then $(MAKE) cluster-down; fi
	rm -rf $(VENV) .fulcrum .cache
