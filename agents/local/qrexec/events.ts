// SPDX-License-Identifier: GPL-2.0-or-later
// What dom0 tells those who watch: the progress display, and tests.

export type VmState = 'halted' | 'starting' | 'running' | 'stopping';

export interface CallEvent {
  event: 'call';
  /** random; the same in the matching `ended` */
  id: string;
  /** ISO 8601 */
  time: string;
  source: string;
  /** as asked for, cleaned */
  asked: string;
  /** where it goes; null where it goes nowhere */
  target: string | null;
  /** SERVICE[+ARGUMENT], cleaned */
  service: string;
  verdict: 'allow' | 'deny';
  /** why not; empty for an allowed call */
  reason: string;
  /** `file:line: text` of the deciding rule; null where none decided */
  rule: string | null;
}

export interface EndedEvent {
  event: 'ended';
  id: string;
  source: string;
  target: string;
  service: string;
  /** of an executable service, where it is known; socket services have none */
  status: number | null;
  seconds: number;
}

export interface VmEvent {
  event: 'vm';
  name: string;
  state: VmState;
}

export type Dom0Event = CallEvent | EndedEvent | VmEvent;

export interface VmStatus {
  name: string;
  state: VmState;
  /** of this start, or the last one; 0 before the first */
  domid: number;
  netvm: string | null;
  type: string;
  /** of the sandbox's outer process on the host */
  pid: number | null;
  /** the VM's log on the host: its agents' stderr */
  log: string;
}

export interface ExecRequest {
  argv: readonly string[];
  /** `root` or `user`; `user` */
  user?: string;
  /** the user's home */
  cwd?: string;
  env?: Readonly<Record<string, string>>;
  /** a terminal of its own in the VM */
  tty?: boolean;
}
