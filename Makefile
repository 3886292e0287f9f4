# One command at home and in CI. `make help` lists them.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test check bench image fixtures-check clean needs onnxruntime

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tenon
# Outside the checkout, so that a fresh clone builds what changed and not everything.
export CARGO_TARGET_DIR ?= $(CACHE)/target
VENV := $(CACHE)/venv

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do printf '  make %-16s %s\n' "$$name" "$$what"; done

run: needs onnxruntime ## build Tenon and serve the demo on 127.0.0.1:8080; TENON_MODELS=dir adds COCO detectors
	cargo build --release --workspace --bin tenon
	coco=$$(cargo xtask coco) && exec $(CARGO_TARGET_DIR)/release/tenon serve --demo fixtures/digits --demo fixtures/scenes $${coco:+--demo "$$coco"}

test: needs onnxruntime check ## check, then run every test there is
	cargo xtask test

check: needs ## formatting, clippy and rustdoc, all without a warning
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --quiet --release --workspace --no-deps --document-private-items

bench: needs onnxruntime ## measure Tenon beside its peers
	cargo build --release --workspace --bin tenon --bin tenon-bench
	$(CARGO_TARGET_DIR)/release/tenon-bench

image: needs onnxruntime ## build the container image (an OCI archive, for podman load and docker load) and tell its size
	cargo xtask image

fixtures-check: needs ## make all fixtures again, judge the detectors again, and compare with what is committed
	test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement fixtures/requirements.txt
	$(VENV)/bin/python fixtures/digits/train.py --check
	$(VENV)/bin/python fixtures/onnx/make.py --check
	$(VENV)/bin/python fixtures/scenes/record.py --check

clean: ## remove what was built and the demo's data (ONNX Runtime stays)
	cargo clean
	rm -rf tenon-data

# What no target can do without.
needs:
	@command -v cargo >/dev/null || { echo "cargo is missing. Install Rust: https://www.rust-lang.org/tools/install" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing. Install one (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }
	@command -v python3 >/dev/null || { echo "python3 is missing. Install Python 3.9 or newer with pip (Debian: apt-get install python3-pip)" >&2; exit 1; }
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || { echo "python3 is too old: $$(python3 --version). Install Python 3.9 or newer" >&2; exit 1; }

onnxruntime:
	cargo xtask onnxruntime
