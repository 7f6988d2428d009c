export type Value = string | number | boolean | null | Value[] | {
    [name: string]: Value;
};
/** Values by name; loops add theirs in front. */
export type Scope = ReadonlyMap<string, Value>;
/** Jinja's StrictUndefined: may be asked `is defined`, or given a default; every other use is an error. */
export declare const undefinedValue: unique symbol;
export type Result = Value | typeof undefinedValue;
export type Expression = (scope: Scope) => Result;
export declare class TemplateError extends Error {
    readonly name = "TemplateError";
}
/** Truth as Python sees it: empty text, list and mapping are false. */
export declare function isTrue(value: Result): boolean;
/** The entries of a mapping in the order of Jinja's dictsort: by key, without regard to case. Keys differ by more than case, or it throws. */
export declare function sortedEntries(value: Result): Value[];
/** One expression, read by recursive descent. `take` and `expect` are also used by the statements of template.ts. */
export declare class ExpressionReader {
    #private;
    private readonly source;
    constructor(source: string);
    take(text: string): boolean;
    expect(text: string): void;
    expectName(): string;
    expectEnd(): void;
    /** or < and < not < comparison < filters < lookups */
    or(): Expression;
    filtered(): Expression;
}
