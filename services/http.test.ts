// How the server ends: nobody whose request came through gets an error for that. And what a head gets that is no request.
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';
import { createServer, type Server, type ServerOptions } from './http.ts';
import { createLogger } from './logging.ts';
import { createMetrics } from './metrics.ts';

function serverWith(more: Partial<ServerOptions> = {}) {
  return createServer({
    log: createLogger({ level: 'silent', service: 'test' }),
    metrics: createMetrics('test'),
    logRequests: 'none',
    ready: () => undefined,
    ...more,
  });
}

async function connectTo(server: Server): Promise<Socket> {
  await server.listen({ host: '127.0.0.1', port: 0 });
  const socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

it('serves what still comes on an open connection when it closes, and then closes that', async () => {
  const server = serverWith();
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  server.get('/slow', async () => {
    begun.resolve();
    await end.promise;
    return 'slow';
  });
  const socket = await connectTo(server);
  const request = (path: string) => `GET ${path} HTTP/1.1\r\nhost: test\r\n\r\n`;
  const answers = text(socket);
  socket.write(request('/slow'));
  await begun.promise;
  const closed = server.close();
  // Behind the other one, on the same connection.
  const heard = once(server.server, 'request');
  socket.write(request('/healthz'));
  await heard;
  end.resolve();
  expect((await answers).match(/HTTP\/1.1 \d+|connection: close/gi)).toEqual([
    'HTTP/1.1 200',
    'HTTP/1.1 200',
    expect.stringMatching(/connection: close/i),
  ]);
  await closed;
});

it('counts and logs what a client broke off, and not as if it had been answered', async () => {
  const metrics = createMetrics('test');
  const lines: string[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const server = serverWith({ metrics, log, logRequests: 'all' });
  server.get('/endless', async (_request, reply) => {
    const endless = new Readable({ read: () => void endless.push('x'.repeat(64 * 1024)) });
    return reply.send(endless);
  });
  const socket = await connectTo(server);
  socket.write('GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n');
  await once(socket, 'data');
  socket.write('GET /endless HTTP/1.1\r\nhost: test\r\n\r\n');
  await once(socket, 'data');
  socket.destroy();
  const counted = async () => {
    const { values } = await metrics.seconds.get();
    const counts = values.filter(({ metricName }) => metricName?.endsWith('_count'));
    return Object.fromEntries(counts.map(({ labels, value }) => [`${labels.route} ${labels.status}`, value]));
  };
  await vi.waitFor(async () => expect(await counted()).toEqual({ '/healthz 2xx': 1, '/endless aborted': 1 }));
  const said = lines.map((line) => JSON.parse(line).msg).filter((msg) => msg.startsWith('request'));
  expect(said).toEqual(['request', 'request that the client broke off']);
  await server.close();
});

describe('a head that is no request gets its problem, and the connection ends:', () => {
  const cases: [what: string, sent: string, status: number, problem: string][] = [
    ['one that stands still', 'GET /healthz HTTP/1.1\r\nhost: te', 408, 'request-timeout'],
    ['one that is too large', `GET / HTTP/1.1\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'headers-too-large'],
    ['a path that is too long', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\n\r\n`, 431, 'headers-too-large'],
    ['one that is no HTTP', 'what is this?\r\n\r\n', 400, 'invalid-request'],
    [
      'one with two lengths',
      'PUT / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n',
      400,
      'invalid-request',
    ],
  ];
  it.each(cases)('%s', async (_what, sent, status, problem) => {
    const server = serverWith({ headSeconds: 0.4 });
    const socket = await connectTo(server);
    const answer = text(socket);
    socket.write(sent);
    const [head, body = ''] = (await answer).split('\r\n\r\n');
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(head).toMatch(/connection: close/i);
    expect(JSON.parse(body)).toMatchObject({ type: `urn:cistern:problem:${problem}`, status });
    await server.close();
  });
});
