import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Failure } from './failure.ts';
import { parseUrls, resolveTarget, type TargetFlags } from './target.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'cistern-target-'));
});
afterEach(() => rmSync(home, { recursive: true }));

const env = (more: Record<string, string> = {}) => ({ XDG_CONFIG_HOME: join(home, 'config'), ...more });

function writeProfiles(content: unknown): void {
  mkdirSync(join(home, 'config/cistern'), { recursive: true });
  writeFileSync(join(home, 'config/cistern/config.json'), JSON.stringify(content));
}

function writeUp(pid: number): string {
  mkdirSync(join(home, 'site/.cistern'), { recursive: true });
  mkdirSync(join(home, 'site/web/modules'), { recursive: true });
  const up = {
    pid,
    trackers: ['http://up:1'],
    domain: 'demo',
    token: 'demo-token',
    adminToken: 'admin-token',
  };
  writeFileSync(
    join(home, 'site/.cistern/up.json'),
    JSON.stringify({ ...up, tracker: 'http://up:1', nodes: [] }),
  );
  return join(home, 'site/web/modules');
}

function target(flags: TargetFlags, more: Record<string, string> = {}, cwd = home) {
  const found = resolveTarget(flags, env(more), cwd);
  return { ...found, urls: found.urls.map((url) => url.origin) };
}

function refusal(work: () => unknown): Failure {
  try {
    work();
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

test('a flag counts more than the environment, and that more than the profile, each setting by itself', () => {
  writeProfiles({ profiles: { default: { url: 'http://p:1,http://q:1', domain: 'pd', token: 'pt' } } });
  expect(target({})).toEqual({
    urls: ['http://p:1', 'http://q:1'],
    domain: 'pd',
    token: 'pt',
    adminToken: 'pt',
  });
  expect(target({ domain: 'fd' }, { CISTERN_TOKEN: 'et', CISTERN_DOMAIN: 'ed' })).toEqual({
    urls: ['http://p:1', 'http://q:1'],
    domain: 'fd',
    token: 'et',
    adminToken: 'et',
  });
  expect(target({ url: 'http://f:1' }, { CISTERN_URL: 'http://e:1' }).urls).toEqual(['http://f:1']);
});

test("a running 'cistern up' is found from below its directory, with the admin token for the operator's verbs", () => {
  const below = writeUp(process.pid);
  expect(target({}, {}, below)).toEqual({
    urls: ['http://up:1'],
    domain: 'demo',
    token: 'demo-token',
    adminToken: 'admin-token',
  });
});

test("the secrets of a running 'cistern up' never go to another tracker", () => {
  const below = writeUp(process.pid);
  expect(target({ url: 'http://elsewhere:1' }, {}, below)).toEqual({ urls: ['http://elsewhere:1'] });
  expect(target({}, { CISTERN_URL: 'http://elsewhere:1' }, below)).toEqual({ urls: ['http://elsewhere:1'] });
});

test("what a 'cistern up' that has died left behind is not taken for a running one", () => {
  // No system hands out process ids this high.
  const below = writeUp(2 ** 30);
  const failure = refusal(() => target({}, {}, below));
  expect(failure.line).toMatch(/^cistern: no tracker is named; start one here with 'cistern up'/);
  expect(failure.exit).toBe(2);
});

test('a profile that was asked for and is missing, or malformed, is refused with what is there', () => {
  expect(refusal(() => target({ profile: 'live' })).line).toContain(
    "no profile 'live', since there is no file",
  );
  writeProfiles({ profiles: { default: { url: 'http://p:1' }, test: {} } });
  expect(refusal(() => target({ profile: 'live' })).line).toMatch(
    /no profile 'live' in .*; it has: default, test$/,
  );
  writeProfiles({ profiles: { default: { uri: 'http://p:1' } } });
  expect(refusal(() => target({})).line).toMatch(
    /profiles\.default has unknown fields: uri; it may have: url, domain, token, environment$/,
  );
  writeProfiles({ profiles: { default: { url: 7 } } });
  expect(refusal(() => target({})).line).toMatch(/profiles\.default\.url is not a text$/);
  writeProfiles([]);
  expect(refusal(() => target({})).line).toMatch(/is not an object$/);
  writeFileSync(join(home, 'config/cistern/config.json'), '{"profiles":');
  expect(refusal(() => target({})).line).toMatch(/is not valid JSON$/);
  expect(refusal(() => target({ config: join(home, 'none.json') })).line).toMatch(
    /cannot be read \(ENOENT\)$/,
  );
});

test('trackers are URLs', () => {
  expect(parseUrls(' http://a:1 , https://b/cistern/ ').map(String)).toEqual([
    'http://a:1/',
    'https://b/cistern/',
  ]);
  for (const bad of ['a:7500', 'localhost', 'ftp://a', ' , ']) {
    expect(refusal(() => parseUrls(bad)).exit, bad).toBe(2);
  }
});
