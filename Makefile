# Everything a person runs here. `make` alone prints this list.
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
PEERS := .venv-peers
BIND ?= 127.0.0.1
BUILDER ?= docker
# one more than the cores of a small machine: many tests wait for processes that they have killed
TEST_PROCESSES ?= 3
# where it is set, as in many images, every process compiles torch anew: two seconds or more each
unexport PYTHONDONTWRITEBYTECODE
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help setup demo lint test test-cluster test-gpu soak servers bench bench-services bench-gpu bench-peers bench-scale images requirements clean

help: ## print this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

setup: $(STAMP) ## make .venv with the pinned dependencies and Shelver itself

$(STAMP): pyproject.toml requirements/uv.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Shelver needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/uv.txt requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP) ## ingest, train, score and judge real photographs in demo/ (5 minutes on 2 cores)
	$(BIN)/shelver demo

lint: $(STAMP) ## ruff, mypy --strict and import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## lint, then all tests, in TEST_PROCESSES=3 processes
	$(BIN)/pytest --numprocesses $(TEST_PROCESSES) --dist worksteal

test-cluster: $(STAMP) ## the tests that need a Kubernetes: whatever KUBECONFIG names
	@test -n "$$KUBECONFIG" || { echo "set KUBECONFIG to a cluster for tests: they make and remove a namespace there"; exit 2; }
	$(BIN)/pytest tests/cluster/cluster_*.py

test-gpu: $(STAMP) ## the tests that need a GPU
	$(BIN)/pytest tests/gpu/gpu_*.py

soak: $(STAMP) ## every fault of the whole system 10 times, at other moments each time (20 minutes on 2 cores)
	TEST_ROUNDS=10 $(BIN)/pytest tests/faults/system

servers: $(STAMP) ## bring up Redis, MongoDB's protocol and two of S3 until Ctrl-C, on BIND=127.0.0.1
	@$(BIN)/python -m tests.servers --bind $(BIND)

bench: $(STAMP) ## measure against Pillow, PyMongo, the disk, bare networks and ten times the data (10 minutes on 2 cores)
	$(BIN)/python -m benchmarks alone

bench-services: $(STAMP) ## measure services on real Redis and S3 against the usual ways (25 minutes on 2 cores)
	$(BIN)/python -m benchmarks services

bench-gpu: $(STAMP) ## measure what computes on a GPU against bounds
	$(BIN)/python -m benchmarks gpu

bench-peers: $(PEERS)/installed ## measure scoring against Ray Data, DataLoaders and WebDataset, in .venv-peers (20 minutes on 2 cores)
	$(PEERS)/bin/python -m benchmarks peers

$(PEERS)/installed: $(STAMP) requirements/peers.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(BIN)/uv pip sync --quiet --python $(PEERS)/bin/python --require-hashes requirements/peers.txt
	@touch $@

bench-scale: $(STAMP) ## measure what only size shows: 10,000 chunks on 64 played workers, 2,000,000 products (15 minutes, 5 GB)
	$(BIN)/python -m benchmarks scale

images: ## build shelver-service and shelver-worker: BUILDER=docker (podman, buildah) BASE=IMAGE BUILD_OPTIONS=...
	@for target in service worker; do \
	    $(BUILDER) build --target $$target --tag shelver-$$target:$(VERSION) $(if $(BASE),--build-arg BASE=$(BASE)) \
	        --label org.opencontainers.image.version=$(VERSION) \
	        --label org.opencontainers.image.revision=$$(git rev-parse HEAD) $(BUILD_OPTIONS) . || exit 1; \
	done

requirements: $(STAMP) ## pin the newest versions with hashes in requirements/
	echo uv | $(COMPILE) - -o requirements/uv.txt
	$(COMPILE) pyproject.toml -o requirements/services.txt
	$(COMPILE) pyproject.toml --extra workers -c requirements/services.txt -o requirements/workers.txt
	$(COMPILE) pyproject.toml --extra workers --extra onnx --group dev -c requirements/workers.txt -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra workers --group peers -c requirements/dev.txt -o requirements/peers.txt
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

clean: ## remove what demo and tests made (not .venv)
	rm -rf demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
