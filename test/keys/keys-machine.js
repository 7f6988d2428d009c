// SPDX-License-Identifier: GPL-2.0-or-later
// One keys VM for a test: a root folder with real keys, the compiled agent as a process of its own, and a small publisher that
// makes real signed git commits and receipts, as the build-logs VM does.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { intentFormat, intentsOf } from '../../agents/shared/formats/intent.js';
import { intentPath, writePublicationMessage } from '../../agents/shared/formats/publication.js';
import { receiptFormat } from '../../agents/shared/formats/receipt.js';
export const agents = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'agents');
export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
/** One socket call as `source`; the caller's end is closed only if `half` says so. */
export function callSocket(path, descriptor, bytes, options = {}) {
    return new Promise((resolve, reject) => {
        const socket = connect({ path, allowHalfOpen: true });
        const chunks = [];
        socket.on('error', (error) => (error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve(Buffer.concat(chunks)) : reject(error)));
        socket.on('data', (chunk) => chunks.push(chunk));
        socket.on('end', () => {
            resolve(Buffer.concat(chunks));
            socket.destroy();
        });
        socket.write(`${descriptor}\0`);
        const step = options.chunk ?? bytes.length;
        for (let at = 0; at < bytes.length; at += step)
            socket.write(bytes.subarray(at, at + step));
        if (options.halfClose === true)
            socket.end();
    });
}
export class GpgHome {
    folder;
    constructor(folder) {
        this.folder = folder;
        mkdirSync(folder, { recursive: true, mode: 0o700 });
    }
    gpg(args, input = '') {
        return execFileSync('/usr/bin/gpg', ['--batch', '--no-tty', '--quiet', ...args], { input, env: { PATH: '/usr/bin:/bin', GNUPGHOME: this.folder }, stdio: ['pipe', 'pipe', 'ignore'] });
    }
    /** @returns the fingerprint */
    makeKey(user) {
        this.gpg(['--passphrase', '', '--quick-gen-key', user, 'ed25519', 'sign', 'never']);
        const rows = this.gpg(['--with-colons', '--list-keys', `=${user}`]).toString().split('\n');
        return rows.find((row) => row.startsWith('fpr:')).split(':')[9];
    }
    exported(fingerprint) {
        return this.gpg(['--armor', '--export', fingerprint]);
    }
    close() {
        execFileSync('/usr/bin/gpgconf', ['--homedir', this.folder, '--kill', 'all']);
    }
}
export class KeysMachine {
    root = mkdtempSync(join(tmpdir(), 'ki-'));
    keysHome = new GpgHome(`${this.root}/home/user/.gnupg`);
    logsHome = new GpgHome(`${this.root}/l`);
    signingKey;
    logsKey;
    otherKey;
    config;
    /** commits so far, oldest first */
    history = [];
    /** the newest commit that the agent accepted */
    believed = 0;
    #agent;
    agentErrors = '';
    constructor(config = {}) {
        this.signingKey = this.keysHome.makeKey('Debian signing <sign@build.example>');
        this.logsKey = this.logsHome.makeKey('logs <logs@build.example>');
        this.otherKey = this.logsHome.makeKey('stranger <stranger@build.example>');
        const settings = `${this.root}/rw/config/build-infra`;
        for (const folder of [`${settings}/public-keys`, `${this.root}/run/build-infra`, `${this.root}/usr/bin`, `${this.root}/g`])
            mkdirSync(folder, { recursive: true });
        writeFileSync(`${settings}/public-keys/${this.logsKey}.asc`, this.logsHome.exported(this.logsKey));
        writeFileSync(`${settings}/public-keys/${this.signingKey}.asc`, this.keysHome.exported(this.signingKey));
        this.config = {
            format: 'build-infra/keys-config@1', vm: 'keys-debian', source: 'build-debian', logsVm: 'build-logs', logsKey: this.logsKey,
            requiredRemotes: ['mirror', 'origin'], signingKeys: [this.signingKey], anchor: null, grantSeconds: 900, payloadBytes: 1024 * 1024, ...config,
        };
        this.configure({});
        writeFileSync(`${settings}/build.json`, JSON.stringify({ format: 'build-infra/build-config@1', vm: 'build-debian', env: 'debian', signingKey: this.signingKey }));
        this.#git(['init', '-q', '--bare', '.']);
    }
    /** For the agent's next start. */
    configure(changes) {
        this.config = { ...this.config, ...changes };
        writeFileSync(`${this.root}/rw/config/build-infra/keys.json`, JSON.stringify(this.config));
    }
    #git(args, input = '', environment = {}) {
        return execFileSync('git', args, {
            cwd: `${this.root}/g`, input, stdio: ['pipe', 'pipe', 'inherit'],
            env: { PATH: '/usr/bin:/bin', HOME: this.root, GNUPGHOME: this.logsHome.folder, GIT_AUTHOR_NAME: 'l', GIT_AUTHOR_EMAIL: 'l@l', GIT_COMMITTER_NAME: 'l', GIT_COMMITTER_EMAIL: 'l@l', ...environment },
        });
    }
    async start() {
        // As its unit starts it.
        const agent = spawn(process.execPath, ['--jitless', '--no-expose-wasm', `${agents}/keys/main.js`], { env: { PATH: '/usr/bin:/bin', BUILD_INFRA_ROOT: this.root }, stdio: ['ignore', 'ignore', 'pipe'] });
        this.#agent = agent;
        this.agentErrors = '';
        await new Promise((resolve, reject) => {
            agent.stderr.on('data', (chunk) => {
                this.agentErrors += chunk.toString();
                if (this.agentErrors.includes(': ready;'))
                    resolve();
            });
            agent.on('exit', () => reject(new Error(`the agent ended: ${this.agentErrors}`)));
        });
    }
    get agentPid() {
        return this.#agent?.pid;
    }
    async kill() {
        const agent = this.#agent;
        if (agent === undefined || agent.exitCode !== null || agent.signalCode !== null)
            return;
        await new Promise((resolve) => {
            agent.once('exit', resolve);
            agent.kill('SIGKILL');
        });
    }
    async restart() {
        await this.kill();
        await this.start();
    }
    async close() {
        await this.kill();
        this.keysHome.close();
        this.logsHome.close();
        rmSync(this.root, { recursive: true, force: true });
    }
    /** A real commit object; it is not put into `history`. */
    makeCommit(files, options = {}) {
        const seq = options.seq ?? this.history.length + 1;
        const parents = options.parents ?? (this.history.length === 0 ? [] : [this.history.at(-1).commit]);
        const message = options.message ?? writePublicationMessage({ subject: `publication ${seq}`, files: [...files], seq });
        const tree = this.#git(['hash-object', '-t', 'tree', '-w', '--stdin']).toString().trim();
        const signature = options.signWith === null ? [] : [`-S${options.signWith ?? this.logsKey}`];
        const commit = this.#git(['commit-tree', ...signature, ...parents.flatMap((parent) => ['-p', parent]), tree], message).toString().trim();
        return { commit, raw: this.#git(['cat-file', 'commit', commit]) };
    }
    publish(files, options = {}) {
        const made = this.makeCommit(files, options);
        this.history.push(made);
        return made;
    }
    intent(payload, changes = {}) {
        return {
            job: 'hello-2.10-0123456789ab', component: 'hello', version: '2.10', dist: 'bookworm', purpose: 'other', key: this.signingKey, mode: 'detach',
            payload: { name: 'payload', size: Buffer.byteLength(payload), sha256: sha256(payload) }, logs: [], artifacts: [], ...changes,
        };
    }
    file(document, source = 'build-debian') {
        return { path: intentPath(source, '2026-11-21', sha256(document)), size: Buffer.byteLength(document), sha256: sha256(document) };
    }
    document(intents) {
        return `${JSON.stringify({ format: intentFormat, intents })}\n`;
    }
    /** A receipt over everything since the last accepted one, all of it true. */
    receipt(documents, changes = {}) {
        return {
            format: receiptFormat,
            source: 'build-debian',
            commit: this.history.at(-1)?.commit ?? '0'.repeat(40),
            remotes: ['origin', 'mirror'],
            grants: documents.flatMap((document) => intentsOf(JSON.parse(document)).map((intent) => ({
                sha256: intent.payload.sha256, size: intent.payload.size, key: intent.key, mode: intent.mode, intent: sha256(document),
            }))),
            journal: null,
            proof: { commits: this.history.slice(this.believed).map(({ raw }) => raw.toString('base64')), intents: documents.map((document) => Buffer.from(document).toString('base64')) },
            ...changes,
        };
    }
    async sendRaw(bytes, source = 'build-logs', argument = 'build-debian') {
        const answer = await callSocket(`${this.root}/run/build-infra/qubesbuilder.LogReceived.sock`, `qubesbuilder.LogReceived+${argument} ${source}`, bytes, { halfClose: true });
        return answer.toString().trimEnd().split('\n');
    }
    /** @returns the reply, and the journal entries that came with it */
    async send(receipt) {
        const [first, ...rest] = await this.sendRaw(Buffer.from(JSON.stringify(receipt)));
        const reply = JSON.parse(first);
        if (reply.result === 'accepted')
            this.believed = this.history.findIndex(({ commit }) => commit === reply.head) + 1;
        return { reply, entries: rest.map((line) => JSON.parse(line)) };
    }
    /** The whole honest way: publishes an intent for `payload` and has it granted. */
    async grant(payload, changes = {}) {
        const document = this.document([this.intent(payload, changes)]);
        this.publish([this.file(document)]);
        const { reply } = await this.send(this.receipt([document]));
        if (reply.result !== 'accepted')
            throw new Error(`not granted: ${JSON.stringify(reply)}`);
    }
    journal() {
        return readFileSync(`${this.root}/var/lib/build-infra/journal.jsonl`, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line));
    }
    events() {
        return this.journal().map(({ event, result }) => (event === 'refused' ? `refused ${result}` : event));
    }
}
