// For tests of the tracker's parts: a whole tracker in this process, on a database of its own, asked without a network;
// and hosts that exist only by what they said when they registered.
import { randomUUID } from 'node:crypto';
import { readConfig } from '../services/config.ts';
import type { DeviceReport, Heartbeat, Registration } from '../services/protocol.ts';
import { createDatabase } from '../test/support/postgres.ts';
import { trackerSettings } from './config.ts';
import { createTrackerServer } from './server.ts';
import { createTracker } from './tracker.ts';

export const ADMIN_TOKEN = 'the-admin-token-of-tests';
const GIB = 1024 ** 3;

export type TestTracker = Awaited<ReturnType<typeof startTestTracker>>;

/** Starts a tracker without its background work. `settings` are environment variables. */
export async function startTestTracker(settings: Record<string, string> = {}) {
  const database = await createDatabase();
  const config = readConfig(trackerSettings, {
    CISTERN_LOG_LEVEL: 'fatal',
    CISTERN_CLUSTER_KEY: 'the cluster key that all tests share',
    CISTERN_ADMIN_TOKEN: ADMIN_TOKEN,
    CISTERN_DATABASE_URL: database.url,
    ...settings,
  });
  const tracker = await createTracker(config);
  const server = await createTrackerServer(tracker);

  /** One request; the answer's body is parsed if it is JSON. */
  async function call(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', url: string, more: Call = {}) {
    const { token = ADMIN_TOKEN, body } = more;
    const answer = await server.inject({
      method,
      url,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
    });
    const isJson = String(answer.headers['content-type']).includes('json');
    return {
      status: answer.statusCode,
      headers: answer.headers,
      body: isJson ? answer.json() : answer.body,
    };
  }

  /** A storage node's request, with a ticket of `host`. */
  function callAsNode(path: 'register' | 'heartbeat', host: string, body: Registration | Heartbeat) {
    const token = tracker.keyring.sign({ op: 'node', host, exp: tracker.state.now() + 60_000 });
    return call('POST', `/v1/cluster/${path}`, { token, body });
  }

  return {
    ...tracker,
    database,
    server,
    call,
    callAsNode,
    /** Makes a token with `scopes`; answers with its secret. */
    async token(wish: object): Promise<string> {
      const { body } = await call('POST', '/v1/tokens', { body: { name: 'test', ...wish } });
      return body.token;
    },
    /** Registers a host with devices that hold a marker already. */
    async join(host: string, devices: Partial<DeviceReport>[], more: Partial<Registration> = {}) {
      const registration = {
        host,
        url: `http://${host}.test:7501`,
        session: randomUUID(),
        devices: devices.map(report),
        ...more,
      };
      const answer = await callAsNode('register', host, registration);
      return { ...answer, registration };
    },
    async end() {
      await server.close();
      await tracker.stop();
      await database.drop();
    },
  };
}

interface Call {
  /** Null: without one. */
  token?: string | null;
  body?: unknown;
}

/** What a node says of a device that is well, with 100 GiB free. */
export function report(given: Partial<DeviceReport>): DeviceReport {
  return {
    id: 1,
    uuid: randomUUID(),
    condition: 'ok',
    total: 200 * GIB,
    free: 100 * GIB,
    highestFid: 0,
    blobs: 0,
    errors: 0,
    ...given,
  };
}
