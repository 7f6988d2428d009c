// SPDX-License-Identifier: GPL-2.0-or-later
// What the public hears of a promotion or a command that was refused: words of ours for each code, never a detail, which may name hosts, paths and people. The
// public log has the whole of it for those who look.
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
    NOT_ALLOWED: 'this key may not ask for that',
    UNKNOWN_COMMIT: 'nothing that was built and published here is of that commit',
    SEVERAL_BUILDS:
      'some of these distributions were rebuilt: sign one line for those, and one for the others',
    DISTRIBUTION_TWICE: 'two of the words mean one distribution',
    BAD_TIMESTAMP: 'the timestamp is far from the time of the signature, or of when the command came',
    TOO_OLD: 'it was signed too long ago when it came',
    ALREADY_BUILT: 'this was built already',
    ALREADY_OVER: 'that job is over already',
    NOT_OVER: 'that job is not over yet',
    UNKNOWN_VERSION: 'no job here built that version',
    OTHER_REPOSITORY: 'it was published somewhere else',
    NO_REBUILD: 'it cannot be rebuilt so',
    ROLLBACK: 'a version is used once, and only the highest is built',
    NOT_ANNOTATED: 'the newest version tag is not annotated',
    NO_VERSION_TAG: 'the repository has no version tag',
    TOO_MANY_TAGS: 'the repository has too many tags',
    CONFIG_CHANGED: 'the farm was configured anew while it waited',
  }),
);

/** Markdown, from a code of strict grammar. */
export function refusalWords(code: string): string {
  const said = words.get(code);
  return said === undefined ? `\`${code}\`` : `\`${code}\`, ${said}.`;
}
