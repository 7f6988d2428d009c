// SPDX-License-Identifier: GPL-2.0-or-later
// The VM that receives webhooks: its secret, closed; and the certificate, where nginx wants one. The rules of
// the secret are the agent's (agents/sys-net/config.ts).
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { Report } from './finding.js';
import { accountOf, ids, look, read, readText, type Machine } from './machine.js';
import { configFolder, restartHere, type VmFacts } from './vm-facts.js';

const secretPath = `${configFolder}/webhook-secret`;
const month = 30 * 24 * 3600_000;

function checkSecret(machine: Machine, report: Report): void {
  const make =
    "as user here: /usr/lib/build-infra/make-keys sys-net, and put the content of the file into the settings of the forge's webhook";
  const found = look(machine, secretPath);
  if (
    !report.check(found !== undefined, 'NO_WEBHOOK_SECRET', `${secretPath} is missing`, make) ||
    found === undefined
  )
    return;
  const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
  if (
    !report.check(
      found.isFile() && found.uid === ids.user && (found.mode & 0o7077) === 0,
      'OPEN_WEBHOOK_SECRET',
      `${secretPath} belongs to ${accountOf(found.uid)} with mode ${mode} instead of user with 0600`,
      `as root here: chown user:user ${secretPath}; chmod 0600 ${secretPath}; if others could read it, make a new one`,
    )
  )
    return;
  report.check(
    /^[\x21-\x7e]{32,256}\n?$/.test(readText(machine, secretPath) ?? ''),
    'BAD_WEBHOOK_SECRET',
    `${secretPath} does not hold 32 to 256 printable characters without blanks`,
    `remove it, and ${make}`,
  );
}

function checkCertificate(machine: Machine, report: Report): void {
  const listen = readText(machine, `${configFolder}/nginx-listen.conf`) ?? '';
  const path = (word: string): string | undefined => new RegExp(`^${word} +([^;]+);`, 'm').exec(listen)?.[1];
  const [chainPath, keyPath] = [path('ssl_certificate'), path('ssl_certificate_key')];
  if (chainPath === undefined || keyPath === undefined) return;
  const next = `put the certificate (whole chain) and its key there, both user's, the key with mode 0600; ${restartHere(machine)}`;
  const chain = read(machine, chainPath);
  const key = read(machine, keyPath);
  report.check(
    chain !== undefined,
    'NO_CERTIFICATE',
    `${chainPath} is missing, which nginx-listen.conf names`,
    next,
  );
  const found = look(machine, keyPath);
  if (
    !report.check(
      key !== undefined,
      'NO_CERTIFICATE_KEY',
      `${keyPath} is missing, which nginx-listen.conf names`,
      next,
    ) ||
    found === undefined
  )
    return;
  report.check(
    found.uid === ids.user && (found.mode & 0o7077) === 0,
    'OPEN_CERTIFICATE_KEY',
    `${keyPath} is not user's alone`,
    `as root here: chown user:user ${keyPath}; chmod 0600 ${keyPath}`,
  );
  if (chain === undefined || key === undefined) return;
  try {
    const certificate = new X509Certificate(chain);
    report.check(
      certificate.checkPrivateKey(createPrivateKey(key)),
      'OTHER_CERTIFICATE_KEY',
      `${keyPath} is not the key of ${chainPath}`,
      next,
    );
    const ends = Date.parse(certificate.validTo);
    report.check(
      ends > machine.now().getTime(),
      'CERTIFICATE_EXPIRED',
      `${chainPath} was valid until ${certificate.validTo}`,
      next,
    );
    if (ends > machine.now().getTime() && ends < machine.now().getTime() + month / 3)
      report.note('CERTIFICATE_ENDS', `${chainPath} is valid until ${certificate.validTo}`, next);
  } catch {
    report.check(false, 'BAD_CERTIFICATE', `${chainPath} or ${keyPath} is not in PEM form`, next);
  }
}

export function checkWebhook(machine: Machine, facts: VmFacts, report: Report): void {
  if (!facts.enabled.has('webhooks')) return;
  checkSecret(machine, report);
  checkCertificate(machine, report);
}
