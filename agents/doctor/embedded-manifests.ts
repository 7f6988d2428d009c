// SPDX-License-Identifier: GPL-2.0-or-later
// What belongs into the VMs of each role: salt/build-infra/manifests/*.yaml, which Salt and the provisioner
// read too, so that nothing is written twice. agents/bundle.mjs puts their content in place of the empty list
// below; the program that runs in a VM needs no YAML.

import type { VmManifest } from '../shared/formats/manifest.js';

export const embeddedManifests: readonly VmManifest[] = [];
