// How the server ends: nobody whose request came through gets an error for that.
import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { createServer } from './http.ts';
import { createLogger } from './logging.ts';
import { createMetrics } from './metrics.ts';

it('serves what still comes on an open connection when it closes, and then closes that', async () => {
  const server = createServer({
    log: createLogger({ level: 'silent', service: 'test' }),
    metrics: createMetrics('test'),
    logRequests: 'none',
    ready: () => undefined,
  });
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  server.get('/slow', async () => {
    begun.resolve();
    await end.promise;
    return 'slow';
  });
  await server.listen({ host: '127.0.0.1', port: 0 });
  const socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1');
  await once(socket, 'connect');
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
