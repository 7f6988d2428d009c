// SPDX-License-Identifier: GPL-2.0-or-later
// What the stand-in needs to know of a VM.
import type { VmType } from '../policy/system-info.js';

export interface VmSpec {
  name: string;
  /**
   * The VM's files, as the provisioner laid them out: usr/, usr/local/, etc/, rw/, home/user/,
   * var/lib/build-infra/. usr/local, rw, home and var/lib are the VM's own to write; the rest is read only
   * inside.
   */
  root: string;
  /** null: no network at all (its own, empty network namespace) */
  netvm: string | null;
  /** names under /run/qubes-service, e.g. build-infra-keys */
  features?: readonly string[];
  type?: VmType;
  tags?: readonly string[];
  /** who executable services run as where the policy's rule does not say; `user` */
  defaultUser?: string;
  defaultDispvm?: string | null;
  guivm?: string | null;
  /**
   * Whether its root may mount and make devices (mmdebstrap, nested bwrap). By default those with a network
   * may, which are the ones that build; the VM that holds keys never needs it.
   */
  mayMount?: boolean;
}

/** Linux's name rules for a host are narrower than Qubes' for a VM; both, and it is a folder's name here. */
export const vmName = /^[A-Za-z][A-Za-z0-9_.-]{0,30}$/;
