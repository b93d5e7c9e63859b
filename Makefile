# Two commands do all the set-up: `make run` and `make test`. Needs Python >= 3.11 with venv, and make.
PYTHON ?= python3
BIN := .venv/bin
# By the environment, not --constraint: so it holds for the build backend too.
PIP := PIP_CONSTRAINT='$(CURDIR)/constraints.txt' $(BIN)/python -m pip --quiet --disable-pip-version-check install

.PHONY: run test test-fast test-systemd long lint mypy pyright format demo bench instructions fuzz soak codes man docs wheels install uninstall clean
.DELETE_ON_ERROR:

run: .venv/run
	@printf '%s\n' 'In a second terminal:   nc 127.0.0.1 7337' '  and type:             register bob' \
	  'In a third:             nc 127.0.0.1 7337' '  and type:             register alice' \
	  '                        send bob hello' 'The second terminal shows the message; help lists what else there is.' \
	  'How it goes:            export SIGD_ADMIN=$(CURDIR)/.venv/admin.sock; $(BIN)/sigctl status' ''
	@exec $(BIN)/sigd --listen tcp://127.0.0.1:7337 --listen udp://127.0.0.1:7337 \
	  --set 'admin.listen=unix:$(CURDIR)/.venv/admin.sock'

# What measures times and memory is alone on the machine; all else mostly waits, so four at a time fit on two cores.
test: .venv/dev
	$(BIN)/python -m pytest tests/wire tests/relay -n 4 --dist worksteal --cov --cov-report=term
	$(BIN)/python -m pytest --ignore tests/wire --ignore tests/relay -m 'not alone and not systemd and not long' -n 4 --dist worksteal
	$(BIN)/python -m pytest -m '(alone or systemd) and not long'

# Tests of over a minute each, which `make test` and CI leave out: one at a time, with what each says and why it skips.
long: .venv/dev
	$(BIN)/python -m pytest -m long -rsP $(LONG)

# Boots systemd beside this one, as root, and installs sigd there; skipped with the reason where that cannot be.
test-systemd: .venv/dev
	$(BIN)/python -m pytest -m 'systemd and not long'

test-fast: .venv/dev
	$(BIN)/python -m pytest -m 'not slow and not long'

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory --jobs 2 --output-sync mypy pyright

mypy pyright: .venv/dev
	$(BIN)/$@

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: .venv/dev
	$(BIN)/python clients/demo/call.py
	$(BIN)/python clients/demo/call.py --public

bench: .venv/dev
	$(BIN)/python -m bench $(BENCH)

# Instructions per message, which load on the machine does not change; BASE is a revision to compare with.
instructions: .venv/dev
	$(BIN)/python -m bench.instructions $(BASE)

FUZZ_SECONDS ?= 60
fuzz: .venv/dev
	$(BIN)/python tests/fuzz.py -max_total_time=$(FUZZ_SECONDS) $(FUZZ)

SOAK_SECONDS ?= 60
soak: .venv/dev
	$(BIN)/python -m tests.soak --seconds $(SOAK_SECONDS) $(SOAK)

# What C clients know of the protocol, from the code; a test fails on a stale one.
codes: .venv/dev
	$(BIN)/python clients/c/codes.py > clients/c/sigd_codes.h

# What the programs say of themselves, as man pages; a test fails on a stale one.
man: .venv/dev
	$(BIN)/python -m man.pages man

# Reference pages, the picture and the vectors, from the code; a test fails on a stale one.
docs: .venv/dev
	$(BIN)/python -m docs.made

# Onto a server, as root. The service may enter neither /root nor /home: INTERPRETER, which runs sigd there, is elsewhere.
PREFIX ?= /usr/local
DESTDIR ?=
INTERPRETER ?= /usr/bin/python3
EXTRAS ?=
ONTO := PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' INTERPRETER='$(INTERPRETER)' EXTRAS='$(EXTRAS)'
# With the folder `wheels` it asks for nothing over the network: `make wheels` fills that, as any user, for that Python.
install:
	@$(ONTO) sh systemd/install.sh install

wheels:
	rm -rf wheels wheels.new
	$(INTERPRETER) -m venv wheels.new
	PIP_CONSTRAINT='$(CURDIR)/constraints.txt' wheels.new/bin/python -m pip --quiet --disable-pip-version-check \
	  wheel --wheel-dir wheels hatchling '.$(if $(EXTRAS),[$(EXTRAS)])'
	rm -rf wheels.new wheels/sigd-*.whl

# All that install and `sigctl setup` have put there, but /etc/sigd, which is the operator's.
uninstall:
	@$(ONTO) sh systemd/install.sh uninstall

clean:
	rm -rf .venv .bench .debian .fuzz wheels

.venv/python:
	$(PYTHON) -c 'import sys; sys.exit("sigd needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	touch $@

.venv/run: .venv/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

.venv/dev: .venv/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	touch $@
