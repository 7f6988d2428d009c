// SPDX-License-Identifier: GPL-2.0-or-later
// The kinds of repositories that there are.
import type { PackageKind } from '../../engines/contract.js';
import { aptRepository } from './apt/apt-repository.js';
import { dnfRepository } from './dnf/dnf-repository.js';
import type { PackageRepository } from './package-repository.js';

export const packageRepositories: Record<PackageKind, PackageRepository> = {
  deb: aptRepository,
  rpm: dnfRepository,
};
