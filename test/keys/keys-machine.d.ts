import { type Intent } from '../../agents/shared/formats/intent.js';
import { type PublishedFile } from '../../agents/shared/formats/publication.js';
import { type Receipt, type ReceiptReply } from '../../agents/shared/formats/receipt.js';
import type { JournalEntry } from '../../agents/shared/formats/journal.js';
export declare const agents: string;
export declare const sha256: (bytes: string | Uint8Array) => string;
export interface Answer {
    bytes: Buffer;
}
/** One socket call as `source`; the caller's end is closed only if `half` says so. */
export declare function callSocket(path: string, descriptor: string, bytes: Uint8Array, options?: {
    halfClose?: boolean;
    chunk?: number;
}): Promise<Buffer>;
export declare class GpgHome {
    readonly folder: string;
    constructor(folder: string);
    gpg(args: string[], input?: string | Uint8Array): Buffer;
    /** @returns the fingerprint */
    makeKey(user: string): string;
    exported(fingerprint: string): Buffer;
    close(): void;
}
export interface Published {
    commit: string;
    raw: Buffer;
}
export interface CommitOptions {
    seq?: number;
    parents?: string[];
    /** undefined: the logs key; null: unsigned */
    signWith?: string | null;
    message?: string;
}
export declare class KeysMachine {
    #private;
    readonly root: string;
    readonly keysHome: GpgHome;
    readonly logsHome: GpgHome;
    readonly signingKey: string;
    readonly logsKey: string;
    readonly otherKey: string;
    config: Record<string, unknown>;
    /** commits so far, oldest first */
    readonly history: Published[];
    /** the newest commit that the agent accepted */
    believed: number;
    agentErrors: string;
    constructor(config?: Record<string, unknown>);
    /** For the agent's next start. */
    configure(changes: Record<string, unknown>): void;
    start(): Promise<void>;
    get agentPid(): number;
    kill(): Promise<void>;
    restart(): Promise<void>;
    close(): Promise<void>;
    /** A real commit object; it is not put into `history`. */
    makeCommit(files: readonly PublishedFile[], options?: CommitOptions): Published;
    publish(files: readonly PublishedFile[], options?: CommitOptions): Published;
    intent(payload: string | Uint8Array, changes?: Partial<Intent>): Intent;
    file(document: string, source?: string): PublishedFile;
    document(intents: readonly Intent[]): string;
    /** A receipt over everything since the last accepted one, all of it true. */
    receipt(documents: readonly string[], changes?: Partial<Receipt>): Receipt;
    sendRaw(bytes: Uint8Array, source?: string, argument?: string): Promise<string[]>;
    /** @returns the reply, and the journal entries that came with it */
    send(receipt: unknown): Promise<{
        reply: ReceiptReply;
        entries: JournalEntry[];
    }>;
    /** The whole honest way: publishes an intent for `payload` and has it granted. */
    grant(payload: string | Uint8Array, changes?: Partial<Intent>): Promise<void>;
    journal(): JournalEntry[];
    events(): string[];
}
