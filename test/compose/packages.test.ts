// The packages on clean roots: containers with Node and npm, or PHP and Composer, and nothing of this repository.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GenericContainer } from 'testcontainers';
import { afterAll, beforeEach, expect, it, onTestFinished } from 'vitest';
import { blockOf } from '../support/documents.ts';
import { needs } from '../support/needs.ts';
import { packPhp } from '../support/php-packages.ts';
import { Up } from '../support/up.ts';
import { lacksEngine, outputOf } from './engine.ts';
import { buildImage, install } from './images.ts';
import { packNpm } from './pack.ts';

const lack = await lacksEngine();
const packages = mkdtempSync(join(tmpdir(), 'cistern-packages-'));
afterAll(() => rmSync(packages, { recursive: true, force: true }));
beforeEach((context) => needs(context, lack));

/** Runs a script on a clean root. With the host's network: where packages come through a mirror, the host can reach it. */
async function inContainer(image: string, script: string): Promise<string> {
  const container = await new GenericContainer(image)
    .withNetworkMode('host')
    .withBindMounts([{ source: packages, target: '/packages', mode: 'ro' }])
    .withCommand(['sleep', 'infinity'])
    .start();
  onTestFinished(async () => void (await container.stop()));
  return outputOf(await container.exec(['bash', '-euo', 'pipefail', '-c', script]));
}

/** As an administrator installs it, and an ordinary user uses it first. */
const FIRST_COMMANDS = `
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

it('installs from npm pack, and does what its first commands say', async () => {
  await packNpm(packages);
  const printed = await inContainer('node:24-bookworm-slim', FIRST_COMMANDS);
  expect(printed).toContain('hello from a clean root');
  expect(printed).toContain('verdict\thealthy');
});

/** Drupal itself is not installed: test/drupal is on the real one. */
const COMPOSER_JSON = {
  repositories: [{ 'packagist.org': false }],
  provide: { 'drupal/core': '11.0.0' },
};

it('installs from composer archive, and does what the first lines of docs/php.md say', async () => {
  await packPhp(packages, join(packages, 'archives'));
  mkdirSync(join(packages, 'site'));
  writeFileSync(join(packages, 'site/composer.json'), JSON.stringify(COMPOSER_JSON));
  const up = new Up(join(packages, 'state'), '--port', '0', '--json');
  onTestFinished(async () => void (await up.exit('SIGINT')));
  const { tracker, token } = await up.ready();
  const lines = blockOf('docs/php.md', 'php', 'http://127.0.0.1:7500');
  const code = lines.replace('http://127.0.0.1:7500', tracker).replace("token: '…'", `token: '${token}'`);
  const script = `<?php require 'vendor/autoload.php';\n${code}\necho file_get_contents('cistern://a/b.txt');`;
  writeFileSync(join(packages, 'site/first.php'), script);
  const composer = install('composer', 'php-cli', 'php-curl', 'php-zip', 'unzip');
  await buildImage('cistern-test-composer', join(packages, 'image'), ['FROM debian:bookworm-slim', composer]);
  const printed = await inContainer(
    'cistern-test-composer',
    `export COMPOSER_ALLOW_SUPERUSER=1
    cp -r /packages/site /srv/site && cd /srv/site
    composer config repositories.cistern artifact /packages/archives
    composer --no-interaction require cistern/cistern drupal/cistern
    php first.php`,
  );
  expect(printed).toBe('hello');
});
