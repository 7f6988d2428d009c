// SPDX-License-Identifier: GPL-2.0-or-later
// What the public hears of a promotion that was refused: words of ours for each code, never a detail, which
// may name hosts, paths and people. The public log has the whole of it for those who look.
export const words: ReadonlyMap<string, string> = new Map(
  Object.entries({
    TOO_YOUNG: 'it was not in testing for long enough yet',
    NEWER_IN_SUITE: 'a newer version is there already',
    WITHDRAWN: 'this version was withdrawn',
    NOT_BUILT: 'it was not built for this distribution',
    NOT_IN_SUITE: 'it is not in testing any more, or not with the bytes that were published',
    NOT_PUBLISHED: 'its upload to testing is in no published log',
    NOT_HERE: 'this environment does not move packages of this kind',
    NO_RECORD: 'how long it was in testing is not known here',
    NO_PUBLIC_KEY: 'how long it was in testing is not known here',
    RECORD_UNREACHABLE: 'the published record of its time in testing could not be read',
    RECORD_REWRITTEN: 'the published record of its time in testing cannot be trusted',
    BAD_RECORD: 'the published record of its time in testing cannot be trusted',
    CONFIG_CHANGED: 'the farm was configured anew while it waited',
  }),
);

/** Markdown, from a code of strict grammar. */
export function refusalWords(code: string): string {
  const said = words.get(code);
  return said === undefined ? `\`${code}\`` : `\`${code}\`, ${said}.`;
}
