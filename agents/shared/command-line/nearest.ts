// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * How many letters must be put in, taken out, replaced or swapped with their neighbour to make one word of
 * the other.
 */
function distance(a: string, b: string): number {
  let [before, last, row] = [
    [] as number[],
    [] as number[],
    Array.from({ length: b.length + 1 }, (_, j) => j),
  ];
  for (let i = 1; i <= a.length; i++) {
    [before, last, row] = [last, row, [i]];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      row[j] = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + cost);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) row[j] = Math.min(row[j] ?? 0, (before[j - 2] ?? 0) + 1);
    }
  }
  return row[b.length] ?? 0;
}

/**
 * The word of the list that somebody may have meant: one that begins with it, or is at most a third of its
 * letters away.
 */
export function nearest(word: string, known: readonly string[]): string | undefined {
  if (word === '' || word.length > 40) return undefined;
  const begun = known.filter((name) => name.startsWith(word));
  if (begun.length === 1 && word.length > 1) return begun[0];
  const [best] = known
    .map((name) => ({ name, far: distance(word, name) }))
    .filter(({ name, far }) => far <= Math.max(1, Math.floor(Math.max(word.length, name.length) / 3)))
    .sort((a, b) => a.far - b.far);
  return best?.name;
}
