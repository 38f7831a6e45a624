// Which cluster a command speaks to, and as whom. For each of url, domain and token the first that is given counts:
// flag, environment, profile, a `cistern up` that runs in this directory or above it.
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Static, type TObject, Type } from 'typebox';
import { Value } from 'typebox/value';
import { Failure, usage } from './failure.ts';

export interface TargetFlags {
  url?: string;
  domain?: string;
  token?: string;
  profile?: string;
  config?: string;
}

export interface Target {
  /** Trackers, tried in this order. */
  urls: URL[];
  domain?: string;
  token?: string;
  /** For administration: the token, or the admin token of the running `cistern up`. */
  adminToken?: string;
}

const Profile = Type.Object(
  {
    url: Type.Optional(Type.String()),
    domain: Type.Optional(Type.String()),
    token: Type.Optional(Type.String()),
  },
  { additionalProperties: false },
);
const ProfileFile = Type.Object(
  { profiles: Type.Record(Type.String(), Profile) },
  { additionalProperties: false },
);
const RunningUp = Type.Object({
  pid: Type.Integer({ minimum: 1 }),
  trackers: Type.Array(Type.String(), { minItems: 1 }),
  domain: Type.String(),
  token: Type.String(),
  adminToken: Type.String(),
});

/**
 * Finds the cluster.
 * @throws Failure (exit 2) if no tracker is named anywhere, or what names it is malformed
 */
export function resolveTarget(
  flags: TargetFlags,
  env: NodeJS.ProcessEnv = process.env,
  cwd = process.cwd(),
): Target {
  const profile = readProfile(flags, env);
  const given = {
    url: flags.url || env.CISTERN_URL || profile.url,
    domain: flags.domain || env.CISTERN_DOMAIN || profile.domain,
    token: flags.token || env.CISTERN_TOKEN || profile.token,
  };
  if (given.url) {
    // The secrets of a running `cistern up` go to its own tracker and to no other.
    return compact({ urls: parseUrls(given.url), ...given, adminToken: given.token });
  }
  const up = findRunningUp(cwd);
  if (up === undefined) {
    throw usage(
      'no tracker is named',
      "start one here with 'cistern up', or name one with --url, CISTERN_URL or a profile (docs/cli.md)",
    );
  }
  return compact({
    urls: parseUrls(up.trackers.join(',')),
    domain: given.domain ?? up.domain,
    token: given.token ?? up.token,
    adminToken: given.token ?? up.adminToken,
  });
}

function compact(found: {
  urls: URL[];
  domain?: string | undefined;
  token?: string | undefined;
  adminToken?: string | undefined;
}): Target {
  const { urls, domain, token, adminToken } = found;
  return { urls, ...(domain && { domain }), ...(token && { token }), ...(adminToken && { adminToken }) };
}

/** 'http://a:7500,http://b:7500' -> URLs. */
export function parseUrls(text: string): URL[] {
  const urls = text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const url = URL.canParse(part) ? new URL(part) : undefined;
      if (url?.protocol === 'http:' || url?.protocol === 'https:') return url;
      throw usage(`'${part}' is not the URL of a tracker`, "write it like 'http://tracker.example:7500'");
    });
  if (urls.length === 0) throw usage('the list of trackers is empty', 'name at least one URL');
  return urls;
}

/** The profile that the flags name, or 'default'; empty if there is none and none was asked for. */
function readProfile(flags: TargetFlags, env: NodeJS.ProcessEnv): Static<typeof Profile> {
  const path =
    flags.config ?? join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'cistern', 'config.json');
  const name = flags.profile ?? 'default';
  if (flags.config === undefined && !existsSync(path)) {
    if (flags.profile === undefined) return {};
    throw usage(`there is no profile '${name}', since there is no file '${path}'`);
  }
  const { profiles } = readJson(path, ProfileFile);
  const profile = Object.hasOwn(profiles, name) ? profiles[name] : undefined;
  if (profile !== undefined) return profile;
  if (flags.profile === undefined) return {};
  const names = Object.keys(profiles).sort().join(', ');
  throw usage(`there is no profile '${name}' in '${path}'`, names ? `it has: ${names}` : 'it has none');
}

/** The nearest `.cistern/up.json`, upwards from `cwd`, of a `cistern up` that still runs. */
function findRunningUp(cwd: string): Static<typeof RunningUp> | undefined {
  for (let dir = cwd; ; dir = dirname(dir)) {
    const path = join(dir, '.cistern', 'up.json');
    if (existsSync(path)) {
      const up = readJson(path, RunningUp);
      if (isRunning(up.pid)) return up;
    }
    if (dir === dirname(dir)) return undefined;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It belongs to someone else, but it is there.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function readJson<T extends TObject>(path: string, schema: T): Static<T> {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === undefined ? 'is not valid JSON' : `cannot be read (${code})`;
    throw usage(`'${path}' ${why}`);
  }
  const [error] = Value.Errors(schema, content);
  if (error === undefined) return content as Static<T>;
  const where = error.instancePath.split('/').slice(1).join('.');
  // That is how the validator says that a field is not in the schema.
  const what = error.keyword === 'boolean' ? 'is not a field that this file may have' : error.message;
  throw usage(`'${path}': ${where || 'the document'} ${what}`);
}

/**
 * The domain, which this command needs.
 * @throws Failure (exit 2)
 */
export function domainOf(target: Target): string {
  if (target.domain !== undefined) return target.domain;
  throw new Failure('no domain is named', {
    todo: 'name it with --domain, CISTERN_DOMAIN or in a profile',
    exit: 2,
  });
}
