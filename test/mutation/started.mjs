// SPDX-License-Identifier: GPL-2.0-or-later
// Stryker's runner for tap, for tests that start an agent as a process: what ran in the test's own process
// says nothing of what ran in the agent, so every test is asked about every change. The runner alone reports
// what it saw whatever it is told, and Stryker then tries nothing else.
import { strykerPlugins as ofTap } from '@stryker-mutator/tap-runner';

const [tap] = ofTap;

function started(...injected) {
  const runner = tap.factory(...injected);
  const dryRun = runner.dryRun.bind(runner);
  runner.dryRun = async (options) => ({ ...(await dryRun(options)), mutantCoverage: undefined });
  return runner;
}
started.inject = tap.factory.inject;

export const strykerPlugins = [{ kind: tap.kind, name: 'tap-started', factory: started }];
