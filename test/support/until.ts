// SPDX-License-Identifier: GPL-2.0-or-later
// Waiting for what must come. The limit only ends what hangs: no test is about speed.

/** The first answer that is not undefined or false. @throws Error after `seconds` */
export async function until<T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  seconds = 300,
): Promise<T> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${what}: not within ${seconds} s`);
}
