// The tracker as a process: what it says when a setting is missing or wrong.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';

const good = {
  CISTERN_CLUSTER_KEY: 'a cluster key that is used in tests only',
  CISTERN_ADMIN_TOKEN: 'an admin token of a test',
  CISTERN_DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none',
  CISTERN_PORT: '0',
};

it.each([
  ['no database', { CISTERN_DATABASE_URL: undefined }, 'CISTERN_DATABASE_URL'],
  ['a database that is no URL', { CISTERN_DATABASE_URL: 'localhost/cistern' }, 'CISTERN_DATABASE_URL'],
  ['no cluster key', { CISTERN_CLUSTER_KEY: undefined }, 'CISTERN_CLUSTER_KEY'],
  ['an empty admin token', { CISTERN_ADMIN_TOKEN: '' }, 'CISTERN_ADMIN_TOKEN'],
  ['an admin token that is too short', { CISTERN_ADMIN_TOKEN: 'secret' }, 'CISTERN_ADMIN_TOKEN'],
  ['a port that is no number', { CISTERN_PORT: 'many' }, 'CISTERN_PORT'],
  [
    'a file for a secret that is not there',
    { CISTERN_CLUSTER_KEY: undefined, CISTERN_CLUSTER_KEY_FILE: '/none' },
    'CISTERN_CLUSTER_KEY_FILE',
  ],
])(
  'ends with one line that names the setting: %s',
  async (_what, env: Record<string, string | undefined>, setting) => {
    const tracker = spawn(process.execPath, ['tracker/main.ts'], {
      env: { PATH: process.env.PATH, ...good, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const exited = once(tracker, 'exit');
    const [[code], printed, said] = await Promise.all([exited, text(tracker.stdout), text(tracker.stderr)]);
    expect([code, printed]).toEqual([2, '']);
    expect(said.trim().split('\n')).toHaveLength(1);
    expect(said).toContain(setting);
    // What is wrong with a secret is said without it.
    expect(said).not.toContain("'secret'");
  },
);
