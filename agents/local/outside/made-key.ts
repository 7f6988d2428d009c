// SPDX-License-Identifier: GPL-2.0-or-later
// A key that somebody outside made, as the pillar takes it.

export interface MadeKey {
  fingerprint: string;
  publicKey: string;
}
