// SPDX-License-Identifier: GPL-2.0-or-later
// Calls of another VM, with a program in the client's place that does what the real one does, or worse.
import { writeFileSync } from 'node:fs';
import t from 'tap';
import {
  callService,
  cleanEnvironment,
  qrexecClient,
  type QrexecCall,
} from '../../agents/shared/calls/qrexec-call.js';
import { folderOf } from '../support/folders.js';

const folder = folderOf(t);
let number = 0;
const call = (body: string, more: Partial<QrexecCall> = {}): Promise<Buffer> => {
  const client = `${folder}/client${++number}`;
  writeFileSync(client, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return callService({ service: 'test.Echo+x', client, timeoutMs: 60_000, ...more });
};

await t.test(
  'target and service are given, the input to its end, and the whole answer comes back',
  async (t) => {
    t.equal((await call('printf "%s|" "$@"; cat', { input: 'in' })).toString(), '@default|test.Echo+x|in');
    t.equal(
      (await call('printf "%s|" "$@"; cat', { target: 'keys', input: Buffer.from([0xff, 0]) })).toString(
        'latin1',
      ),
      'keys|test.Echo+x|\xff\0',
    );
    t.equal((await call('cat; echo no input')).toString(), 'no input\n');
    t.equal(
      (await call('exit 0', { input: Buffer.alloc(1_000_000) })).length,
      0,
      'who does not read its input may still have an answer',
    );
    t.equal((await call('printf a; sleep 0.1; printf b')).toString(), 'ab');
    t.equal(qrexecClient, '/usr/bin/qrexec-client-vm');
  },
);

await t.test('the first line of an answer is told once, as soon as it is whole', async (t) => {
  const told: string[] = [];
  const answer = call(
    'printf "one"; sleep 0.2; printf " line\\nsecond\\n"; while [ ! -e "$0.go" ]; do sleep 0.05; done; printf "third\\n"',
    {
      onFirstLine: (line) => {
        told.push(line);
        writeFileSync(`${folder}/client${number}.go`, '');
      },
    },
  );
  t.equal((await answer).toString(), 'one line\nsecond\nthird\n');
  t.same(told, ['one line']);
});

await t.test("the client sees nothing of this process' environment", async (t) => {
  process.env['TEST_OF_CALLS'] = 'secret';
  const names = (await call('env | cut -d= -f1 | sort | tr "\\n" " "; echo $PATH $LANG')).toString();
  t.equal(
    names.replace(/\b(?:_TAP\w*|TAP\w*|NODE_OPTIONS|_|PWD|SHLVL|OLDPWD) /g, ''),
    'HOME LANG PATH /usr/sbin:/usr/bin:/sbin:/bin C.UTF-8\n',
  );
  t.equal(cleanEnvironment['HOME'], process.env['HOME'] ?? '/');
});

await t.test('an answer is bounded, in bytes and in time', async (t) => {
  t.equal((await call('head -c 100 /dev/zero', { limitBytes: 100 })).length, 100);
  await t.rejects(call('head -c 101 /dev/zero', { limitBytes: 100 }), { code: 'ANSWER_TOO_LARGE' });
  await t.rejects(call('exec yes'), { code: 'ANSWER_TOO_LARGE' }, 'a mebibyte where nothing is said');
  t.equal((await call('head -c 1048576 /dev/zero')).length, 1_048_576);
  const start = Date.now();
  await t.rejects(call('exec sleep 60', { timeoutMs: 200 }), { code: 'CALL_TIMED_OUT' });
  t.ok(Date.now() - start < 30_000);
  await t.rejects(
    call('exec yes', { timeoutMs: 50, limitBytes: 10 }),
    { code: 'ANSWER_TOO_LARGE' },
    'the first reason counts',
  );
});

await t.test('whatever is no yes is no', async (t) => {
  await t.rejects(call('exit 126'), { code: 'CALL_REFUSED', detail: 'test.Echo+x: Request refused' });
  await t.rejects(call('printf "  not\\n today \\n" >&2; exit 126'), {
    code: 'CALL_REFUSED',
    detail: 'test.Echo+x: not. today',
  });
  await t.rejects(call('echo out; exit 127'), { code: 'NO_SUCH_SERVICE' });
  await t.rejects(call('echo " why " >&2; exit 1'), {
    message: 'test.Echo+x: qrexec-client-vm ended with 1: why',
  });
  await t.rejects(call('kill -9 $$'), { message: 'test.Echo+x: qrexec-client-vm ended with null: ' });
  await t.rejects(callService({ service: 'x', client: `${folder}/nothing` }), { code: 'ENOENT' });
  const complaint = await call('head -c 100000 /dev/zero | tr "\\0" x >&2; exit 1').catch(
    (error: unknown) => (error as Error).message,
  );
  t.ok(complaint.length < 600, 'a long complaint is cut');
});
