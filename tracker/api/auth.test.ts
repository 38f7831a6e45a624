import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ADMIN_TOKEN, startTestTracker, type TestTracker } from '../testing.ts';

let tracker: TestTracker;
beforeAll(async () => {
  tracker = await startTestTracker();
  for (const name of ['mine', 'other']) await tracker.call('POST', '/v1/domains', { body: { name } });
});
afterAll(() => tracker.end());

async function status(
  token: string | null,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  url: string,
  body?: unknown,
) {
  return (await tracker.call(method, url, { token, ...(body === undefined ? {} : { body }) })).status;
}

const file = (domain: string, key = 'a') => `/v1/domains/${domain}/files/${key}`;
const directory = (domain: string, path = '') => `/v1/domains/${domain}/directories/${path}`;

describe('a request without a valid token', () => {
  it.each([null, 'wrong', `${ADMIN_TOKEN}x`, '"; DROP TABLE tokens'])('is 401: %s', async (token) => {
    for (const url of [file('mine'), file('none'), directory('mine'), '/v1/domains', '/v1/status']) {
      const answer = await tracker.call('GET', url, { token });
      expect(answer.status).toBe(401);
      expect(answer.body.type).toBe('urn:cistern:problem:not-authenticated');
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer/);
    }
  });

  it('may see health, metrics and the API description', async () => {
    for (const url of ['/healthz', '/metrics', '/openapi.json', '/docs/']) {
      expect(await status(null, 'GET', url)).toBe(200);
    }
  });
});

describe('a token', () => {
  it('has its scopes and no more; admin includes the others', async () => {
    const read = await tracker.token({ scopes: ['read'], domain: 'mine' });
    const write = await tracker.token({ scopes: ['write'], domain: 'mine' });
    const admin = await tracker.token({ scopes: ['admin'], domain: 'mine' });
    expect(await status(read, 'GET', directory('mine'))).toBe(200);
    expect(await status(read, 'PUT', directory('mine', 'd'))).toBe(403);
    expect(await status(write, 'PUT', directory('mine', 'd'))).toBe(201);
    expect(await status(write, 'GET', directory('mine'))).toBe(403);
    expect(await status(write, 'GET', '/v1/domains/mine/classes')).toBe(403);
    expect(await status(admin, 'GET', directory('mine'))).toBe(200);
    expect(await status(admin, 'DELETE', directory('mine', 'd'))).toBe(204);
    expect(await status(admin, 'GET', '/v1/domains/mine/classes')).toBe(200);
  });

  it('of one domain gets the same answer for every other, whether it exists or not', async () => {
    const token = await tracker.token({ scopes: ['admin'], domain: 'mine' });
    for (const path of ['/files/a', '/directories/', '/classes', '/trash', '']) {
      const url = (domain: string) => `/v1/domains/${domain}${path}`;
      const other = await tracker.call('GET', url('other'), { token });
      const none = await tracker.call('GET', url('none'), { token });
      expect(other.status).toBe(403);
      expect({ status: none.status, body: none.body }).toEqual({ status: 403, body: other.body });
    }
    for (const url of ['/v1/domains', '/v1/tokens', '/v1/hosts', '/v1/devices', '/v1/status', '/v1/repair']) {
      expect(await status(token, 'GET', url)).toBe(403);
    }
  });

  it('with a prefix is for the keys below it', async () => {
    const token = await tracker.token({ scopes: ['read', 'write'], domain: 'mine', prefix: 'public/' });
    expect(await status(token, 'PUT', directory('mine', 'public/x'))).toBe(201);
    expect(await status(token, 'GET', directory('mine', 'public'))).toBe(200);
    expect(await status(token, 'GET', file('mine', 'public/none'))).toBe(404);
    expect(await status(token, 'GET', directory('mine'))).toBe(403);
    expect(await status(token, 'GET', directory('mine', 'publicly'))).toBe(403);
    expect(await status(token, 'GET', file('mine', 'private/none'))).toBe(403);
    // No way around it by a segment that a router might resolve.
    expect(await status(token, 'GET', file('mine', 'public/%2e%2e/private'))).not.toBe(404);
    const stat = (keys: string[]) => status(token, 'POST', '/v1/domains/mine/stat', { keys });
    expect(await stat(['public/x', 'public/y'])).toBe(200);
    expect(await stat(['public/x', 'private'])).toBe(403);
    const copy = (from: string, to: string) => status(token, 'POST', '/v1/domains/mine/move', { from, to });
    expect(await copy('public/x', 'private/x')).toBe(403);
    expect(await copy('private/x', 'public/x')).toBe(403);
  });

  it('is refused when it has expired', async () => {
    const expires = (ms: number) => new Date(tracker.state.now() + ms).toISOString();
    const past = await tracker.token({ scopes: ['read'], domain: 'mine', expires: expires(-1_000) });
    const future = await tracker.token({ scopes: ['read'], domain: 'mine', expires: expires(60_000) });
    expect(await status(past, 'GET', directory('mine'))).toBe(401);
    expect(await status(future, 'GET', directory('mine'))).toBe(200);
  });

  it('is refused at once when it was revoked here, also if it was used just before', async () => {
    const { body } = await tracker.call('POST', '/v1/tokens', { body: { name: 'x', scopes: ['read'] } });
    expect(await status(body.token, 'GET', directory('mine'))).toBe(200);
    expect(await status(ADMIN_TOKEN, 'DELETE', `/v1/tokens/${body.id}`)).toBe(204);
    expect(await status(body.token, 'GET', directory('mine'))).toBe(401);
    expect(await status(ADMIN_TOKEN, 'DELETE', `/v1/tokens/${body.id}`)).toBe(404);
  });

  it('ends with its domain, and is none of a new one of that name', async () => {
    await tracker.call('POST', '/v1/domains', { body: { name: 'passing' } });
    const token = await tracker.token({ scopes: ['read'], domain: 'passing' });
    expect(await status(token, 'GET', directory('passing'))).toBe(200);
    expect(await status(ADMIN_TOKEN, 'DELETE', '/v1/domains/passing')).toBe(204);
    expect(await status(token, 'GET', directory('passing'))).toBe(401);
    await tracker.call('POST', '/v1/domains', { body: { name: 'passing' } });
    expect(await status(token, 'GET', directory('passing'))).toBe(401);
  });

  it('is stored only as a hash', async () => {
    const token = await tracker.token({ scopes: ['read'], domain: 'mine' });
    const { body } = await tracker.call('GET', '/v1/tokens');
    expect(JSON.stringify(body)).not.toContain(token);
    const rows = await tracker.db.query({ name: '', text: 'SELECT t::text FROM tokens t' });
    expect(JSON.stringify(rows)).not.toContain(token);
  });
});
