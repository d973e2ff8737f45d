# make run     install MailX into .venv and start it here: data in ./var, secret in ./mailx.secret
# make test    lint, types, docs, unit and system tests, in environments of their own below .tox
# make bench-smtp | bench-imap | bench-index | bench-search | bench-idle | bench-crash | bench-import
# make bench-relay | bench-hop | bench-dead | bench-crash-queue | bench-webhook      measure, beside other servers where that tells something
# make bench-federation | bench-simulation      mail between two MailX servers; a thousand domains in memory
# make fuzz    the property tests with many more examples, a million made-up IMAP commands, and a million hostile inputs to channels
#     between servers
# make crash-federation      three MailX servers send each other mail while they are killed and cut off; nothing lost, nothing twice
# make soak    mixed load for MINUTES (60)
# make clean   remove what the targets above made; keeps ./var and ./mailx.secret

PYTHON ?= python3
MINUTES ?= 60
VENV := .venv
TOOLS := .tox/tools

.PHONY: run test fuzz soak crash-federation clean

run: $(VENV)/installed
	@$(VENV)/bin/twistd -n --pidfile= mailx

test: $(TOOLS)/installed
	@$(TOOLS)/bin/tox run

fuzz: $(VENV)/installed-tests
	MAILX_HYPOTHESIS=fuzz $(VENV)/bin/python -m twisted.trial --temp-directory=_trial_temp.fuzz tests.mail tests.smtp tests.imap tests.store tests.checks tests.identity tests.federation

soak: $(VENV)/installed-tests
	@$(VENV)/bin/python -m bench.soak --seconds $$(( $(MINUTES) * 60 ))

crash-federation: $(VENV)/installed-tests
	@$(VENV)/bin/python -m bench.crash_federation

bench-search: $(VENV)/installed-tests
	@$(VENV)/bin/python -m bench.index --messages 100000

bench-import: $(VENV)/installed-tests
	@$(VENV)/bin/python -m bench.importing

bench-%: $(VENV)/installed-tests
	@$(VENV)/bin/python -m bench.$(subst -,_,$*)

$(VENV)/installed: setup.cfg setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "MailX needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo 'Installing MailX into $(VENV) ...' >&2
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-tests: $(VENV)/installed
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	@touch $@

$(TOOLS)/installed: tox.ini
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check 'tox>=4.11'
	@touch $@

clean:
	rm -rf $(VENV) .tox build dist docs/_build bench/var *.egg-info _trial_temp* .hypothesis .mypy_cache .ruff_cache twisted/plugins/dropin.cache
