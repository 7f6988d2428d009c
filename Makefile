# SPDX-License-Identifier: GPL-2.0-or-later
# make install DESTDIR=D: what dom0 gets. "npm run package" makes an RPM of the same tree.
# The modes given here mean nothing for the VMs: the formula sets every mode by its manifests.

# Both are put here by qubes-builder, made from FORMULA; without them the rule at the end stands in.
-include Makefile.vars
-include Makefile.install

# The bundles: "npm run bundle" makes them. Only those that a manifest names go to dom0.
DIST ?= dist
formula := /srv/formulas/base/build-infra
states := $(formula)/build-infra
pillar := /srv/pillar/base/build-infra

bundles := $(sort $(shell sed -n 's|.*source: dist/\([A-Za-z0-9._-]*\).*|\1|p' salt/build-infra/manifests/*.yaml))
# Not what an editor, Python or an administrator left behind: a farm.yaml is somebody's own.
files_below = $(sort $(shell cd $(1) && find . -type f ! -name '.*' ! -name '*~' ! -name '*.pyc' ! -name farm.yaml ! -name README.md -printf '%P\n'))
lay = for file in $(call files_below,$(1)); do install -D -m 0644 "$(1)/$$file" "$(DESTDIR)$(2)/$$file" || exit 1; done

.PHONY: bundles-are-there install-custom
bundles-are-there:
	@for name in $(bundles); do \
	  test -f "$(DIST)/$$name" || { echo "build-infra: $(DIST)/$$name is missing: run \"npm run bundle\" first" >&2; exit 1; }; \
	done

install-custom:: bundles-are-there
	@$(call lay,salt/build-infra,$(states))
	@$(call lay,qrexec-services,$(states)/qrexec-services)
	@for name in $(bundles); do install -D -m 0644 "$(DIST)/$$name" "$(DESTDIR)$(states)/dist/$$name" || exit 1; done
	@$(call lay,salt/pillar/build-infra,$(pillar))
	@install -D -m 0644 salt/pillar.example.yaml "$(DESTDIR)$(pillar)/farm.example.yaml"
	@install -D -m 0644 packaging/minion.conf "$(DESTDIR)/etc/salt/minion.d/qubes-build-infra.conf"
	@find "$(DESTDIR)$(formula)" "$(DESTDIR)$(pillar)" -type d -exec chmod 0750 {} +

ifeq ($(wildcard Makefile.install),)
.PHONY: install
install:: install-custom
endif
.DEFAULT_GOAL := install
