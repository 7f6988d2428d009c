// SPDX-License-Identifier: GPL-2.0-or-later

/** The version of build-infra, as package.json has it. The bundler writes it here. */
export const version = 'unbundled';
