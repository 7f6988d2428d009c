// SPDX-License-Identifier: GPL-2.0-or-later
// A build VM in a folder: the real agent as a process, with a forge, an apt server over ssh and http, a log
// receiver, and a gpg that signs without asking anyone, since the gate has tests of its own.
import { spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer as createHttpServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { chrootCache } from '../support/clean-chroots.js';
import { writeDirectClient } from '../support/direct-client.js';
import { freePort } from '../support/free-port.js';
import { SshServer } from '../support/ssh-server.js';
import { until } from '../support/until.js';
import { Forge, Keys, writeKeys, type TestKey } from './forge.js';
import { TestReceiver } from './log-receiver.js';

// As it is installed: each stage of a job is a process, and more than a hundred modules take three times as
// long to start.
const agentMain = fileURLToPath(new URL('../../../dist/build-agent.mjs', import.meta.url));

export { freePort };

/** sshd and a web server over one folder. */
export class AptServer {
  readonly folder = mkdtempSync(join(tmpdir(), 'bi-www-'));
  readonly #sshd = new SshServer();
  httpPort = 0;
  #http: Server | undefined;

  get sshPort(): number {
    return this.#sshd.port;
  }

  async start(): Promise<void> {
    await this.#sshd.start();
    this.#http = createHttpServer((request, response) => {
      const path = join(this.folder, decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname));
      if (!path.startsWith(this.folder) || !existsSync(path)) return void response.writeHead(404).end();
      response.end(readFileSync(path));
    });
    await new Promise<void>((resolve) => this.#http?.listen(0, '127.0.0.1', () => resolve()));
    this.httpPort = (this.#http.address() as AddressInfo).port;
  }

  sshConfig(): string {
    return this.#sshd.clientConfig();
  }

  async end(): Promise<void> {
    this.#sshd.end();
    await new Promise((resolve) => this.#http?.close(resolve) ?? resolve(undefined));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export interface Outside {
  keys: Keys;
  forge: Forge;
  apt: AptServer;
  alice: TestKey;
  signer: TestKey;
}

export async function makeOutside(): Promise<Outside> {
  const keys = new Keys();
  const outside = {
    keys,
    forge: new Forge(),
    apt: new AptServer(),
    alice: keys.make('alice'),
    signer: keys.make('signer'),
  };
  await outside.forge.start();
  await outside.apt.start();
  return outside;
}

export async function endOutside({ keys, forge, apt }: Outside): Promise<void> {
  forge.end();
  keys.end();
  await apt.end();
}

export class BuildVm {
  readonly root = mkdtempSync(join(tmpdir(), 'bi-vm-'));
  readonly repository: string;
  readonly #client: string;
  receiver!: TestReceiver;
  #agent: ChildProcess | undefined;
  output = '';

  constructor(outside: Outside, repository: string, change: Record<string, unknown> = {}) {
    this.repository = repository;
    const put = (path: string, content: string, mode = 0o644): void => {
      mkdirSync(join(this.root, path, '..'), { recursive: true });
      writeFileSync(join(this.root, path), content);
      chmodSync(join(this.root, path), mode);
    };
    const name = repository.replace(/[^a-z0-9]/g, '');
    put(
      '/rw/config/build-infra/build.json',
      JSON.stringify({
        format: 'build-infra/build-config@1',
        vm: 'build-debian',
        env: 'debian',
        signingKey: outside.signer.fingerprint,
        publication: null,
        components: [
          {
            name: 'hello-tiny',
            url: outside.forge.url(repository),
            tag: 'v{version}',
            maintainers: [{ name: 'alice', fingerprint: outside.alice.fingerprint }],
            requiredSignatures: 1,
          },
        ],
        distributions: [{ name: 'bookworm', engine: 'debian', packages: 'deb' }],
        apt: {
          upload: `ssh://127.0.0.1:${outside.apt.sshPort}${outside.apt.folder}/${name}`,
          url: `http://127.0.0.1:${outside.apt.httpPort}/${name}`,
          origin: 'build-infra',
          label: 'debian',
        },
        pollSeconds: 3600,
        buildSeconds: 300,
        ...change,
      }),
    );
    writeKeys(join(this.root, '/rw/config/build-infra/public-keys'), [outside.alice, outside.signer]);
    put('/rw/config/build-infra/ssh_config', outside.apt.sshConfig());
    const gpg = `gpg --homedir '${outside.keys.home}' --batch --yes --pinentry-mode loopback --passphrase ''`;
    put(
      '/usr/lib/build-infra/gpg',
      `#!/bin/sh
echo "$@" >> '${this.root}/gpg-calls'
. '${this.root}/gpg-before'
if [ "$1" = --reprepro-sign ]; then
  set -e
  ${gpg} -u ${outside.signer.fingerprint} --clearsign -o "$3" "$2"
  ${gpg} -u ${outside.signer.fingerprint} -a -b -o "$4" "$2"
  exit
fi
exec ${gpg} "$@"
`,
      0o755,
    );
    put('gpg-before', ':\n');
    for (const engine of ['debian', 'qubesbuilderv2'])
      put(
        `/usr/lib/build-infra/engines/${engine}`,
        `#!/bin/sh\nexec '${process.execPath}' '${agentMain}' engine ${engine} "$1"\n`,
        0o755,
      );
    mkdirSync(join(this.root, '/run/build-infra'), { recursive: true });
    mkdirSync(join(this.root, '/usr/bin'), { recursive: true });
    mkdirSync(join(this.root, '/var/lib/build-infra'), { recursive: true });
    mkdirSync(chrootCache, { recursive: true });
    symlinkSync(chrootCache, join(this.root, '/var/lib/build-infra/cache'));
    writeDirectClient(join(this.root, '/usr/bin/qrexec-client-vm'), 'build-debian', {
      'qubesbuilder.BuildLog': join(this.root, 'log.sock'),
    });
    this.#client = writeDirectClient(
      join(this.root, 'caller'),
      'sys-net',
      Object.fromEntries(
        ['qubesbuilder.TriggerBuild', 'qubesbuilder.ProcessGithubCommand'].map((service) => [
          service,
          join(this.root, `/run/build-infra/${service}.sock`),
        ]),
      ),
    );
  }

  get config(): Record<string, unknown> {
    return JSON.parse(readFileSync(join(this.root, '/rw/config/build-infra/build.json'), 'utf8')) as Record<
      string,
      unknown
    >;
  }

  /** Before the agent starts. */
  reconfigure(change: Record<string, unknown>): void {
    writeFileSync(
      join(this.root, '/rw/config/build-infra/build.json'),
      JSON.stringify({ ...this.config, ...change }),
    );
  }

  /** What a shell does before each signature. */
  beforeSigning(script: string): void {
    writeFileSync(join(this.root, 'gpg-before'), script);
  }

  gpgCalls(): string[] {
    const path = join(this.root, 'gpg-calls');
    return existsSync(path)
      ? readFileSync(path, 'utf8')
          .trim()
          .split('\n')
          .filter((line) => !line.includes('--version'))
      : [];
  }

  /** @param how what stands before the command line, and another program than the compiled agent */
  async start(how: { under?: readonly string[]; program?: string } = {}): Promise<void> {
    this.receiver ??= await TestReceiver.listen(join(this.root, 'log.sock'));
    this.output = '';
    const [command, ...args] = [...(how.under ?? []), process.execPath, how.program ?? agentMain];
    this.#agent = spawn(command, args, {
      env: { ...process.env, BUILD_INFRA_ROOT: this.root },
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    this.#agent.stderr?.on('data', (chunk: Buffer) => {
      this.output += chunk.toString();
    });
    await until('the agent', () => this.output.includes('ready\n'), 60);
  }

  async kill(): Promise<void> {
    const agent = this.#agent;
    if (agent?.pid === undefined || agent.exitCode !== null || agent.signalCode !== null) return;
    await new Promise((resolve) => {
      agent.once('exit', resolve);
      agent.kill('SIGKILL');
    });
  }

  async end(): Promise<void> {
    await this.kill();
    await this.receiver?.close();
    rmSync(this.root, { recursive: true, force: true });
  }

  trigger(component = 'hello-tiny'): Promise<string> {
    return this.#call(`qubesbuilder.TriggerBuild+${component}`, '');
  }

  /** A comment, as sys-net hands it on. */
  command(comment: string | Buffer): Promise<string> {
    return this.#call('qubesbuilder.ProcessGithubCommand', comment);
  }

  #call(service: string, input: string | Buffer): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = spawn(this.#client, ['@default', service], { stdio: ['pipe', 'pipe', 'inherit'] });
      child.stdin.on('error', () => undefined);
      child.stdin.end(input);
      let answer = '';
      child.stdout.on('data', (chunk: Buffer) => {
        answer += chunk.toString();
      });
      child.on('error', reject);
      child.on('close', () => resolve(answer.trim()));
    });
  }

  job(id: string): Job | undefined {
    const path = join(this.root, '/var/lib/build-infra/jobs', id, 'job.json');
    return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Job) : undefined;
  }

  async over(id: string, seconds = 240): Promise<Job> {
    return until(
      `${id} to be over`,
      () => {
        const job = this.job(id);
        return job !== undefined && ['done', 'failed', 'refused'].includes(job.state) ? job : undefined;
      },
      seconds,
    );
  }
}
