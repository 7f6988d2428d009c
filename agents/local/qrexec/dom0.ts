// SPDX-License-Identifier: GPL-2.0-or-later
// The stand-in for dom0: it knows the VMs, decides calls by the policy, starts and stops VMs. It runs no
// service and relays no data.
import { EventEmitter } from 'node:events';
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Verdict } from '../policy/evaluate.js';
import { SystemInfo, systemVm } from '../policy/system-info.js';
import { makeQubesLayer, makeRunFolder, runFolderFor } from '../vm/host-folders.js';
import { vmName, type VmSpec } from '../vm/vm-spec.js';
import { AdminServer } from './admin-server.js';
import { serveCall, type CallContext } from './call.js';
import type { Dom0Event, ExecRequest, VmStatus } from './events.js';
import { PolicyCache } from './policy-cache.js';
import { newCallId, Vm } from './vm.js';

export interface Dom0Options {
  /** on disk: logs/<vm>.log, tmp/<vm>. The VMs' roots may lie here too. */
  stateFolder: string;
  /** sockets; by default a short path made from stateFolder (host-folders.ts) */
  runFolder?: string;
  /** first listed wins where a file name is in two */
  policyFolders: readonly string[];
  vms?: readonly VmSpec[];
  /** who answers where the policy asks; nobody by default, which is a "no" */
  answer?: (verdict: Verdict & { result: 'ask' }, source: string, service: string) => Promise<string | null>;
}

/** Connections that one VM may hold to dom0 at once, as in qrexec-daemon. */
const callsPerVm = 256;
/** How long a command waits for its streams. */
const execMeetTimeoutMs = 120_000;

export class Dom0 extends EventEmitter<{ event: [Dom0Event]; shutdown: [] }> {
  readonly runFolder: string;
  readonly #options: Dom0Options;
  readonly #vms = new Map<string, Vm>();
  readonly #policy: PolicyCache;
  readonly #context: CallContext;
  readonly #layer: string;
  #lastDomid = 0;
  #admin: AdminServer | undefined;

  private constructor(options: Dom0Options) {
    super();
    this.#options = options;
    this.runFolder = options.runFolder ?? runFolderFor(options.stateFolder);
    this.#layer = join(this.runFolder, 'qubes-usr');
    this.#policy = new PolicyCache(options.policyFolders);
    this.#context = {
      policy: () => this.#policy.current(),
      system: () => this.system(),
      vm: (name) => this.#vms.get(name),
      answer: options.answer ?? (async () => null),
      report: (event) => this.emit('event', event),
    };
  }

  /**
   * Listens for the admin side and makes the VMs known, all halted. This process must be root
   * (root-namespace.ts).
   */
  static async start(options: Dom0Options): Promise<Dom0> {
    const dom0 = new Dom0(options);
    makeRunFolder(dom0.runFolder);
    // On a stand-in run by root, a VM could leave a set-uid program in its files: nobody else shall reach
    // them.
    mkdirSync(options.stateFolder, { recursive: true });
    chmodSync(options.stateFolder, 0o700);
    dom0.#admin = await AdminServer.listen(dom0, dom0.adminSocket);
    makeQubesLayer(dom0.#layer);
    for (const spec of options.vms ?? []) await dom0.addVm(spec);
    return dom0;
  }

  get adminSocket(): string {
    return join(this.runFolder, 'admin.sock');
  }

  async addVm(spec: VmSpec): Promise<void> {
    if (!vmName.test(spec.name) || spec.name === 'dom0') throw new Error(`not a name for a VM: ${spec.name}`);
    if (this.#vms.has(spec.name)) throw new Error(`there is a VM ${spec.name} already`);
    const vm = new Vm(
      spec,
      {
        run: join(this.runFolder, 'vms', spec.name),
        tmp: join(this.#options.stateFolder, 'tmp', spec.name),
        log: this.logOf(spec.name),
        qubesLayer: this.#layer,
      },
      () => {
        if (vm.state === 'starting') vm.domid = ++this.#lastDomid;
        this.emit('event', { event: 'vm', name: spec.name, state: vm.state });
      },
    );
    let connections = 0;
    await vm.open((connection: Socket) => {
      connection.on('error', () => undefined);
      if (connections >= callsPerVm) return void connection.end('refused\n');
      connections += 1;
      connection.once('close', () => {
        connections -= 1;
      });
      void serveCall(this.#context, vm, connection);
    });
    this.#vms.set(spec.name, vm);
  }

  logOf(name: string): string {
    return join(this.#options.stateFolder, 'logs', `${name}.log`);
  }

  /** What the policy is evaluated against. */
  system(): SystemInfo {
    return new SystemInfo(
      [...this.#vms.values()].map(({ spec, state }) =>
        systemVm({
          name: spec.name,
          type: spec.type ?? 'AppVM',
          tags: spec.tags ?? [],
          defaultDispvm: spec.defaultDispvm ?? null,
          guivm: spec.guivm ?? null,
          running: state === 'running',
        }),
      ),
    );
  }

  list(): VmStatus[] {
    return [...this.#vms.values()].map(({ spec, state, pid, domid, folders }) => ({
      name: spec.name,
      state,
      domid,
      netvm: spec.netvm,
      type: spec.type ?? 'AppVM',
      pid,
      log: folders.log,
    }));
  }

  async startVm(name: string): Promise<void> {
    await this.#vm(name).start();
  }

  async stopVm(name: string): Promise<void> {
    await this.#vm(name).stop();
  }

  async killVm(name: string): Promise<void> {
    await this.#vm(name).kill();
  }

  /**
   * Starts a command in a VM (which is started if it is not running) and returns the socket at which it waits
   * for its streams.
   */
  async prepareExec(name: string, request: ExecRequest): Promise<string> {
    const vm = this.#vm(name);
    await vm.start();
    const id = newCallId();
    const timer = setTimeout(() => vm.forget(id), execMeetTimeoutMs).unref();
    await vm.prepare(
      id,
      { op: 'exec', ...request, user: request.user ?? vm.spec.defaultUser ?? 'user' },
      { met: () => clearTimeout(timer), ended: () => clearTimeout(timer) },
    );
    return join(vm.vchan, id);
  }

  /** Stops every VM and removes the run folder. */
  async close(): Promise<void> {
    await Promise.all([...this.#vms.values()].map((vm) => vm.stop()));
    await Promise.all([...this.#vms.values()].map((vm) => vm.close()));
    this.#vms.clear();
    await this.#admin?.close();
    rmSync(this.runFolder, { recursive: true, force: true });
  }

  #vm(name: string): Vm {
    const vm = this.#vms.get(name);
    if (vm === undefined) throw new Error(`no such VM: ${name}`);
    return vm;
  }
}
