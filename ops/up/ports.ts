// TCP ports on the loopback address: is this one free, and which one is.
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * A port that is free on 127.0.0.1: `wanted` if it is, else any that is not in `not`.
 * @param wanted undefined or 0: any
 */
export async function freePort(wanted = 0, not: number[] = []): Promise<number> {
  if (wanted !== 0 && !not.includes(wanted) && (await tryPort(wanted)) !== undefined) return wanted;
  for (;;) {
    const port = (await tryPort(0)) as number;
    if (!not.includes(port)) return port;
  }
}

/** True if a server can listen on this port. */
export async function isFree(port: number): Promise<boolean> {
  return (await tryPort(port)) !== undefined;
}

async function tryPort(port: number): Promise<number | undefined> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  } catch {
    return undefined;
  }
  const address = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return address.port;
}
