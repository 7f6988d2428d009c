// SPDX-License-Identifier: GPL-2.0-or-later
// Trees of salt formulas: their Makefile includes two files that no tree has and that Qubes' builder makes of
// `FORMULA`. Those are made here. The variables' names and defaults are the builder's; the rules are ours and
// install the same.
import { parseDocument } from 'yaml';
import { Refusal } from '../refusals.js';
import { isInTree, readTreeFile } from './tree-file.js';

const limitBytes = 64 * 1024;

const defaults: readonly [key: string, value: string][] = [
  ['default-saltenv', 'base'],
  ['default-testenv', 'test'],
  ['default-test-dirname', 'tests'],
  ['default-state-dir', '/srv/salt'],
  ['default-pillar-dir', '/srv/pillar'],
  ['default-formula-dir', '/srv/formulas'],
  ['default-test-state-dir', '/srv/formulas'],
  ['default-test-pillar-dir', '/srv/pillar'],
];

/**
 * `key: value` as `MGMT_KEY ?= value`; lists and tables are for other readers. @throws Refusal BAD_FORMULA
 */
function variables(untrustedText: string): string {
  // failsafe: every value stays the text that stands there, `4.10` too.
  const document = parseDocument(untrustedText, {
    version: '1.2',
    schema: 'failsafe',
    uniqueKeys: true,
    prettyErrors: false,
  });
  const [error] = document.errors;
  if (error !== undefined) throw new Refusal('BAD_FORMULA', `FORMULA is not YAML: ${error.code}`);
  const said: unknown = document.toJS({ maxAliasCount: 0 });
  if (typeof said !== 'object' || said === null || Array.isArray(said))
    throw new Refusal('BAD_FORMULA', 'FORMULA is no table');
  const all = new Map([
    ...defaults,
    ...Object.entries(said).filter((one): one is [string, string] => typeof one[1] === 'string'),
  ]);
  const lines = [...all].map(([key, value]) => {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(key)) throw new Refusal('BAD_FORMULA', 'FORMULA has an invalid key');
    return `MGMT_${key.toUpperCase().replaceAll('-', '_')} ?= ${value.replaceAll('\n', '\\\n')}\n`;
  });
  return `${lines.join('')}VERBOSE ?= 0\n`;
}

const rules = `# Installs a formula by the variables of Makefile.vars.
MGMT_TOP_LEVEL_DIR ?= $(MGMT_NAME)
MGMT_STATE_NAME ?= $(MGMT_TOP_LEVEL_DIR)
MGMT_SALTENV ?= $(MGMT_DEFAULT_SALTENV)
MGMT_FORMULA_DIR ?= $(MGMT_DEFAULT_STATE_DIR)
MGMT_PILLAR_DIR ?= $(MGMT_DEFAULT_PILLAR_DIR)
MGMT_TEST_STATE_DIR ?= $(MGMT_DEFAULT_TEST_STATE_DIR)
MGMT_TEST_PILLAR_DIR ?= $(MGMT_DEFAULT_TEST_PILLAR_DIR)
mgmt_tests = $(DESTDIR)$(MGMT_TEST_STATE_DIR)/$(MGMT_DEFAULT_TESTENV)/$(MGMT_NAME)
mgmt_test_pillar = $(DESTDIR)$(MGMT_TEST_PILLAR_DIR)/$(MGMT_DEFAULT_TESTENV)

.PHONY: all required install install-formula install-pillar install-test-formula install-test-pillar install-custom
all: required
required:
	$(foreach name,PACKAGE_NAME NAME VERSION RELEASE SUMMARY DESCRIPTION,$(if $(MGMT_$(name)),,$(error FORMULA does not say $(name))))

install-formula:
ifneq (,$(MGMT_FORMULA_FILES))
	install -d '$(DESTDIR)$(MGMT_FORMULA_DIR)'
	cp -r $(MGMT_FORMULA_FILES) '$(DESTDIR)$(MGMT_FORMULA_DIR)/'
ifneq (,$(filter $(MGMT_DEFAULT_STATE_DIR)%,$(MGMT_FORMULA_DIR)))
	for each in $(filter-out _%,$(MGMT_FORMULA_FILES)); do cp LICENSE README.rst "$(DESTDIR)$(MGMT_FORMULA_DIR)/$$each/" || exit 1; done
endif
endif

install-pillar:
ifneq (,$(MGMT_PILLAR_FILES))
	install -d '$(DESTDIR)$(MGMT_PILLAR_DIR)'
	cp -Tr $(MGMT_PILLAR_FILES) '$(DESTDIR)$(MGMT_PILLAR_DIR)/'
endif

install-test-formula:
ifneq (,$(MGMT_TEST_FORMULA_FILES))
	install -d '$(mgmt_tests)'
ifneq (,$(filter-out tests,$(MGMT_TEST_FORMULA_FILES)))
	cp -r $(filter-out tests,$(MGMT_TEST_FORMULA_FILES)) '$(mgmt_tests)/'
endif
ifneq (,$(filter tests,$(MGMT_TEST_FORMULA_FILES)))
	cp -r tests '$(mgmt_tests)/$(MGMT_STATE_NAME)'
endif
endif

install-test-pillar:
ifneq (,$(MGMT_TEST_PILLAR_FILES))
	install -d '$(mgmt_test_pillar)'
	cp -Tr $(MGMT_TEST_PILLAR_FILES) '$(mgmt_test_pillar)/'
endif

install-custom::

install:: required install-formula install-pillar install-test-formula install-test-pillar install-custom
`;

/**
 * Files that belong at the top of the tree beside what is there. @returns none where the tree has no FORMULA
 * @throws Refusal BAD_FORMULA, BAD_TREE
 */
export function formulaFiles(tree: string): [name: string, content: string][] {
  const formula = readTreeFile(tree, 'FORMULA', limitBytes);
  if (formula === undefined) return [];
  const made: [string, string][] = [
    ['Makefile.vars', variables(formula.toString('utf8'))],
    ['Makefile.install', rules],
  ];
  return made.filter(([name]) => !isInTree(tree, name));
}
