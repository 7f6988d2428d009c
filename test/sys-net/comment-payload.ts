// SPDX-License-Identifier: GPL-2.0-or-later
// A comment on an issue as GitHub sends it.
// https://docs.github.com/en/webhooks/webhook-events-and-payloads#issue_comment
import { pushPayload } from './push-payload.js';

export const block = [
  '-----BEGIN PGP SIGNED MESSAGE-----',
  'Hash: SHA512',
  '',
  'Build-component r4.3 hello',
  '-----BEGIN PGP SIGNATURE-----',
  '',
  'iHUEARYKAB0WIQROszoRHNdNVXPb0sSxvC8eqBUXxgUCaVW5AAAKCRCxvC8eqBUX',
  'xsKTAQDPiN9d7NDcEYxMpJcbP7pSCKvGfAN3mbr3mJcXXGEbAgEA0vJ6aQ==',
  '=abcd',
  '-----END PGP SIGNATURE-----',
].join('\n');

let comments = 0;
export function comment(
  body: string | null,
  change: { action?: string; fullName?: string; id?: number } = {},
): Buffer {
  const fullName = change.fullName ?? 'example/updates-status';
  const { repository, organization, sender } = pushPayload({ fullName });
  const id = change.id ?? 2_000_000_000 + comments++;
  const url = `https://api.github.com/repos/${fullName}/issues/17`;
  return Buffer.from(
    JSON.stringify({
      action: change.action ?? 'created',
      issue: {
        url,
        id: 1,
        number: 17,
        title: 'hello 2.10-3 (r4.3)',
        user: sender,
        labels: [],
        state: 'open',
        locked: false,
        comments: 1,
        created_at: '2026-11-21T21:30:00Z',
        author_association: 'MEMBER',
        body: 'the status',
      },
      comment: {
        url: `${url}/comments/${id}`,
        id,
        user: sender,
        created_at: '2026-11-22T10:00:00Z',
        updated_at: '2026-11-22T10:00:00Z',
        author_association: 'NONE',
        body,
        performed_via_github_app: null,
      },
      repository,
      organization,
      sender,
    }),
  );
}
