# make demo: set up, then the whole path on rendered phantom images. make test: set up, then all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: help demo test browser benchmark clean

help:
	@echo "make demo       the whole path on rendered images: prepare, train, evaluate, export, sample (10 minutes)"
	@echo "make test       all tests"
	@echo "make benchmark  speed of training, sampling, reading, preparing, measuring, devices and serving on this machine"
	@echo "make clean      remove the virtual environment and the demo's files"

$(VENV)/installed: setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "tf_probunet needs Python 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) --version). Try make PYTHON=python3.12."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Installing python3-venv."; \
	  $$( [ "$$(id -u)" = 0 ] || echo sudo ) sh -c 'apt-get update -q && apt-get install -qy python3-venv'; }
	@echo "Installing tf_probunet and what it needs into $(VENV): about 2.6 GB, a minute or two."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(VENV)/installed
	rm -rf $(DEMO)
	$(BIN)/probunet prepare phantom --output $(DEMO)/data --example $(DEMO)/example.png
	$(BIN)/probunet train --data $(DEMO)/data --preset demo --run $(DEMO)/run
	$(BIN)/probunet evaluate --run $(DEMO)/run --data $(DEMO)/data --split val --json $(DEMO)/evaluation.json --figure $(DEMO)/evaluation.png
	$(BIN)/probunet export --run $(DEMO)/run --output $(DEMO)/saved_models/phantom
	$(BIN)/probunet sample --saved_model $(DEMO)/saved_models/phantom --image $(DEMO)/example.png --crop_size 64,64 --num_samples 16 --seed 0 --output $(DEMO)/samples
	@echo
	@echo "Done. The images are rendered, the contours under them are real radiologists'. Look at:"
	@echo "  $(DEMO)/evaluation.png       what four radiologists drew, and what the model thinks they might have drawn"
	@echo "  $(DEMO)/samples/figure.png   samples of one image out of the SavedModel"
	@echo "  $(DEMO)/run/progress.png     how the training went; wall.png beside it, what it drew"
	@echo "  $(DEMO)/saved_models/phantom ready for TensorFlow Serving"
	@echo "Then walk through the hypotheses, on a page in your browser:"
	@echo "  $(BIN)/probunet explore --data $(DEMO)/data --saved_model $(DEMO)/saved_models/phantom"

# A browser for the tests of pages, and with it a GPU in software for the tests of files for devices.
browser:
	@[ -x /usr/bin/chromium ] && /sbin/ldconfig -p | grep -q 'libvulkan\.so\.1' || { \
	  echo "Installing Debian's chromium and libvulkan1, for tests in a browser and on a GPU in software."; \
	  $$( [ "$$(id -u)" = 0 ] || echo sudo ) sh -c 'apt-get update -q && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium libvulkan1' >/dev/null; } || \
	  echo "They could not be installed: the tests that need them are skipped."

test: $(VENV)/installed browser
	$(BIN)/python -m pytest tests -n auto --dist loadfile --no-loadscope-reorder

benchmark: $(VENV)/installed browser
	$(BIN)/python benchmarks/speed.py --output benchmarks/results/speed_$$(nproc)_cores.json
	$(BIN)/python benchmarks/step.py --output benchmarks/results/step_$$(nproc)_cores.json
	$(BIN)/python benchmarks/killed_training.py --output benchmarks/results/killed_training.json
	$(BIN)/python benchmarks/prepare.py --output benchmarks/results/prepare_$$(nproc)_cores.json
	$(BIN)/python benchmarks/contours.py --output benchmarks/results/contours.json
	$(BIN)/python benchmarks/energy_distance.py --output benchmarks/results/energy_distance.json
	$(BIN)/python benchmarks/edge.py --output benchmarks/results/edge_$$(nproc)_cores.json
	$(BIN)/python benchmarks/explore.py --output benchmarks/results/explore_$$(nproc)_cores.json
	$(BIN)/python benchmarks/serving.py --output benchmarks/results/serving_$$(nproc)_cores.json

clean:
	rm -rf $(VENV) $(DEMO)
