// SPDX-License-Identifier: GPL-2.0-or-later
// Renders the subset of Jinja that every template under salt/ and qrexec-services/ keeps to: {{ value }}, {% for %}, {% if %}, {# #}, and "-" to
// take away white space. Same bytes as Jinja2 with StrictUndefined and keep_trailing_newline, which is how Salt renders a managed file.
import { ExpressionReader, isTrue, TemplateError, undefinedValue } from './template-expression.js';
export { TemplateError } from './template-expression.js';
/** Cuts a template into text, {{ }} and {% %}; comments go, and "-" takes the white space beside it, newlines too. */
function parts(template) {
    const found = [];
    const pattern = /\{([{%#])(-?)([\s\S]*?)(-?)([}%#])\}/g;
    const closing = { '{': '}', '%': '%', '#': '#' };
    let at = 0;
    let stripNext = false;
    const text = (until, stripEnd) => {
        let piece = template.slice(at, until);
        if (stripNext)
            piece = piece.trimStart();
        if (stripEnd)
            piece = piece.trimEnd();
        if (piece !== '')
            found.push({ kind: 'text', text: piece, line: 0 });
    };
    for (let match = pattern.exec(template); match !== null; match = pattern.exec(template)) {
        const line = template.slice(0, match.index).split('\n').length;
        const [whole, open, stripBefore, body, stripAfter, close] = match;
        if (closing[open] !== close)
            throw new TemplateError(`line ${line}: ${whole.slice(0, 60)} is not closed as it was opened`);
        text(match.index, stripBefore === '-');
        if (open !== '#')
            found.push({ kind: open === '{' ? 'print' : 'statement', text: body, line });
        at = match.index + whole.length;
        stripNext = stripAfter === '-';
    }
    text(template.length, false);
    for (const piece of found) {
        if (piece.kind === 'text' && /\{[{%#]|[%#]\}/.test(piece.text))
            throw new TemplateError('a template holds an unfinished mark');
    }
    return found;
}
/** Only text and whole numbers are printed: Python and JavaScript spell everything else differently. */
function printed(value) {
    if (value === undefinedValue)
        throw new TemplateError('an undefined value is printed');
    if (typeof value === 'string')
        return value;
    if (typeof value === 'number' && Number.isSafeInteger(value))
        return String(value);
    throw new TemplateError(`a ${value === null ? 'null' : typeof value} is printed`);
}
class TemplateReader {
    pieces;
    #at = 0;
    constructor(pieces) {
        this.pieces = pieces;
    }
    /** Reads nodes until one of the closing words, which it returns. */
    block(...ends) {
        const nodes = [];
        for (; this.#at < this.pieces.length;) {
            const part = this.pieces[this.#at++];
            if (part.kind === 'text') {
                nodes.push(() => part.text);
                continue;
            }
            try {
                if (part.kind === 'print') {
                    nodes.push(print(part));
                    continue;
                }
                const word = part.text.trim().split(/\s/)[0];
                if (ends.includes(word))
                    return { node: (scope) => nodes.map((node) => node(scope)).join(''), end: part.text };
                if (word === 'for')
                    nodes.push(this.#loop(part.text));
                else if (word === 'if')
                    nodes.push(this.#choice(part.text, 'if'));
                else
                    throw new TemplateError(`{% ${part.text.trim()} %} is not in the subset, or closes nothing`);
            }
            catch (error) {
                throw error instanceof TemplateError && !error.message.startsWith('line ') ? new TemplateError(`line ${part.line}: ${error.message}`) : error;
            }
        }
        if (ends.length > 0)
            throw new TemplateError(`${ends.join(' or ')} is missing`);
        return { node: (scope) => nodes.map((node) => node(scope)).join(''), end: '' };
    }
    /** for NAME in LIST, or for NAME, NAME in MAPPING|dictsort; a trailing "if" leaves entries out before the loop counts. */
    #loop(statement) {
        const reader = new ExpressionReader(statement);
        reader.expect('for');
        const names = [reader.expectName()];
        if (reader.take(','))
            names.push(reader.expectName());
        reader.expect('in');
        const list = reader.filtered();
        const wanted = reader.take('if') ? reader.or() : undefined;
        reader.expectEnd();
        const { node: body } = this.block('endfor');
        return (scope) => {
            const values = list(scope);
            if (!Array.isArray(values))
                throw new TemplateError(`a loop needs a list: ${statement.trim()}`);
            const scopes = values.map((value) => bind(scope, names, value)).filter((inner) => wanted === undefined || isTrue(wanted(inner)));
            return scopes.map((inner, index) => {
                const loop = { first: index === 0, last: index === scopes.length - 1 };
                return body(new Map([...inner, ['loop', loop]]));
            }).join('');
        };
    }
    #choice(statement, word) {
        const reader = new ExpressionReader(statement.trim().replace(/^elif\b/, 'if'));
        reader.expect('if');
        const condition = reader.or();
        reader.expectEnd();
        const { node: yes, end } = this.block('elif', 'else', 'endif');
        let no = () => '';
        if (end.trim().startsWith('elif'))
            no = this.#choice(end, word);
        else if (end.trim() === 'else')
            no = this.block('endif').node;
        return (scope) => (isTrue(condition(scope)) ? yes(scope) : no(scope));
    }
}
function print(part) {
    const reader = new ExpressionReader(part.text);
    const value = reader.or();
    reader.expectEnd();
    return (scope) => {
        try {
            return printed(value(scope));
        }
        catch (error) {
            throw error instanceof TemplateError ? new TemplateError(`line ${part.line}: {{${part.text}}}: ${error.message}`) : error;
        }
    };
}
function bind(scope, names, value) {
    if (names.length === 1)
        return new Map([...scope, [names[0], value]]);
    if (!Array.isArray(value) || value.length !== names.length)
        throw new TemplateError(`a loop over ${names.join(', ')} needs pairs`);
    return new Map([...scope, ...names.map((name, index) => [name, value[index]])]);
}
/** @throws TemplateError with the line, for everything that is not in the subset or not defined. */
export function render(template, values) {
    if (template.includes('\r'))
        throw new TemplateError('a template holds a carriage return');
    const { node } = new TemplateReader(parts(template)).block();
    return node(new Map(Object.entries(values)));
}
