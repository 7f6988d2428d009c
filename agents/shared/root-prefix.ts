// SPDX-License-Identifier: GPL-2.0-or-later

/** What stands before every path of a VM: nothing in a VM, a folder in tests and in the local stand-in. */
export const rootPrefix = process.env['BUILD_INFRA_ROOT'] ?? '';
