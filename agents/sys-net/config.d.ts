/** A host as local.ConnectSSH's argument names it: lower case, dots and dashes inside only. */
export declare const hostPattern = "^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$";
export interface SysNetConfig {
    format: 'build-infra/sys-net-config@1';
    vm: string;
    /** absent, with the two below: this VM receives no webhooks */
    webhook?: {
        socket: string;
        bodyBytes: number;
    };
    repositories?: {
        fullName: string;
        component: string;
        tag: string;
    }[];
    buildVms?: string[];
    /** absent: this VM connects no ssh */
    sshHosts?: {
        host: string;
        address: string;
        port: number;
    }[];
}
/** A configuration of a VM that receives webhooks. */
export type WebhookConfig = SysNetConfig & Required<Pick<SysNetConfig, 'webhook' | 'repositories' | 'buildVms'>>;
/** A configuration of a VM that connects ssh. */
export type SshConfig = SysNetConfig & Required<Pick<SysNetConfig, 'sshHosts'>>;
export declare const receivesWebhooks: (config: SysNetConfig) => config is WebhookConfig;
export declare const connectsSsh: (config: SysNetConfig) => config is SshConfig;
/** @throws Refusal TOO_LARGE, NOT_UTF8, NOT_JSON, BAD_DOCUMENT */
export declare function readConfig(bytes: Uint8Array): SysNetConfig;
/**
 * The secret that GitHub shares with us: 32 to 256 printable ASCII characters without blanks, then at most one newline, which does
 * not belong to it. The file must be closed to group and others.
 * @throws Refusal NO_SECRET, SECRET_EXPOSED, BAD_SECRET; no message holds any of it
 */
export declare function readSecret(path: string): Buffer;
