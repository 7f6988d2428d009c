// SPDX-License-Identifier: GPL-2.0-or-later
// The public keys of the farms of tests. Those of the shipped example are refused wherever they stand, so
// these take their places.
const inPlaceOf: [ofExample: string, fingerprint: string, armored: string][] = [
  [
    '959FF0BA783C2887E5AF23E17567AB25712AACB5',
    'CF254E7E8366684FFEB6F61A1BB7256955FE5C7D',
    `-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEaVW5ABYJKwYBBAHaRw8BAQdAYoW0hul6fcKTDtkMPpUAcBPJSXs5UoN2UdIN
VQ5fz/K0HGJ1aWxkLWluZnJhIGV4YW1wbGUgbG9ncyBrZXmIkAQTFggAOBYhBM8l
Tn6DZmhP/rb2Ghu3JWlV/lx9BQJpVbkAAhsDBQsJCAcCBhUKCQgLAgQWAgMBAh4B
AheAAAoJEBu3JWlV/lx9GAABAPpefAdmYpaQlAqvGDL2TFESmV2dSskk91t180XO
L/CHAP9MfMelbGSanXp82DQ5oDyJc46xRS7Nbg3ixalzD9Q5Bw==
=DD2Z
-----END PGP PUBLIC KEY BLOCK-----
`,
  ],
  [
    '7B8E947132A9A3B9D8463CFD99BB92B08104097D',
    'FDE11DC49D11B1C7649A97F6EB3EDB405F822A05',
    `-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEaVW5ABYJKwYBBAHaRw8BAQdADwiZxmClEZyhPx3Yn0kFS962JmGud3MgKX9L
K58pbxy0H2J1aWxkLWluZnJhIGV4YW1wbGUgc2lnbmluZyBrZXmIkAQTFggAOBYh
BP3hHcSdEbHHZJqX9us+20BfgioFBQJpVbkAAhsDBQsJCAcCBhUKCQgLAgQWAgMB
Ah4BAheAAAoJEOs+20BfgioFvwABAJCj+pQKbLfqwC9GxNiGdBzvwBRABwb70eOZ
HVMmSjsmAP43SbzMskBG0EGVcJlObBiySTdd4ITP5KPQ4R52nyprCQ==
=9xmP
-----END PGP PUBLIC KEY BLOCK-----
`,
  ],
  [
    'C8A5F4F192E076E42610D5B578CB8B96440FCE84',
    '4EB33A111CD74D5673DBD2C4B1BC2F1EA81517C6',
    `-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEaVW5ABYJKwYBBAHaRw8BAQdA3uBzZevEHYCZNmX7F2e1X/OxxxKvxntz4n7H
AdhuRcm0IUFsaWNlIEV4YW1wbGUgPGFsaWNlQGV4YW1wbGUub3JnPoiQBBMWCAA4
FiEETrM6ERzXTVZz29LEsbwvHqgVF8YFAmlVuQACGwMFCwkIBwIGFQoJCAsCBBYC
AwECHgECF4AACgkQsbwvHqgVF8bJggD+NcxuiIaaT6nCQsQ1GvlFkmZLthWoScqH
U/4C4puGSpkBANPvpFihAyUhOmiSzQ64+7H/ZpXNI77w0CRuRkkxZUwF
=bWdu
-----END PGP PUBLIC KEY BLOCK-----
`,
  ],
  [
    '0E6FA9BDE69F6658FB12AAA8EBEF4EF4B461FB9D',
    '7719638AD6F8642E51E64B30AF7D060E5319D1A3',
    `-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEaVW5ABYJKwYBBAHaRw8BAQdAR5QrpdwGH9SHQhqyHH6KdcOW95gvAyJ/3jdc
jHHvQy60HUJvYiBFeGFtcGxlIDxib2JAZXhhbXBsZS5vcmc+iJAEExYIADgWIQR3
GWOK1vhkLlHmSzCvfQYOUxnRowUCaVW5AAIbAwULCQgHAgYVCgkICwIEFgIDAQIe
AQIXgAAKCRCvfQYOUxnRo16JAQDT1XgkYwTqoyThEoMXulPctcFCZwG4YbEOu6Y4
ZJ3jEgD8CXvm10gxqrupGTnJz59e7c86HFqQaFbZMXgpRrWFwQY=
=kiA+
-----END PGP PUBLIC KEY BLOCK-----
`,
  ],
];

/** @param text of salt/pillar.example.yaml. @returns the same farm with the keys of tests */
export function withKeysOfTests(text: string): string {
  let farm = text.replaceAll(
    '94ee7c0e989ab893fc029c97a6377bc0769315a68305c51d55c422a5ec35bdf8',
    '6f2a8ddd3a0e2bd1c5b5b1c1d6a5d52a4b9ef3d30f0c6fb0f4dbf1d2a3d04c55',
  );
  for (const [ofExample, fingerprint, armored] of inPlaceOf) {
    farm = farm
      .replace(
        new RegExp(`^ {4}${ofExample}: \\|\n(?: {6}.*\n|\n)+`, 'm'),
        `    ${fingerprint}: ${JSON.stringify(armored)}\n`,
      )
      .replaceAll(ofExample, fingerprint);
  }
  return farm;
}
