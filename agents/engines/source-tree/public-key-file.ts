// SPDX-License-Identifier: GPL-2.0-or-later
// A file that holds public keys, armored or not: which of both it is says its content. Other builders call binary key files `.asc` too.
import * as openpgp from 'openpgp';

/** @throws Error what openpgp says of bytes that are no keys */
export async function readPublicKeys(untrustedBytes: Buffer): Promise<openpgp.Key[]> {
  return untrustedBytes.includes('-----BEGIN') ? await openpgp.readKeys({ armoredKeys: untrustedBytes.toString('latin1') }) : await openpgp.readKeys({ binaryKeys: new Uint8Array(untrustedBytes) });
}
