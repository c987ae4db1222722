# make embed   SAM 2 features of photographs, or of anything: make embed ARGS="source.uri=... sink.uri=..."
# make test    everything that checks the code
# make bench   us and our peers, side by side on this machine (a quarter of an hour): make bench ARGS_BENCH="--only encoder"
# make chaos   kills, storms and races by the hundred (half an hour): make chaos ARGS_CHAOS="--only zombies --seed 7"
# make fuzz    a million spoiled images through the decoder (twenty minutes): make fuzz ARGS_FUZZ="--images 5000 --seed 7"
# make lock    the lock files with hashes, from constraints.txt
# make audit   known vulnerabilities of what they pin; fails on any, and where their data cannot be reached
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
SAMPLE := source=sample model.checkpoint=auto execution.images_per_unit=3
ARGS ?= $(SAMPLE)

.PHONY: embed test bench chaos fuzz lint format pins lock audit clean

embed: .venv/embed.stamp
	@$(BIN)/python jobs/embed.py $(ARGS)

test: .venv/test.stamp .venv-sam2/stamp .venv-feast/stamp .venv-tools/stamp .venv-prometheus/stamp .venv-chromium/stamp lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 4 -m "not cluster and not drill"  # four processes share the cores
	$(BIN)/python -m pytest -n 2 -m drill
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m cluster

chaos: .venv/test.stamp
	@$(BIN)/python -m tests.chaos $(ARGS_CHAOS)

fuzz: .venv/test.stamp
	@$(BIN)/python -m tests.fuzz $(ARGS_FUZZ)

bench: .venv/test.stamp .venv-peers/stamp
	@PYTHONPATH=. $(BIN)/python benchmarks/bench.py $(ARGS_BENCH)

# What we are compared with needs versions of its own.
.venv-peers/stamp: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --quiet --requirement benchmarks/peers/requirements.txt
	@touch $@

# SAM 2's own package beside the pinned torch: without torchvision, and without its CUDA kernel.
.venv-sam2/stamp: tests/readers/sam2_requirements.txt .venv/test.stamp
	@rm -rf .venv-sam2
	@SAM2_BUILD_CUDA=0 $(PIP) install --no-deps --no-build-isolation --target .venv-sam2 --requirement $<
	@touch $@

# Feast wants an older pandas than we do.
.venv-feast/stamp: tests/exports/feast_requirements.txt
	@rm -rf .venv-feast
	$(PYTHON) -m venv .venv-feast
	.venv-feast/bin/python -m pip install --quiet --quiet --requirement $<
	@touch $@

# Prometheus as Debian and Ubuntu have it, unpacked and not installed; their lists are fetched where none are kept.
APT := apt-get -q -o Dir::State=$(CURDIR)/.venv-prometheus/apt -o Dir::Cache=$(CURDIR)/.venv-prometheus/apt \
	-o Dir::State::status=/var/lib/dpkg/status
.venv-prometheus/stamp:
	@rm -rf .venv-prometheus && mkdir -p .venv-prometheus/apt/lists/partial .venv-prometheus/apt/archives/partial
	@cd .venv-prometheus && { apt-get -q download prometheus || { $(APT) update && $(APT) download prometheus; }; } > apt.log 2>&1 \
		|| { cat apt.log; exit 1; }
	@cd .venv-prometheus && dpkg -x prometheus_*.deb . && rm -rf apt prometheus_*.deb
	@touch $@

# A browser to look at reports with: Debian's, whatever else is installed.
.venv-chromium/stamp: tests/report/chromium.sh
	@bash $< .venv-chromium
	@touch $@

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Both environments are one; it is made again only when the pins or the project file have changed.
.venv/embed.stamp: constraints.txt pyproject.toml
	@echo "installing the pinned dependencies into .venv (a few minutes the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) install --constraint constraints.txt --editable '.[sample]'
	@touch $@

.venv/test.stamp: .venv/embed.stamp
	@$(PIP) install --constraint constraints.txt --editable '.[sample,test]'
	@touch $@

# Renews the pins from the ranges in pyproject.toml, in a fresh environment.
pins:
	rm -rf .venv-pins
	$(PYTHON) -m venv .venv-pins
	.venv-pins/bin/python -m pip install --quiet 'torch==2.13.0' '.[sample,gcs,azure,test]'
	sed -n '/^#/p' constraints.txt > constraints.new
	.venv-pins/bin/python -m pip freeze | grep -v '^sam2-embed' | sed 's/+cpu$$//' >> constraints.new
	mv constraints.new constraints.txt
	rm -rf .venv-pins

# What is not on the path of the data has versions of its own.
.venv-tools/stamp: infra/dependencies/requirements.txt
	@rm -rf .venv-tools
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/python -m pip install --quiet --quiet --requirement $<
	@touch $@

# Everything but torch, with the extras that images hold; torch as PyPI has it, with its CUDA libraries; and torch for CPUs, whose
# wheel PyPI does not have: TORCH_CPU says where wheels of it are, a folder or an index's page. Without it that lock stays as it is.
IMAGE_EXTRAS := heif gcs azure tiles video launcher
TORCH_CPU ?=
UV_LOCK := .venv-tools/bin/uv pip compile --quiet --generate-hashes --no-annotate --custom-compile-command "make lock" \
	--python-version 3.11 --python-platform x86_64-unknown-linux-gnu --constraint constraints.txt
lock: .venv-tools/stamp
	@echo torch > .venv-tools/torch.in
	@printf 'torch==%s+cpu\nsetuptools\n' "$$(sed -n 's/^torch==//p' constraints.txt)" > .venv-tools/torch-cpu.in
	$(UV_LOCK) --excludes .venv-tools/torch.in $(IMAGE_EXTRAS:%=--extra %) --output-file requirements.lock pyproject.toml
	$(UV_LOCK) --output-file requirements-torch.lock .venv-tools/torch.in
	$(if $(TORCH_CPU),$(UV_LOCK) --find-links $(TORCH_CPU) --output-file requirements-torch-cpu.lock .venv-tools/torch-cpu.in)

# --strict, since a package that could not be looked up would pass otherwise.
audit: .venv-tools/stamp
	.venv-tools/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
		--requirement requirements.lock --requirement requirements-torch.lock $(ARGS_AUDIT)

clean:
	rm -rf .venv .venv-pins .venv-peers .venv-sam2 .venv-feast .venv-tools .venv-prometheus .venv-chromium build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
