// SPDX-License-Identifier: GPL-2.0-or-later
// What the tests use of tap, with tap's own comparisons, for mutation runs only: a mutant is a start of a
// process, and tap's own start is two thirds of it. The first thing that fails ends the process; what a test
// tears down is torn down all the same.
import { match, same, strict } from 'tcompare';

let root;
let failed = false;

async function fail(why) {
  if (failed) return;
  failed = true;
  try {
    for (let test = running; test !== undefined; test = test.parent) await test.tearDown();
  } catch {
    // It has failed anyway.
  }
  process.stdout.write(`not ok 1 - ${String(why).replace(/[\n#]+/g, ' ')}\n1..1\n`, () => process.exit(1));
}

/** The innermost test under way. */
let running;

class Failure extends Error {}

class LightTest {
  #queue = Promise.resolve();
  #work = [];
  constructor(name, parent) {
    this.name = name;
    this.parent = parent;
    this.ended = new Promise((resolve) => (this.end = resolve));
  }

  test(name, ...rest) {
    const work = rest.at(-1);
    if (typeof rest[0] === 'object' && rest[0].skip) return Promise.resolve();
    return this.#next(async () => {
      const test = (running = new LightTest(name, this));
      const returned = work(test);
      await (typeof returned?.then === 'function' ? returned : test.ended);
      await test.drained();
      await test.tearDown();
      running = this;
    });
  }

  before(work) {
    void this.#next(work);
  }

  #next(work) {
    return (this.#queue = this.#queue
      .then(work)
      .catch((error) => fail(error?.stack ?? error).then(() => new Promise(() => undefined))));
  }

  /** Also of what is begun meanwhile. */
  async drained() {
    for (let last; last !== this.#queue;) await (last = this.#queue);
  }

  teardown(work) {
    this.#work.push(work);
  }

  async tearDown() {
    for (let work = this.#work.pop(); work !== undefined; work = this.#work.pop()) await work();
  }

  comment() {}
  /** Stryker has limits of its own. */
  setTimeout() {}

  #is(holds, what) {
    if (!holds) throw new Failure(`${this.name}: ${what}`);
    return true;
  }

  ok(value, what = 'ok') {
    return this.#is(value, what);
  }
  notOk(value, what = 'not ok') {
    return this.#is(!value, what);
  }
  fail(what = 'fail') {
    return this.#is(false, what);
  }
  equal(found, wanted, what = 'equal') {
    return this.#is(Object.is(found, wanted), what);
  }
  not(found, wanted, what = 'not equal') {
    return this.#is(!Object.is(found, wanted), what);
  }
  same(found, wanted, what = 'same') {
    return this.#is(same(found, wanted).match, what);
  }
  strictSame(found, wanted, what = 'strictly the same') {
    return this.#is(strict(found, wanted).match, what);
  }
  match(found, pattern, what = 'match') {
    return this.#is(match(found, pattern).match, what);
  }
  notMatch(found, pattern, what = 'no match') {
    return this.#is(!match(found, pattern).match, what);
  }

  #thrown(error, wanted) {
    if (error instanceof Failure) throw error;
    if (error?.name)
      Object.defineProperty(error, 'name', {
        value: `${error.name}`,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    return (
      wanted === undefined ||
      typeof wanted === 'string' ||
      this.match(wanted instanceof RegExp ? error.message : error, wanted)
    );
  }

  throws(work, wanted, what = 'throws') {
    try {
      work();
    } catch (error) {
      return this.#thrown(error, wanted);
    }
    return this.fail(what);
  }

  doesNotThrow(work) {
    work();
  }

  async rejects(work, wanted, what = 'rejects') {
    try {
      await (typeof work === 'function' ? work() : work);
    } catch (error) {
      return this.#thrown(error, wanted);
    }
    return this.fail(what);
  }
}

root = running = new LightTest('', undefined);
export default root;

let finished = false;
/** At the end of the file, where tap sees for itself that nothing more comes. */
export async function ended() {
  await root.drained();
  if (failed) return;
  await root.tearDown();
  finished = true;
  process.stdout.write('ok 1 - all\n1..1\n');
}

process.on('uncaughtException', (error) => void fail(error?.stack ?? error));
process.on('unhandledRejection', (error) => void fail(error?.stack ?? error));
process.on('exit', () => {
  if (!finished && !failed) process.stdout.write('not ok 1 - unfinished\n1..1\n');
});
