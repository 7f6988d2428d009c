// SPDX-License-Identifier: GPL-2.0-or-later
// A GitHub to test against: keeps issues, labels and comments, holds every request against GitHub's published
// description, and misbehaves when asked to. Whoever uses it asserts at the end that `violations` is empty.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { descriptionOf, type MatchedOperation } from './description.js';
import {
  commentAnswer,
  issueAnswer,
  labelOf,
  Store,
  type StoredComment,
  type StoredIssue,
  type StoredRepository,
} from './store.js';

/** `after` ones have done the work before they fail. */
export type Misbehaviour =
  | { kind: 'too-many'; retryAfter?: number }
  | { kind: 'secondary-limit'; retryAfter?: number }
  | { kind: 'primary-limit'; resetInSeconds: number }
  | { kind: 'status'; status: number; message?: string }
  /** word for word; a body that is no string is sent as JSON */
  | { kind: 'says'; status: number; body?: unknown; headers?: Record<string, string> }
  | { kind: 'bad-gateway'; after?: boolean }
  | { kind: 'drop'; after?: boolean }
  | { kind: 'late'; requests: number }
  | { kind: 'slow'; ms: number }
  | { kind: 'twice' }
  | { kind: 'redirect'; to: string }
  | { kind: 'answer'; contentType: string; body: string }
  | { kind: 'endless' };

export interface Planned {
  /** of the requests that this is for; all when left out */
  method?: string;
  path?: RegExp;
  /** how often; 1 when left out */
  times?: number;
  how: Misbehaviour;
}

export interface GitHubServerOptions {
  token: string;
  /** the account of the token */
  account: string;
  /** before every path: '' as api.github.com, '/api/v3' as GitHub Enterprise */
  prefix?: string;
  port?: number;
  host?: string;
  /** PEM; and the name that the certificate is for */
  tls?: { key: string; cert: string; name: string };
  now?: () => Date;
  /** Called when a request has been worked on and before its answer leaves: where a test ends the client. */
  onWorked?: (method: string, path: string) => void;
}

interface Result {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}

const pageLimit = 100;
const no = (status: number, message: string): Result => ({
  status,
  body: { message, documentation_url: 'https://docs.github.com/rest', status: String(status) },
});

export class GitHubServer {
  readonly store = new Store();
  readonly violations: string[] = [];
  readonly requests: { method: string; path: string; status: number; at: Date; body: unknown }[] = [];
  /** for so many further requests a thing that was made is in no list: GitHub's replicas */
  lag = 0;
  /** fails every request until set back: an outage */
  down: Misbehaviour | undefined;
  readonly #options: GitHubServerOptions;
  readonly #server: Server;
  readonly #planned: (Planned & { left: number })[] = [];
  readonly #late: { from: number; work: () => void }[] = [];
  readonly #descriptions = [descriptionOf('api.github.com'), descriptionOf('ghes-3.17')] as const;

  private constructor(options: GitHubServerOptions) {
    this.#options = options;
    const serve = (request: IncomingMessage, response: ServerResponse): void => {
      this.#serve(request, response).catch((error: unknown) => {
        this.violations.push(`fault of the test server: ${String((error as Error).stack)}`);
        response.destroy();
      });
    };
    this.#server =
      options.tls === undefined
        ? createServer(serve)
        : createTlsServer({ key: options.tls.key, cert: options.tls.cert }, serve);
  }

  static async start(options: GitHubServerOptions): Promise<GitHubServer> {
    const server = new GitHubServer(options);
    await new Promise<void>((resolve) =>
      server.#server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve),
    );
    return server;
  }

  get origin(): string {
    const { tls } = this.#options;
    return `${tls === undefined ? 'http://127.0.0.1' : `https://${tls.name}`}:${this.port}`;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.origin}${this.#options.prefix ?? ''}`;
  }

  plan(...planned: Planned[]): void {
    this.#planned.push(...planned.map((one) => ({ ...one, left: one.times ?? 1 })));
  }

  get stillPlanned(): number {
    return this.#planned.filter((one) => one.left > 0).length;
  }

  repository(name: string): StoredRepository {
    return this.store.repositories.get(name.toLowerCase()) ?? this.store.add(name);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #now(): Date {
    return this.#options.now?.() ?? new Date();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const text = Buffer.concat(parts).toString('utf8');
    const url = new URL(request.url ?? '/', this.origin);
    const method = request.method ?? 'GET';
    let body: unknown;
    try {
      body = text === '' ? undefined : JSON.parse(text);
    } catch {
      this.violations.push(`${method} ${url.pathname}: the body is not JSON`);
    }
    const seen = { method, path: url.pathname, status: 0, at: this.#now(), body };
    this.requests.push(seen);
    for (const late of this.#late.splice(0)) {
      if (this.requests.length >= late.from) late.work();
      else this.#late.push(late);
    }
    const planned = this.#planned.find(
      (one) =>
        one.left > 0 &&
        (one.method === undefined || one.method === method) &&
        (one.path === undefined || one.path.test(url.pathname)),
    );
    if (planned !== undefined) planned.left -= 1;
    const how = this.down ?? planned?.how;
    const before = how === undefined ? undefined : this.#fails(how);
    if (before === 'drop') return void request.socket.destroy();
    if (how?.kind === 'late') {
      this.#late.push({
        from: this.requests.length + how.requests,
        work: () => void this.#answer(method, url, body, request),
      });
      return void request.socket.destroy();
    }
    if (how?.kind === 'endless') return this.#endless(response);
    const result = before ?? this.#answer(method, url, body, request);
    seen.status = result.status;
    if (before === undefined) {
      if (how?.kind === 'twice') this.#answer(method, url, body, request);
      this.#options.onWorked?.(method, url.pathname);
      if (how?.kind === 'slow') await new Promise((resolve) => setTimeout(resolve, how.ms).unref());
      if (how?.kind === 'drop') return void request.socket.destroy();
      if (how?.kind === 'bad-gateway')
        return this.#send(response, {
          status: 502,
          body: '<html>Bad Gateway</html>',
          headers: { 'content-type': 'text/html' },
        });
      if (how?.kind === 'answer')
        return this.#send(response, {
          status: result.status,
          body: how.body,
          headers: { 'content-type': how.contentType },
        });
    }
    this.#send(response, result);
  }

  #send(response: ServerResponse, { status, body, headers }: Result): void {
    const text = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body);
    response.writeHead(status, {
      'content-type': 'application/json; charset=utf-8',
      date: this.#now().toUTCString(),
      'x-ratelimit-limit': '5000',
      'x-ratelimit-remaining': '4000',
      'x-github-request-id': 'TEST:1',
      ...headers,
    });
    response.end(text);
  }

  #endless(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/json' });
    const more = (): void => {
      if (!response.destroyed) response.write(' '.repeat(65_536), () => setImmediate(more));
    };
    more();
  }

  /** What fails before any work is done. */
  #fails(how: Misbehaviour): Result | 'drop' | undefined {
    const after = (seconds: number | undefined): Record<string, string> =>
      seconds === undefined ? {} : { 'retry-after': String(seconds) };
    switch (how.kind) {
      case 'too-many':
        return { ...no(429, 'Too Many Requests'), headers: after(how.retryAfter) };
      case 'secondary-limit':
        return {
          ...no(
            403,
            'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.',
          ),
          headers: after(how.retryAfter),
        };
      case 'primary-limit':
        return {
          ...no(403, 'API rate limit exceeded'),
          headers: {
            'x-ratelimit-remaining': '0',
            'x-ratelimit-reset': String(Math.ceil(this.#now().getTime() / 1000) + how.resetInSeconds),
          },
        };
      case 'status':
        return no(how.status, how.message ?? 'no');
      case 'says':
        return {
          status: how.status,
          body: how.body,
          headers: {
            ...(typeof how.body === 'string' ? { 'content-type': 'text/html' } : {}),
            ...how.headers,
          },
        };
      case 'bad-gateway':
        return how.after === true
          ? undefined
          : { status: 502, body: '<html>Bad Gateway</html>', headers: { 'content-type': 'text/html' } };
      case 'drop':
        return how.after === true ? undefined : 'drop';
      case 'redirect':
        return { ...no(307, 'Temporary Redirect'), headers: { location: how.to } };
      case 'late':
      case 'slow':
      case 'twice':
      case 'answer':
      case 'endless':
        return undefined;
    }
  }

  #answer(method: string, url: URL, body: unknown, request: IncomingMessage): Result {
    const violation = (text: string): Result => {
      this.violations.push(`${method} ${url.pathname}${url.search}: ${text}`);
      return no(400, text);
    };
    const prefix = this.#options.prefix ?? '';
    if (!url.pathname.startsWith(`${prefix}/`)) return violation('the path is not below the API');
    const path = url.pathname.slice(prefix.length);
    if ((request.headers['user-agent'] ?? '') === '') return violation('no User-Agent');
    if (request.headers.accept !== 'application/vnd.github+json')
      return violation('Accept is not as documented');
    if (body !== undefined && !/^application\/json\b/.test(request.headers['content-type'] ?? ''))
      return violation('the body is not declared as JSON');
    const [cloud, enterprise] = this.#descriptions.map((description) =>
      description.match(method, path, url.searchParams, body),
    ) as [MatchedOperation | undefined, MatchedOperation | undefined];
    if (cloud === undefined || enterprise === undefined)
      return violation('the description knows no such call');
    const violations = [
      ...cloud.violations,
      ...enterprise.violations.map((text) => `GitHub Enterprise: ${text}`),
    ];
    if (violations.length > 0) return violation(violations.join(' | '));
    const isAnybodys = method === 'GET' && request.headers.authorization === undefined;
    if (!isAnybodys && request.headers.authorization !== `Bearer ${this.#options.token}`)
      return no(401, 'Bad credentials');
    const result = this.#do(
      `${method} ${cloud.template}`,
      cloud.path,
      cloud.query,
      (body ?? {}) as Record<string, unknown>,
    );
    this.violations.push(...cloud.checkAnswer(result.status, result.body));
    return result;
  }

  #do(
    call: string,
    path: Record<string, string>,
    query: Record<string, string>,
    body: Record<string, unknown>,
  ): Result {
    if (call === 'GET /search/issues') return this.#search(query['q'] ?? '');
    const repository = this.store.repositories.get(
      `${path['owner'] ?? ''}/${path['repo'] ?? ''}`.toLowerCase(),
    );
    if (repository === undefined) return no(404, 'Not Found');
    const web = this.origin;
    const api = this.url;
    if (call === 'GET /repos/{owner}/{repo}/issues')
      return this.#page(
        this.#visible(repository.issues)
          .toSorted((a, b) => b.number - a.number)
          .filter((issue) => query['state'] === 'all' || issue.state === (query['state'] ?? 'open')),
        query,
        (issue) => issueAnswer(repository, issue, web, api),
      );
    if (call === 'POST /repos/{owner}/{repo}/issues')
      return this.#createIssue(repository, body as { title: string; body?: string; labels?: string[] });
    if (call === 'GET /repos/{owner}/{repo}/issues/comments') return this.#allComments(repository, query);
    const number = Number(path['issue_number']);
    const issue = repository.issues.find((one) => one.number === number);
    if (repository.gone.has(number)) return no(410, 'This issue was deleted');
    if (repository.moved.has(number))
      return { ...no(301, 'Moved Permanently'), headers: { location: `${api}/repositories/1/issues/1` } };
    if (issue === undefined) return no(404, 'Not Found');
    switch (call) {
      case 'GET /repos/{owner}/{repo}/issues/{issue_number}':
        return { status: 200, body: issueAnswer(repository, issue, web, api) };
      case 'PATCH /repos/{owner}/{repo}/issues/{issue_number}':
        return this.#change(repository, issue, body);
      case 'GET /repos/{owner}/{repo}/issues/{issue_number}/comments':
        return this.#page(
          this.#visible(issue.comments).filter(
            (comment) => query['since'] === undefined || comment.at >= query['since'],
          ),
          query,
          (comment) => commentAnswer(repository, issue, comment, web, api),
        );
      case 'POST /repos/{owner}/{repo}/issues/{issue_number}/comments':
        return this.#comment(repository, issue, String(body['body']));
      case 'POST /repos/{owner}/{repo}/issues/{issue_number}/labels':
        return this.#addLabels(repository, issue, body['labels'] as string[]);
      case 'DELETE /repos/{owner}/{repo}/issues/{issue_number}/labels/{name}':
        return this.#removeLabel(repository, issue, path['name'] ?? '');
      default:
        return no(404, 'the test server does not do this');
    }
  }

  #allComments(repository: StoredRepository, query: Record<string, string>): Result {
    const changed = (comment: StoredComment): number => Date.parse(comment.edited ?? comment.at);
    const all = repository.issues
      .flatMap((issue) => this.#visible(issue.comments).map((comment) => ({ issue, comment })))
      .filter(({ comment }) => changed(comment) >= Date.parse(query['since'] ?? '1970-01-01'));
    const timeOf =
      query['sort'] === 'updated' ? changed : (comment: StoredComment): number => Date.parse(comment.at);
    const sorted =
      query['sort'] === undefined
        ? all
        : all.toSorted((a, b) => timeOf(a.comment) - timeOf(b.comment) || a.comment.id - b.comment.id);
    return this.#page(
      query['direction'] === 'desc' ? sorted.toReversed() : sorted,
      query,
      ({ issue, comment }) => commentAnswer(repository, issue, comment, this.origin, this.url),
    );
  }

  #visible<T extends { visibleFrom: number }>(all: readonly T[]): T[] {
    return all.filter((one) => one.visibleFrom <= this.requests.length);
  }

  #page<T>(all: readonly T[], query: Record<string, string>, show: (one: T) => object): Result {
    const size = Math.min(Number(query['per_page'] ?? 30), pageLimit);
    const page = Number(query['page'] ?? 1);
    const more = all.length > page * size;
    return {
      status: 200,
      body: all.slice((page - 1) * size, page * size).map(show),
      headers: more
        ? { link: `<${this.url}/next?page=${page + 1}>; rel="next", <${this.url}/last>; rel="last"` }
        : {},
    };
  }

  #search(q: string): Result {
    const repository = this.store.repositories.get((/repo:(\S+)/.exec(q)?.[1] ?? '').toLowerCase());
    const words = /"([^"]*)"/.exec(q)?.[1] ?? '';
    const found =
      repository === undefined
        ? []
        : this.#visible(repository.issues).filter((issue) => issue.title.includes(words));
    return {
      status: 200,
      body: {
        total_count: found.length,
        incomplete_results: false,
        search_type: 'lexical',
        items: found
          .slice(0, pageLimit)
          .map((issue) => ({
            ...issueAnswer(repository as StoredRepository, issue, this.origin, this.url),
            score: 1,
          })),
      },
    };
  }

  #createIssue(
    repository: StoredRepository,
    { title, body, labels }: { title: string; body?: string; labels?: string[] },
  ): Result {
    if (repository.access === 'read') return no(403, 'Resource not accessible by personal access token');
    if (
      title.length > 256 ||
      (body ?? '').length > 65_536 ||
      (labels ?? []).some((label) => label.length > 50)
    )
      return no(422, 'Validation Failed');
    const issue = this.store.addIssue(repository, {
      title,
      body: body ?? '',
      author: this.#options.account,
      labels: repository.access === 'write' ? (labels ?? []) : [],
      visibleFrom: this.requests.length + this.lag,
      at: this.#now().toISOString(),
    });
    return { status: 201, body: issueAnswer(repository, issue, this.origin, this.url) };
  }

  #change(
    repository: StoredRepository,
    issue: StoredIssue,
    change: { body?: string; state?: 'open' | 'closed'; state_reason?: string },
  ): Result {
    if (repository.access === 'read') return no(403, 'Resource not accessible by personal access token');
    if ((change.body ?? '').length > 65_536) return no(422, 'Validation Failed');
    if (change.body !== undefined) issue.body = change.body;
    if (change.state !== undefined) issue.state = change.state;
    if (change.state_reason !== undefined) issue.stateReason = change.state_reason;
    return { status: 200, body: issueAnswer(repository, issue, this.origin, this.url) };
  }

  #comment(repository: StoredRepository, issue: StoredIssue, body: string): Result {
    if (repository.access === 'read') return no(403, 'Resource not accessible by personal access token');
    if (issue.locked) return no(403, 'Unable to create comment because issue is locked.');
    if (body.length > 65_536 || body === '') return no(422, 'Validation Failed');
    const comment = this.store.addComment(issue, {
      author: this.#options.account,
      body,
      visibleFrom: this.requests.length + this.lag,
      at: this.#now().toISOString(),
    });
    return { status: 201, body: commentAnswer(repository, issue, comment, this.origin, this.url) };
  }

  #addLabels(repository: StoredRepository, issue: StoredIssue, labels: string[]): Result {
    if (repository.access !== 'write') return no(403, 'Must have push access to repository.');
    if (labels.some((label) => label.length > 50)) return no(422, 'Validation Failed');
    issue.labels = [...new Set([...issue.labels, ...labels])];
    return { status: 200, body: issue.labels.map((name) => labelOf(repository, name, this.url)) };
  }

  #removeLabel(repository: StoredRepository, issue: StoredIssue, label: string): Result {
    if (repository.access !== 'write') return no(403, 'Must have push access to repository.');
    if (!issue.labels.includes(label)) return no(404, 'Label does not exist');
    issue.labels = issue.labels.filter((one) => one !== label);
    return { status: 200, body: issue.labels.map((name) => labelOf(repository, name, this.url)) };
  }
}
