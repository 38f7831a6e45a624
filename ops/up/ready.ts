// When is a cluster ready: the trackers say so, every device is seen to be in service, and the demo domain and its
// token were made and work.
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../lib/failure.ts';

export interface ReadyOptions {
  trackers: string[];
  adminToken: string;
  /** Hosts and their devices that must be there. */
  nodes: { host: string; url: string; devices: { id: number }[] }[];
  /** Called now and then (each `every` milliseconds, 15 s by default) with what is missing. */
  waiting: (why: string) => void;
  every?: number;
  signal: AbortSignal;
}

interface Device {
  id: number;
  host: string;
  state: string;
  observed: string;
  condition: string;
  why?: string;
}

const REPORT_EVERY_MS = 15_000;
export const DEMO_DOMAIN = 'demo';

/** Waits, as long as it takes, until every tracker and every device serves. Rejects when `signal` is aborted. */
export async function whenReady(options: ReadyOptions): Promise<void> {
  const every = options.every ?? REPORT_EVERY_MS;
  let report = Date.now() + every;
  for (;;) {
    const why = await whatIsMissing(options).catch((error: Error) => {
      options.signal.throwIfAborted();
      return error.message;
    });
    if (why === undefined) return;
    if (Date.now() > report) {
      options.waiting(why);
      report = Date.now() + every;
    }
    await sleep(100, undefined, { signal: options.signal });
  }
}

async function whatIsMissing({ trackers, adminToken, nodes, signal }: ReadyOptions) {
  for (const tracker of trackers) {
    const answer = await fetch(`${tracker}/readyz`, { signal });
    const { why } = (await answer.json()) as { why?: string };
    if (!answer.ok) return `${tracker} is not ready: ${why}`;
    const { body } = await ask(tracker, adminToken, 'GET', '/v1/devices', signal);
    const known = new Map((body as { devices: Device[] }).devices.map((device) => [device.id, device]));
    for (const { host, devices } of nodes) {
      for (const { id } of devices) {
        const missing = whyNot(known.get(id));
        if (missing !== undefined) return `dev${id} of ${host} ${missing}`;
      }
    }
    const living = nodes.filter(({ devices }) => devices.some(({ id }) => known.get(id)?.state !== 'dead'));
    for (const { host, url } of living) {
      // Of a node that was restarted just now, the trackers still believe what it was before.
      const own = await fetch(`${url}/readyz`, { signal });
      if (!own.ok) return `${host} is not ready: ${((await own.json()) as { why?: string }).why}`;
    }
  }
  return undefined;
}

function whyNot(device: Device | undefined): string | undefined {
  if (device === undefined) return 'has not registered yet';
  // A device that the operator took out of service is not waited for.
  if (device.state === 'dead') return undefined;
  if (device.observed !== 'up') return 'is down';
  return device.condition === 'ok' ? undefined : `is ${device.condition}: ${device.why ?? 'no reason given'}`;
}

/**
 * Makes the demo domain if there is none, and a token for it unless `token` still works.
 * @returns the token's secret
 */
export async function makeDemo(
  tracker: string,
  adminToken: string,
  token: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  await ask(tracker, adminToken, 'POST', '/v1/domains', signal, { name: DEMO_DOMAIN }, [409]);
  const root = `/v1/domains/${DEMO_DOMAIN}/directories/?limit=1`;
  if (token !== undefined) {
    const { status } = await ask(tracker, token, 'GET', root, signal, undefined, [401, 403]);
    if (status === 200) return token;
  }
  const wanted = { name: 'cistern up', scopes: ['read', 'write'], domain: DEMO_DOMAIN, redirect: true };
  const { body } = await ask(tracker, adminToken, 'POST', '/v1/tokens', signal, wanted);
  return (body as { token: string }).token;
}

async function ask(
  tracker: string,
  token: string,
  method: string,
  path: string,
  signal: AbortSignal,
  json?: object,
  alsoGood: number[] = [],
): Promise<{ status: number; body: unknown }> {
  const headers = { authorization: `Bearer ${token}`, ...(json && { 'content-type': 'application/json' }) };
  const answer = await fetch(`${tracker}${path}`, {
    method,
    headers,
    signal,
    ...(json && { body: JSON.stringify(json) }),
  });
  const body = (await answer.json()) as { detail?: string };
  if (answer.ok || alsoGood.includes(answer.status)) return { status: answer.status, body };
  throw new Failure(`${method} ${path} was answered ${answer.status}: ${body.detail}`);
}
