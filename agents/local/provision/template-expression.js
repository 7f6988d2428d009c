// SPDX-License-Identifier: GPL-2.0-or-later
// Expressions of the Jinja subset that both appliers render (decision 060). Anything that Jinja and
// this file might understand differently is an error here: a template that we render, Salt renders to the same bytes.
/** Jinja's StrictUndefined: may be asked `is defined`, or given a default; every other use is an error. */
export const undefinedValue = Symbol('undefined');
export class TemplateError extends Error {
    name = 'TemplateError';
}
/** Names that Jinja would find on Python's dict before it looks into the mapping. */
const dictMethods = new Set(['clear', 'copy', 'fromkeys', 'get', 'items', 'keys', 'pop', 'popitem', 'setdefault', 'update', 'values']);
const words = new Set(['and', 'or', 'not', 'in', 'is', 'if', 'else', 'for', 'true', 'false', 'none', 'defined']);
function isMapping(value) {
    return typeof value === 'object' && value !== null && !Array.isArray(value);
}
/** Truth as Python sees it: empty text, list and mapping are false. */
export function isTrue(value) {
    if (value === undefinedValue)
        throw new TemplateError('an undefined value is tested');
    if (Array.isArray(value))
        return value.length > 0;
    if (isMapping(value))
        return Object.keys(value).length > 0;
    return Boolean(value);
}
/** The entries of a mapping in the order of Jinja's dictsort: by key, without regard to case. Keys differ by more than case, or it throws. */
export function sortedEntries(value) {
    if (!isMapping(value))
        throw new TemplateError('dictsort needs a mapping');
    const entries = Object.entries(value).map(([name, content]) => ({ fold: name.toLowerCase(), entry: [name, content] }));
    if (new Set(entries.map(({ fold }) => fold)).size !== entries.length)
        throw new TemplateError('two names of a mapping differ by case only');
    return entries.sort((a, b) => (a.fold < b.fold ? -1 : 1)).map(({ entry }) => entry);
}
/** Plain texts, numbers, booleans and lists of them, as Python writes JSON: where Jinja would escape a character for HTML, it throws. */
function toJson(value) {
    if (Array.isArray(value))
        return `[${value.map(toJson).join(', ')}]`;
    if (typeof value === 'boolean' || Number.isInteger(value))
        return String(value);
    if (typeof value === 'string' && /^[\x20-\x7e]*$/.test(value) && !/["\\<>&']/.test(value))
        return `"${value}"`;
    throw new TemplateError('tojson needs plain text, whole numbers, booleans or lists of them');
}
function lookUp(container, name) {
    if (container === undefinedValue)
        throw new TemplateError(`${String(name)} is looked up in an undefined value`);
    if (isMapping(container) && typeof name === 'string')
        return Object.hasOwn(container, name) ? container[name] : undefinedValue;
    throw new TemplateError(`${String(name)} is looked up in what is no mapping`);
}
function contains(container, item) {
    if (Array.isArray(container))
        return container.includes(item);
    if (isMapping(container))
        return typeof item === 'string' && Object.hasOwn(container, item);
    throw new TemplateError('"in" needs a list or a mapping');
}
function tokens(source) {
    const found = [];
    const pattern = /\s*(?:([A-Za-z_][A-Za-z0-9_]*)|'([^'\\]*)'|([0-9]+)|(==|!=|[.|()[\],]))/gy;
    let end = 0;
    for (let match = pattern.exec(source); match !== null; match = pattern.exec(source)) {
        end = pattern.lastIndex;
        if (match[1] !== undefined)
            found.push({ kind: 'name', text: match[1] });
        else if (match[2] !== undefined)
            found.push({ kind: 'text', text: match[2] });
        else if (match[3] !== undefined)
            found.push({ kind: 'number', text: match[3] });
        else
            found.push({ kind: 'sign', text: match[4] });
    }
    if (source.slice(end).trim() !== '')
        throw new TemplateError(`not in the subset: ${source.trim()}`);
    return found;
}
/** One expression, read by recursive descent. `take` and `expect` are also used by the statements of template.ts. */
export class ExpressionReader {
    source;
    #tokens;
    #at = 0;
    constructor(source) {
        this.source = source;
        this.#tokens = tokens(source);
    }
    take(text) {
        const next = this.#tokens[this.#at];
        if (next === undefined || next.kind === 'text' || next.text !== text)
            return false;
        this.#at++;
        return true;
    }
    expect(text) {
        if (!this.take(text))
            throw this.#wrong(`"${text}" expected`);
    }
    expectName() {
        const next = this.#tokens[this.#at++];
        if (next?.kind !== 'name' || words.has(next.text))
            throw this.#wrong('a name expected');
        return next.text;
    }
    expectEnd() {
        if (this.#at !== this.#tokens.length)
            throw this.#wrong('more than one expression');
    }
    /** or < and < not < comparison < filters < lookups */
    or() {
        let left = this.#and();
        while (this.take('or')) {
            const [first, second] = [left, this.#and()];
            left = (scope) => isTrue(first(scope)) || isTrue(second(scope));
        }
        return left;
    }
    #and() {
        let left = this.#not();
        while (this.take('and')) {
            const [first, second] = [left, this.#not()];
            left = (scope) => isTrue(first(scope)) && isTrue(second(scope));
        }
        return left;
    }
    #not() {
        if (!this.take('not'))
            return this.#comparison();
        const inner = this.#not();
        return (scope) => !isTrue(inner(scope));
    }
    #comparison() {
        const left = this.filtered();
        if (this.take('is')) {
            const negated = this.take('not');
            this.expect('defined');
            return (scope) => (left(scope) === undefinedValue) === negated;
        }
        if (this.take('in')) {
            const right = this.filtered();
            return (scope) => contains(right(scope), left(scope));
        }
        const equal = this.take('==');
        if (!equal && !this.take('!='))
            return left;
        const right = this.filtered();
        return (scope) => {
            const pair = [left(scope), right(scope)];
            if (pair.some((value) => value === undefinedValue || typeof value === 'object'))
                throw this.#wrong('only text, numbers and booleans are compared');
            if (typeof pair[0] !== typeof pair[1])
                throw this.#wrong('values of two types are compared');
            return (pair[0] === pair[1]) === equal;
        };
    }
    filtered() {
        let value = this.#primary();
        while (this.take('|')) {
            const inner = value;
            const filter = this.expectName();
            if (filter === 'dictsort') {
                value = (scope) => sortedEntries(inner(scope));
            }
            else if (filter === 'default') {
                this.expect('(');
                const otherwise = this.or();
                this.expect(')');
                value = (scope) => {
                    const given = inner(scope);
                    return given === undefinedValue ? otherwise(scope) : given;
                };
            }
            else if (filter === 'tojson') {
                value = (scope) => toJson(inner(scope));
            }
            else {
                throw this.#wrong(`the filter ${filter} is not in the subset`);
            }
        }
        return value;
    }
    #primary() {
        const first = this.#tokens[this.#at++];
        if (first === undefined)
            throw this.#wrong('an expression expected');
        if (first.kind === 'text')
            return () => first.text;
        if (first.kind === 'number')
            return () => Number(first.text);
        if (first.kind !== 'name' || (words.has(first.text)))
            throw this.#wrong(`"${first.text}" is not in the subset here`);
        let value = (scope) => scope.get(first.text) ?? (scope.has(first.text) ? null : undefinedValue);
        for (;;) {
            const container = value;
            if (this.take('.')) {
                const name = this.expectName();
                if (dictMethods.has(name))
                    throw this.#wrong(`.${name} means a method of Python's dict; write ['${name}']`);
                value = (scope) => lookUp(container(scope), name);
            }
            else if (this.take('[')) {
                const index = this.or();
                this.expect(']');
                value = (scope) => {
                    const name = index(scope);
                    if (typeof name !== 'string')
                        throw this.#wrong('a lookup needs a name');
                    return lookUp(container(scope), name);
                };
            }
            else {
                return value;
            }
        }
    }
    #wrong(why) {
        return new TemplateError(`${why}: ${this.source.trim()}`);
    }
}
