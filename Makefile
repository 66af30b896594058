# One command per intention; `make` lists them. Environments are made once and again only when
# pyproject.toml or constraints.txt change.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
REPOSITORY ?= model_repository/demo
RUN ?= runs/demo-world
OUTPUT ?= demo-output
PYTEST_ARGS ?=
MINUTES ?= 15
CASES ?= 100000
# Processes that share the tests, file by file; each holds about 1 GB.
JOBS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))

DEMO := .venv-demo/bin
DEV := .venv/bin
BUF := .node/node_modules/.bin/buf
PIP_FLAGS := --quiet --quiet --disable-pip-version-check --constraint constraints.txt

# $(1): the environment, $(2): the extras. A failed step leaves no stamp, so the next call tries again.
define install
@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "error: needs Python 3.11 or newer with venv (Debian: apt install python3-venv), found: $(PYTHON)" >&2; exit 1; }
@echo "Installing wstar[$(2)] into $(1) (once; takes a minute or two) ..."
@$(PYTHON) -m venv $(1)
@$(1)/bin/python -m pip install $(PIP_FLAGS) setuptools
@$(1)/bin/python -m pip install $(PIP_FLAGS) --no-build-isolation --editable '.[$(2)]'
@touch $@
endef

# $(1): the environment, $(2): what pip installs. Triton runs models with Python 3.11 or 3.12.
define install_triton
@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null || \
	{ echo "error: Triton needs Python 3.11 or 3.12 with venv, found: $(PYTHON)" >&2; exit 1; }
@echo "Installing $(2) into $(1) (once) ..."
@$(PYTHON) -m venv $(1)
@$(1)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps $(2)
@touch $@
endef

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv-demo/.installed: pyproject.toml constraints.txt
	$(call install,.venv-demo,service)

.venv/.installed: pyproject.toml constraints.txt
	$(call install,.venv,$(strip training,export,half,service,triton,tracing,cli,test))
	@$(DEV)/python -m pip install $(PIP_FLAGS) --no-build-isolation --editable '.[rtx]' || \
		echo "TensorRT for RTX does not install here: tests that need it will be skipped" >&2

.venv-triton/.installed: constraints.txt
	$(call install_triton,.venv-triton,--constraint constraints.txt nvidia-pytriton)

.venv-triton-models/.installed: deploy/triton/models.txt
	$(call install_triton,.venv-triton-models,--requirement deploy/triton/models.txt)

# The linter of .proto files comes from npm only.
.node/.installed: Makefile
	@npm install --silent --no-fund --no-audit --no-save --prefix .node @bufbuild/buf@1.75.0
	@touch $@

TRITON_ENVIRONMENTS := .venv-triton/.installed .venv-triton-models/.installed

.PHONY: demo
demo: .venv-demo/.installed ## embed, compare, classify and edit sample faces (PICTURES=dir adds yours)
	@$(DEMO)/python -m wstar_service.demo --repository "$(REPOSITORY)" --output "$(OUTPUT)" \
		$(if $(PICTURES),--pictures "$(PICTURES)")

.PHONY: serve
serve: .venv-demo/.installed ## serve REPOSITORY over gRPC until interrupted
	@$(DEMO)/wstar-serve --repository "$(REPOSITORY)"

.PHONY: triton
triton: $(TRITON_ENVIRONMENTS) ## serve REPOSITORY with a Triton server on this machine's CPUs
	@$(PYTHON) deploy/triton/serve.py --repository "$(REPOSITORY)" \
		--server-environment .venv-triton --model-environment .venv-triton-models

.PHONY: test
test: .venv/.installed .venv-deploy/.installed $(TRITON_ENVIRONMENTS) ## run the tests that need no GPU (PYTEST_ARGS="-m 'not slow'" ...)
	@OMP_NUM_THREADS=1 $(DEV)/pytest -n $(JOBS) --dist loadfile -m "not gpu" $(PYTEST_ARGS)

.PHONY: check
check: .venv/.installed ## lint, format, types, imports, stubs, file lengths
	@$(DEV)/ruff check
	@$(DEV)/ruff format --check
	@$(DEV)/mypy
	@$(DEV)/pytest -q -m "not slow" tests/test_architecture.py
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory check-proto; \
	else echo "npm is not on this machine: buf lint and buf breaking were not run" >&2; fi

.PHONY: check-proto
check-proto: .node/.installed ## lint wstar.proto, and compare it with the released API (needs npm)
	@cd proto && ../$(BUF) lint
	@cd proto && ../$(BUF) breaking --against released.binpb

# Constraints of its own: checkov pins what it imports.
.venv-deploy/.installed: deploy/check/requirements.txt deploy/check/constraints.txt
	@echo "Installing what checks deploy/ into .venv-deploy (once) ..."
	@$(PYTHON) -m venv .venv-deploy
	@.venv-deploy/bin/python -m pip install --quiet --quiet --disable-pip-version-check --requirement $< \
		--constraint deploy/check/constraints.txt
	@touch $@

.PHONY: deploy-check
deploy-check: .venv-deploy/.installed ## every file of deploy/ through the tool that knows it (needs kubectl, promtool)
	@.venv-deploy/bin/python -m deploy.check

.PHONY: bench
bench: .venv/.installed ## what the service costs over the bare graphs, and distances over the bare product
	@status=0; for part in overhead saturation distances; do \
		$(DEV)/python -m tests.bench.$$part || status=1; \
	done; exit $$status

.PHONY: soak
soak: .venv/.installed $(TRITON_ENVIRONMENTS) ## mixed load on both runners, every answer checked (MINUTES=15 each)
	@$(DEV)/python -m tests.load.soak --runner embedded --minutes $(MINUTES)
	@$(DEV)/python -m tests.load.soak --runner triton --minutes $(MINUTES)

.PHONY: chaos
chaos: .venv/.installed $(TRITON_ENVIRONMENTS) ## kill Triton and restart servers under load, every answer checked
	@$(DEV)/python -m tests.load.chaos

.PHONY: rollout
rollout: .venv/.installed ## replace servers behind HAProxy under 10,000 calls, as the manifest says (needs kubectl, haproxy)
	@$(DEV)/python -m tests.load.rollout

.PHONY: dashboard
dashboard: .venv/.installed $(TRITON_ENVIRONMENTS) ## draw the dashboard of a service under load (needs prometheus)
	@$(DEV)/python -m tests.load.dashboard --output demo-output/dashboard.png

.PHONY: fuzz
fuzz: .venv/.installed ## mutated pictures and messages, and decompression bombs (CASES=100000)
	@$(DEV)/python -m tests.load.fuzz --cases $(CASES)

.PHONY: bench-triton
bench-triton: .venv/.installed $(TRITON_ENVIRONMENTS) ## what Triton costs over running graphs in this process
	@$(DEV)/python -m tests.bench.triton_overhead

.PHONY: bench-graphs
bench-graphs: .venv/.installed ## how near each graph of RUN comes to this machine's peak, by engine (GRAPHS="--compile" ...)
	@$(DEV)/python -m pip install $(PIP_FLAGS) openvino
	@$(DEV)/python tests/bench/graphs.py --run "$(RUN)" --repository "$(REPOSITORY)" $(GRAPHS)

.PHONY: bench-models
bench-models: .venv/.installed ## what generator and encoder cost over their own convolutions
	@$(DEV)/python tests/bench/models.py

.PHONY: bench-training
bench-training: .venv/.installed ## steps of T by sketches beside VGG16 in the loop, and over their own products
	@$(DEV)/python tests/bench/flow_training.py

.PHONY: supply-chain
supply-chain: .venv/.installed ## write the lists of packages and licences anew after a change of constraints.txt
	@$(DEV)/python -m deploy.supply_chain.sbom
	@$(DEV)/python -m deploy.supply_chain.licences

.venv-ray/.installed: pyproject.toml constraints.txt deploy/ray/requirements.txt
	$(call install,.venv-ray,service)
	@.venv-ray/bin/python -m pip install $(PIP_FLAGS) --requirement deploy/ray/requirements.txt pytest

.PHONY: ray
ray: .venv-ray/.installed ## the bulk work with Ray Data on two workers, compared with the command
	@.venv-ray/bin/python -m pytest -q tests/deploy/test_ray.py

.PHONY: proto
proto: .venv/.installed ## regenerate the stubs of wstar.proto
	@$(DEV)/python -m grpc_tools.protoc -Iproto --python_out=proto --pyi_out=proto \
		--grpc_python_out=proto wstar/v1/wstar.proto

.PHONY: release-proto
release-proto: .node/.installed ## make wstar.proto the released API that later ones must not break
	@cd proto && ../$(BUF) build --exclude-source-info --output released.binpb

.PHONY: demo-world
demo-world: .venv/.installed ## train the demo world from nothing and export it (hours; resumes)
	@$(DEV)/wstar-train demo-world --run "$(RUN)"
	@$(DEV)/wstar-export repository --run "$(RUN)" --output model_repository/demo

.PHONY: clean
clean: ## remove environments, caches and demo output (runs/ stays)
	@rm -rf .venv .venv-demo .venv-triton .venv-triton-models .venv-deploy .venv-ray .node build dist *.egg-info demo-output .hypothesis .*_cache
	@find proto training export service deploy tests -name __pycache__ -type d -exec rm -rf {} +
