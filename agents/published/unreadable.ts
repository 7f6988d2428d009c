// SPDX-License-Identifier: GPL-2.0-or-later

/** A repository, file or key that cannot be read: that says neither good nor bad of it. */
export class Unreadable extends Error {
  override readonly name = 'Unreadable';
}
