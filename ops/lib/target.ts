// Which cluster a command speaks to, and as whom. For each of url, domain and token the first that is given counts:
// flag, environment, profile, a `cistern up` that runs in this directory or above it.
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { Failure, usage } from './failure.ts';

export interface TargetFlags {
  url?: string;
  domain?: string;
  token?: string;
  environment?: string;
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
  /** The environment of the site that this is (docs/moving.md). */
  environment?: string;
}

type Profile = Partial<Record<'url' | 'domain' | 'token' | 'environment', string>>;

/** The part of `.cistern/up.json` that finding it needs. */
interface RunningUp {
  pid: number;
  trackers: string[];
  domain: string;
  token: string;
  adminToken: string;
}

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
    environment: flags.environment || env.CISTERN_ENVIRONMENT || profile.environment,
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
    environment: given.environment,
  });
}

function compact(found: {
  urls: URL[];
  domain?: string | undefined;
  token?: string | undefined;
  adminToken?: string | undefined;
  environment?: string | undefined;
}): Target {
  const { urls, domain, token, adminToken, environment } = found;
  return {
    urls,
    ...(domain && { domain }),
    ...(token && { token }),
    ...(adminToken && { adminToken }),
    ...(environment && { environment }),
  };
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
function readProfile(flags: TargetFlags, env: NodeJS.ProcessEnv): Profile {
  const path =
    flags.config ?? join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'cistern', 'config.json');
  const name = flags.profile ?? 'default';
  if (flags.config === undefined && !existsSync(path)) {
    if (flags.profile === undefined) return {};
    throw usage(`there is no profile '${name}', since there is no file '${path}'`);
  }
  const { profiles } = fieldsOf(readJson(path), ['profiles'], path);
  const all = fieldsOf(profiles ?? {}, undefined, `${path}: profiles`);
  if (Object.hasOwn(all, name)) return profileOf(all[name], `${path}: profiles.${name}`);
  if (flags.profile === undefined) return {};
  const names = Object.keys(all).sort().join(', ');
  throw usage(`there is no profile '${name}' in '${path}'`, names ? `it has: ${names}` : 'it has none');
}

/** The nearest `.cistern/up.json`, upwards from `cwd`, of a `cistern up` that still runs. */
function findRunningUp(cwd: string): RunningUp | undefined {
  for (let dir = cwd; ; dir = dirname(dir)) {
    const path = join(dir, '.cistern', 'up.json');
    if (existsSync(path)) {
      const up = readJson(path) as RunningUp;
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

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw usage(`'${path}' ${code === undefined ? 'is not valid JSON' : `cannot be read (${code})`}`);
  }
}

// By hand: to load the library that validates elsewhere takes as long as all the rest of a command.
function profileOf(value: unknown, where: string): Profile {
  const fields = fieldsOf(value, ['url', 'domain', 'token', 'environment'], where);
  for (const [name, field] of Object.entries(fields)) {
    if (typeof field !== 'string') throw usage(`${where}.${name} is not a text`);
  }
  return fields as Profile;
}

function fieldsOf(value: unknown, known: string[] | undefined, where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw usage(`${where} is not an object`);
  const unknown = Object.keys(value).filter((name) => known !== undefined && !known.includes(name));
  if (unknown.length === 0) return value as Record<string, unknown>;
  throw usage(`${where} has unknown fields: ${unknown.join(', ')}`, `it may have: ${known?.join(', ')}`);
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
