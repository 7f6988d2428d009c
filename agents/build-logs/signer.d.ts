export interface Signer {
    /** an armored detached signature */
    sign(bytes: Buffer): Promise<string>;
    /** the logs key's public half, armored */
    publicKey(): Promise<string>;
    verifies(bytes: Buffer, signature: string): Promise<boolean>;
}
export declare function gpgSigner(home: string, key: string): Signer;
