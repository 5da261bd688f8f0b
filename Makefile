# `make dataset` and `make test` are the two everyday commands; `make help` lists all targets.
.DEFAULT_GOAL := help
PYTHON ?= python3 python3.13 python3.12 python3.11  # the first that is 3.11 or newer makes .venv
BIN := .venv/bin
DVC := $(BIN)/dvc repro
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE  # with it, every process would compile the packages anew, as uv installs them without bytecode

.PHONY: help setup setup-data dataset train-stage1 train-stage2 train-stage3 evaluate report all
.PHONY: test test-slow bench bench-video bench-composite bench-models bench-loader bench-train bench-gpu bench-gestures bench-omniglot ablation ablation-stage2 format lint typecheck docs lock clean

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: .venv/.all  ## .venv with exactly the pinned packages, and this project in editable mode

setup-data: .venv/.data  ## .venv with the packages of the data stages alone; adds to what is there

# `uv pip sync` also removes packages that are not pinned, so that none can hide a missing requirement.
.venv/.all: requirements.txt pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.txt
	@$(editable)
	@touch .venv/.data $@

.venv/.data: requirements-data.txt pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements-data.txt
	@$(editable)
	@touch $@

# What the hosts' corpus can need beyond that: yt-dlp, and an ffmpeg for clips that have to be cut.
.venv/.youtube: .venv/.data
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --no-build-isolation --editable '.[youtube]'
	@touch $@

# The project itself is built by the pinned setuptools, without any download.
editable = $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .

$(BIN)/uv:
	@for python in $(PYTHON) ""; do \
		test -z "$$python" || ! $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || break; \
	done; \
	if test -z "$$python"; then \
		echo 'error: Python 3.11 or newer is needed: name one, as in `make PYTHON=/opt/python3.12/bin/python3 setup`' >&2; exit 1; \
	fi; \
	test -x $(BIN)/python || $$python -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements-data.txt)"

# CORPUS=full, or the folder or URL of a mirror, is written to params.yaml, with ${NAME} as it is; without it params.yaml stays as it is.
corpus = $(if $(CORPUS),$(BIN)/python -m pipeline corpus '$(value CORPUS)')

dataset: $(if $(filter-out sample,$(CORPUS)),.venv/.youtube,.venv/.data)  ## the data stages: 518 classes in WebDataset shards (CORPUS=full for the real datasets)
	@$(corpus)
	$(DVC) verify
	@$(BIN)/python -m pipeline stats

train-stage1 train-stage2 train-stage3 evaluate: setup
	@$(corpus)
	$(DVC) $@

train-stage1:  ## reconstruction by the autoencoder, fine-tuned on the composite and not
train-stage2:  ## small ViT with Shifted Patch Tokenization, from scratch, on TinyVIRAT's 26 classes
train-stage3:  ## masked autoencoder and memory-augmented network for few-shot recognition
evaluate:  ## few-shot accuracy on the held-out classes

report: setup dataset  ## reports/dataset.html; reports/results.html of the stages trained so far
	$(BIN)/python -m pipeline report
	$(BIN)/python -m training report

all: setup  ## every stage
	$(DVC)

test: setup  ## all tests but the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup  ## the slow tests: mutated files, kills and signals, full disks, real videos
	$(BIN)/python -m pytest -m slow

bench: bench-video bench-composite bench-loader bench-models bench-train  ## those below but for bench-gpu and bench-gestures

bench-video: setup  ## videos to filmstrips, against ffmpeg, OpenCV and, where installed, decord and torchcodec
	$(BIN)/python -m benchmarks.video

bench-composite: setup  ## merge, split, shard and verify at full size (11 GB of disk)
	$(BIN)/python -m benchmarks.composite

bench-loader: setup  ## shards to batches of windows, against webdataset, PyAV and, where installed, decord and torchcodec
	$(BIN)/python -m benchmarks.loader

bench-models: setup  ## a pre-training step against transformers' VideoMAE
	$(BIN)/python -m benchmarks.models

bench-train: setup  ## the training loop against transformers' VideoMAE and bare steps, and the stages' throughput
	$(BIN)/python -m benchmarks.train

bench-omniglot: setup  ## accuracy by instance on Omniglot (SHARED_DATA), beside Santoro et al.'s; resumable
	$(BIN)/python -m benchmarks.omniglot

bench-gestures: setup  ## few-shot recognition of real hand gestures, beside trivial classifiers; needs SHARED_DATA, resumable
	$(BIN)/python -m benchmarks.gestures

bench-gpu: setup  ## a GPU checked against the CPU, and measured, within ten minutes
	$(BIN)/python -m benchmarks.gpu

ablation: setup  ## masked pre-training and meta-learning, alone and together, by share of labels; resumable
	@$(corpus)
	$(DVC) pretrain
	$(BIN)/python -m training ablation

ablation-stage2: setup  ## stage 2 with and without SPT, masked and unmasked, pre-trained and not; resumable
	@$(corpus)
	$(BIN)/python -m training ablation_stage2

format: setup  ## ruff, in place
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup  ## ruff; import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

typecheck: setup  ## mypy
	$(BIN)/mypy

docs: setup  ## the documentation as a website, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock: setup  ## resolve pyproject.toml into requirements.txt and requirements-data.txt (UPGRADE=1 for newer versions of everything)
	$(compile) $(if $(UPGRADE),--upgrade) --extra cluster --extra export --extra text --extra training --extra youtube --group dev -o requirements.txt
	$(compile) --group graph --constraint requirements.txt -o requirements-data.txt

compile = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url pyproject.toml

clean:  ## remove the outputs of all stages but those in git (not .venv)
	rm -rf data checkpoints plots/*.png plots/ablation plots/stage3 reports site dvclive manifests/*.parquet
