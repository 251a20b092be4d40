# Verbs only; the logic is in `python -m stack` and in .ci/. `make` shows what there is.
PYTHON ?= python3
RUN := .venv/bin/python -m
SEED ?= 1
TASK ?= print_temps
FIELD ?= hotend
ARGS ?=
CASE ?=
BENCH ?=
PACKAGE ?=

export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: check deploy packages remove new-udf accept alerts inject help demo test test-tasks up down logs ps clean lint images bench reload report brew-report

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  STACK=compose or STACK=native chooses the backend; without it, the first that works is used."

# The virtual environment, made anew when the locked requirements change.
.venv/ready: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; run make PYTHON=python3.11" >&2; exit 1; }
	@echo "Installing the locked Python requirements into .venv (about a minute) ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@# The repository's source roots, so that `python -m` finds them from any folder.
	@printf '%s\n' "$(CURDIR)" "$(CURDIR)/udf" "$(CURDIR)/telegraf" > "$$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/source-roots.pth"
	@touch $@

demo: .venv/ready ## Run the main job: 24 h of printer data, three anomalies (SEED=7 TASK=print_temps_multi)
	@$(RUN) stack demo --seed $(SEED) --task $(TASK) $(ARGS)

test: .venv/ready ## Run every test on every backend this machine offers
	@$(RUN) stack test $(ARGS)

up: .venv/ready ## Start the stack, the simulator sending, and wait until it is healthy
	@$(RUN) stack up

down: .venv/ready ## Stop the stack and keep its data
	@$(RUN) stack down

ps: .venv/ready ## Show what runs and where
	@$(RUN) stack ps

logs: .venv/ready ## Show the services' logs (ARGS="-f kapacitor" follows one, ARGS=brew shows an opt-in one)
	@$(RUN) stack logs $(ARGS)

inject: .venv/ready ## Make the live printer go wrong for half a minute (FIELD=hotend, bed or air)
	@$(RUN) stack inject $(FIELD)

alerts: .venv/ready ## Show the newest alerts
	@$(RUN) stack alerts

clean: .venv/ready ## Stop the stack and delete its data
	@$(RUN) stack clean

images: .venv/ready ## Build all images on this machine, for sites with no registry
	@$(RUN) stack images

test-tasks: .venv/ready ## Test the TICKscripts by their cases (CASE=cpu_alert runs one)
	@$(RUN) stack cases $(CASE) $(ARGS)

accept: .venv/ready ## Write what comes out of a case as what is expected, for review (CASE=...)
	@$(RUN) stack accept $(CASE)

report: .venv/ready ## Write a page about a task's replay: input, scores, alerts, graph (TASK=...)
	@$(RUN) stack report $(TASK) $(ARGS)

brew-report: .venv/ready ## Write a page about the brews: temperature, forecast band, score, alerts
	@$(RUN) stack brew-report $(ARGS)

reload: .venv/ready ## Load kapacitor/load again into the running stack
	@$(RUN) stack reload

lint: .venv/ready ## Check the Python code and the TICKscripts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@MYPYPATH=udf:telegraf:. .venv/bin/mypy -p stack -p simulator -p kapacitor.udf -p detectors -p lineprotocol -p processors -p page
	@MYPYPATH=udf:telegraf:.:packages/turbine/udf .venv/bin/mypy packages/turbine
	@$(RUN) stack lint

new-udf: .venv/ready ## Write a new UDF with its task, declaration and test (NAME=vibration KIND=window)
	@test -n "$(NAME)" || { echo "usage: make new-udf NAME=vibration KIND=window|stream" >&2; exit 2; }
	@$(RUN) kapacitor.udf.new $(NAME) --kind $(or $(KIND),window)

bench: .venv/ready ## Compare with the stock agents and print ratios (BENCH=processors or forecasts: the brew's)
	@$(RUN) tests.bench$(addprefix .,$(BENCH)) $(ARGS)

check: .venv/ready ## Say everything that is wrong with a package (PACKAGE=packages/turbine)
	@test -n "$(PACKAGE)" || { echo "usage: make check PACKAGE=packages/turbine" >&2; exit 2; }
	@$(RUN) stack package check $(PACKAGE) $(ARGS)

deploy: .venv/ready ## Check a package and install it into the running stack (PACKAGE=packages/turbine)
	@test -n "$(PACKAGE)" || { echo "usage: make deploy PACKAGE=packages/turbine" >&2; exit 2; }
	@$(RUN) stack package deploy $(PACKAGE) $(ARGS)

packages: .venv/ready ## List the installed packages and what their tasks do
	@$(RUN) stack package list $(ARGS)

remove: .venv/ready ## Take a package out of the running stack (PACKAGE=turbine)
	@test -n "$(PACKAGE)" || { echo "usage: make remove PACKAGE=turbine" >&2; exit 2; }
	@$(RUN) stack package remove $(PACKAGE)
