import { type Value } from './template-expression.js';
export { TemplateError, type Value } from './template-expression.js';
/** @throws TemplateError with the line, for everything that is not in the subset or not defined. */
export declare function render(template: string, values: {
    [name: string]: Value;
}): string;
