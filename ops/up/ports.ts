// TCP ports on the loopback address: is this one free, and which one is.
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

// Below those that systems give to outgoing connections (Linux: from 32768 on; IANA: from 49152 on): one of these is
// still free when somebody listens on it a moment later.
const LOWEST = 10_000;
const HIGHEST = 32_767;
const TRIES = 200;

/**
 * A port that is free on 127.0.0.1: `wanted` if it is, else any that is not in `not`.
 * @param wanted undefined or 0: any
 * @throws Error if none is found
 */
export async function freePort(wanted = 0, not: number[] = []): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const port = tries === 0 && wanted !== 0 ? wanted : randomInt(LOWEST, HIGHEST + 1);
    if (!not.includes(port) && (await isFree(port))) return port;
  }
  throw new Error('no port is free on 127.0.0.1');
}

/** True if a server can listen on this port. */
export async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
