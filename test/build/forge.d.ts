export interface TestKey {
    name: string;
    fingerprint: string;
    armored: string;
}
export declare class Keys {
    readonly home: string;
    gpg(args: string[], input?: string | Buffer): Buffer;
    make(name: string, expire?: string): TestKey;
    exported(name: string): TestKey;
    sign(by: readonly TestKey[], data: string): string;
    end(): void;
}
export interface TreeFile {
    path: string;
    content?: string;
    mode?: string;
    /** an object's id in place of content */
    id?: string;
}
export declare function tinyPackage(version: string, extra?: TreeFile[], rules?: string): TreeFile[];
export declare const tinyRules = "#!/usr/bin/make -f\nclean:\nbuild build-arch build-indep:\n\t@echo building as $$(id -u)\nbinary: binary-indep binary-arch\nbinary-arch:\nbinary-indep: build\n\tmkdir -p debian/hello-tiny/DEBIAN debian/hello-tiny/usr/bin\n\tcp hello-tiny.sh debian/hello-tiny/usr/bin/hello-tiny\n\tdpkg-gencontrol -phello-tiny -Pdebian/hello-tiny\n\tdpkg-deb --root-owner-group --build debian/hello-tiny ..\n.PHONY: clean build build-arch build-indep binary binary-arch binary-indep\n";
export declare class Forge {
    #private;
    readonly folder: string;
    port: number;
    start(): Promise<void>;
    /** Calls are taken and not answered until resume(). */
    pause(): void;
    resume(): void;
    end(): void;
    url(name: string): string;
    remove(name: string): void;
    create(name: string): TestRepository;
}
export declare class TestRepository {
    folder: string;
    constructor(folder: string);
    /** Away from its address, or back. */
    moveTo(folder: string): void;
    git(args: string[], input?: string | Buffer): string;
    blob(content: string): string;
    /** A tree object from raw entries: git's own tools would refuse the bad ones. */
    rawTree(entries: {
        mode: string;
        name: string;
        id: string;
    }[]): string;
    tree(files: readonly TreeFile[]): string;
    commit(tree: string): string;
    tagText(name: string, commit: string, headers?: string): string;
    tagObject(body: string): string;
    ref(tag: string, object: string): void;
    /** A commit of these files under a signed annotated tag. */
    release(keys: Keys, by: readonly TestKey[], tag: string, files: readonly TreeFile[]): {
        commit: string;
        object: string;
    };
}
export declare function writeKeys(folder: string, keys: readonly TestKey[]): void;
