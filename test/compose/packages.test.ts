// The npm package on a clean root: a container with Node and npm, and nothing of this repository.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { docker, lacksEngine, run } from './engine.ts';

const packages = mkdtempSync(join(tmpdir(), 'cistern-packages-'));
afterAll(() => rmSync(packages, { recursive: true, force: true }));
beforeEach((context) => needs(context, lacksEngine()));

/** As an administrator installs it, and an ordinary user uses it first. */
const FIRST_COMMANDS = `
set -euo pipefail
npm install --global --no-fund --no-audit /packages/cistern-*.tgz >/dev/null
install -d --owner=node /srv/first
runuser -u node -- bash -euo pipefail -c '
  cd /srv/first
  cistern --version
  cistern up --json >up.json &
  until [ -s up.json ]; do kill -0 $!; sleep 0.2; done
  echo "hello from a clean root" >hello.txt
  cistern put hello.txt hello/hello.txt
  cistern cat hello/hello.txt
  cistern status
  kill -INT $!
  wait $!
'`;

it('installs, and does what its first commands say', async () => {
  await run('npm', ['pack', '--pack-destination', packages]);
  // The host's network: where packages come through a mirror, the host can reach it.
  const container = ['run', '--rm', '--network', 'host', '--volume', `${packages}:/packages:ro`];
  const printed = await docker(...container, 'node:24-bookworm-slim', 'bash', '-c', FIRST_COMMANDS);
  expect(printed).toContain('hello from a clean root');
  expect(printed).toContain('verdict\thealthy');
});
