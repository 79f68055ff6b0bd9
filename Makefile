# controlplane.etcd: `make demo` shows it, `make test` proves it.
PYTHON ?= python3
RUN = .venv/bin/python

.PHONY: demo test bench lint judges unit integration lab setup install lab-up lab-down lab-shell clean

demo:
	@$(PYTHON) tests/setup.py demo
	@$(RUN) tests/demo/demo.py

test: setup
	@$(RUN) tests/run.py

bench: setup
	@$(RUN) bench/run.py

lint judges unit integration lab: setup
	@$(RUN) tests/run.py $@

setup:
	@$(PYTHON) tests/setup.py test

install:
	@$(PYTHON) tests/setup.py install

lab-up: setup
	@$(RUN) tests/lab/hosts/cli.py up

lab-down:
	@$(RUN) tests/lab/hosts/cli.py down

lab-shell:
	@$(RUN) tests/lab/hosts/cli.py shell $(HOST)

clean:
	rm -rf .venv tests/output
