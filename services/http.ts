// The HTTP server that every service stands on: validation, request ids, problem+json errors, health, metrics.
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type {} from '@fastify/swagger';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import Fastify, { type FastifyError, type FastifyReply, type FastifyRequest, LogController } from 'fastify';
import { Gauge } from 'prom-client';
import { answerClientError } from './client-errors.ts';
import type { Logger } from './logging.ts';
import type { HttpMetrics } from './metrics.ts';
import { Problem, type ProblemName } from './problems.ts';
import { lazyCompilation } from './schemas.ts';
import { SlowClients } from './slow-clients.ts';
import type { Tls } from './tls.ts';

export type Server = Awaited<ReturnType<typeof createServer>>;
export type { FastifyReply, FastifyRequest };

/** Which requests are logged: the setting CISTERN_LOG_REQUESTS. */
export type LogRequests = 'all' | 'slow' | 'none';

export interface ServerOptions {
  log: Logger;
  metrics: HttpMetrics;
  logRequests: LogRequests;
  /** Largest JSON body in bytes. Bodies that a route streams itself are bounded by the route. */
  jsonLimit?: number;
  /** Seconds that the head of a request may take before it ends with 408. */
  headSeconds?: number;
  /** Seconds that a body may stand still before the request ends with 408. */
  idleSeconds?: number;
  /** Listens with its certificate, if it has one. */
  tls?: Tls;
  /** What `/readyz` asks: undefined when ready, else a sentence that says why not. */
  ready: () => Promise<string | undefined> | string | undefined;
}

const SLOW_MS = 1_000;
const LINGER_BYTES = 8 * 1024 * 1024;

/** Makes the server; the caller registers routes and listens. `/healthz`, `/readyz` and `/metrics` are there. */
export function createServer(options: ServerOptions) {
  const { log, metrics, tls } = options;
  const https = tls?.listener();
  const headMs = (options.headSeconds ?? 20) * 1000;
  // Node looks for heads that are late only so often; its own 30 seconds would more than double what they may take.
  const how = { connectionsCheckingInterval: Math.min(1000, headMs / 4) };
  const server = Fastify({
    // An https.Server has all that is used of an http.Server; Fastify's types keep them apart.
    ...((https === undefined ? { http: how } : { https: { ...https, ...how } }) as object),
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: options.jsonLimit ?? 1024 * 1024,
    // A body may take as long as it needs while it moves; SlowClients ends those that do not.
    requestTimeout: 0,
    connectionTimeout: 0,
    keepAliveTimeout: 75_000,
    forceCloseConnections: 'idle',
    // What still comes on a connection that is open when the closing begins is served; then that connection is closed.
    return503OnClosing: false,
    genReqId: requestId,
    routerOptions: { maxParamLength: 8192 },
    schemaController: lazyCompilation,
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true, allErrors: false } },
    // A URL that cannot be routed never comes to the hooks below.
    frameworkErrors: (error, request, reply) => {
      discardRest(request.raw);
      reply.header('x-request-id', request.id);
      sendProblem(reply as unknown as FastifyReply, asProblem(error));
    },
    clientErrorHandler: answerClientError,
  }).withTypeProvider<TypeBoxTypeProvider>();
  server.server.headersTimeout = headMs;
  measureCertificate(metrics, tls);
  tls?.watch(server.server);

  server.setErrorHandler((error: FastifyError, request, reply) => {
    const problem = asProblem(error);
    if (problem.problem === 'internal') request.log.error({ err: error }, 'internal error');
    discardRest(request.raw);
    sendProblem(reply, problem);
  });
  server.setNotFoundHandler((request, reply) => {
    sendProblem(
      reply,
      new Problem('not-found', `There is nothing at ${request.method} ${pathOf(request.raw)}.`),
    );
  });

  const slow = new SlowClients(options.idleSeconds ?? 30);
  // A connection that was busy when the closing began falls idle later, and would then be waited for.
  let hangUp: NodeJS.Timeout | undefined;
  server.addHook('preClose', async () => {
    hangUp = setInterval(() => server.server.closeIdleConnections(), 50);
  });
  server.addHook('onClose', async () => {
    clearInterval(hangUp);
    slow.close();
    tls?.close();
  });
  // Hooks of every request call back: a promise for each would cost more than what they do.
  server.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id);
    if (hasBody(request.raw)) slow.watch(request.raw, reply);
    account(request, reply, options);
    done();
  });
  server.get('/healthz', { schema: { hide: true } }, async () => ({ status: 'alive' }));
  server.get('/readyz', { schema: { hide: true } }, async (_request, reply) => {
    const why = await options.ready();
    if (why === undefined) return { status: 'ready' };
    return reply.code(503).header('retry-after', '2').send({ status: 'not ready', why });
  });
  server.get('/metrics', { schema: { hide: true } }, async (_request, reply) => {
    reply.type(metrics.registry.contentType);
    return metrics.registry.metrics();
  });
  return server;
}

/**
 * Counts and logs a request when its answer has ended, also if the client broke it off: of that, Fastify's own hook
 * onResponse says nothing.
 */
function account(
  request: FastifyRequest,
  reply: FastifyReply,
  { metrics, logRequests }: ServerOptions,
): void {
  const began = performance.now();
  reply.raw.once('close', () => {
    const ms = performance.now() - began;
    const { method, id, ip } = request;
    const complete = reply.raw.writableFinished;
    const status = complete ? `${Math.floor(reply.statusCode / 100)}xx` : 'aborted';
    metrics.seconds.observe({ method, route: request.routeOptions.url ?? 'none', status }, ms / 1000);
    if (!worthLogging(logRequests, complete ? reply.statusCode : 0, ms)) return;
    const what = { id, method, path: pathOf(request.raw), status: reply.statusCode, ms, ip };
    if (complete) request.log.info(what, 'request');
    else request.log.info(what, 'request that the client broke off');
  });
}

function measureCertificate({ registry }: HttpMetrics, tls: Tls | undefined): void {
  new Gauge({
    name: 'cistern_tls_certificate_expires_seconds',
    help: 'When the certificate that is listened with ends, seconds since the epoch; 0: there is none',
    registers: [registry],
    collect() {
      this.set((tls?.expires?.getTime() ?? 0) / 1000);
    },
  });
}

/** Whether a request that was answered so is logged. */
export function worthLogging(which: LogRequests, status: number, ms: number): boolean {
  return which === 'all' || (which === 'slow' && (status >= 500 || ms >= SLOW_MS));
}

/** Answers with a problem, with its headers, as `application/problem+json`. */
export function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  return reply
    .code(problem.status)
    .headers(problem.headers)
    .header('cache-control', 'no-store')
    .type('application/problem+json')
    .send(JSON.stringify(problem));
}

/**
 * For routes that read their body themselves: throws `error`, unless it came of a client that was too slow, and that
 * has got its answer already.
 */
export function failUnlessAnswered(reply: FastifyReply, error: unknown): FastifyReply {
  if (reply.raw.headersSent) return reply.hijack();
  throw error;
}

/** The path of a request as the client wrote it, without the query (which may hold a ticket). */
export function pathOf(request: IncomingMessage): string {
  return (request.url ?? '').split('?', 1)[0] as string;
}

function requestId(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
}

/**
 * Reads what is left of a refused body for a while, so that the client gets to see the answer: closing a connection
 * with unread bytes resets it. A client that goes on sending all the same is cut off.
 */
function discardRest(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return;
  let left = LINGER_BYTES;
  request.on('error', () => {});
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
  request.resume();
}

function hasBody(request: IncomingMessage): boolean {
  const length = request.headers['content-length'];
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

// Fastify's own errors, by code, in our words. What is not listed goes by its status.
const frameworkProblems: Record<string, ProblemName> = {
  FST_ERR_BAD_URL: 'invalid-key',
  FST_ERR_CTP_BODY_TOO_LARGE: 'body-too-large',
  FST_ERR_CTP_INVALID_JSON_BODY: 'invalid-json',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'invalid-json',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported-media-type',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'truncated-body',
  FST_REQ_FILE_TOO_LARGE: 'body-too-large',
  FST_MP_PREMATURE_CLOSE: 'truncated-body',
  FST_FILES_LIMIT: 'body-too-large',
  FST_PARTS_LIMIT: 'body-too-large',
  FST_FIELDS_LIMIT: 'body-too-large',
};

const BAD_URL = 'The URL has a malformed percent-encoding, or it is not valid UTF-8.';

function asProblem(error: FastifyError | Error): Problem {
  if (error instanceof Problem) return error;
  const { code, validation, validationContext, statusCode } = error as FastifyError;
  if (validation) {
    const [first] = validation;
    const where = `${validationContext ?? 'request'}${first?.instancePath.replaceAll('/', '.') ?? ''}`;
    const extra = (first?.params as { additionalProperty?: string })?.additionalProperty;
    const field = extra === undefined ? '' : ` ('${extra}')`;
    return new Problem('invalid-request', `${where} ${first?.message ?? 'is not valid'}${field}.`);
  }
  const known = frameworkProblems[code];
  if (known !== undefined) return new Problem(known, known === 'invalid-key' ? BAD_URL : error.message);
  if (statusCode === 413) return new Problem('body-too-large', error.message);
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new Problem('invalid-request', error.message);
  }
  return new Problem('internal');
}
