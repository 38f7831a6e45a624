// The PHP library and trackers behind TLS: certificates are checked, and nobody else ever sees a token.
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as forward } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { lacksProgram, needs } from './support/needs.ts';

const lack = lacksProgram('php') ?? lacksProgram('openssl');
const SOURCE = fileURLToPath(new URL('../client-php-shim/src/', import.meta.url));
const cluster = useCluster();
const root = mkdtempSync(join(tmpdir(), 'cistern-tls-'));
const authority = join(root, 'ca.pem');
const servers: Server[] = [];
/** Addresses: of a tracker whose certificate is good, and of one whose certificate names another machine. */
let good: string;
let misnamed: string;
/** What reached the trackers behind TLS, by port. */
let seen: string[] = [];

beforeAll(async () => {
  if (lack !== undefined) return;
  const key = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout'];
  openssl(...key, join(root, 'ca.key'), '-out', authority, '-subj', '/CN=A CA of our own');
  good = await startProxy('good', 'IP:127.0.0.1');
  misnamed = await startProxy('misnamed', 'DNS:trackers.example.com');
});
beforeEach((context) => {
  needs(context, lack);
  seen = [];
});
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(root, { recursive: true, force: true });
});

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' });
}

/** Starts what ends TLS before a tracker, with a certificate for `name`. Returns its address. */
async function startProxy(file: string, name: string): Promise<string> {
  const [key, order, certificate] = ['key', 'csr', 'pem'].map((kind) => join(root, `${file}.${kind}`)) as [
    string,
    string,
    string,
  ];
  const subject = ['-subj', `/CN=${file}`, '-addext', `subjectAltName=${name}`];
  openssl('req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', order, ...subject);
  const signer = ['-CA', authority, '-CAkey', join(root, 'ca.key'), '-copy_extensions', 'copy'];
  openssl('x509', '-req', '-in', order, '-out', certificate, ...signer);
  const { hostname, port } = new URL(cluster().trackers[0]?.url ?? '');
  const tls = { key: readFileSync(key), cert: readFileSync(certificate) };
  const server = createServer(tls, (request, response) => {
    const { method, url: path, headers } = request;
    seen.push(file);
    const onward = forward({ hostname, port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    request.pipe(onward);
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Runs PHP code that has a `$client`; what it prints, or the exception's class if it throws one of ours. */
async function run(options: { trackers: string[]; tlsCaFile?: string }, code: string): Promise<string> {
  const { domain, token } = cluster();
  const settings = JSON.stringify({ ...options, domain, token, retries: 0 });
  const script = `
    spl_autoload_register(fn ($class) => require $argv[1] . strtr(substr($class, 8), '\\\\', '/') . '.php');
    try {
      $client = new Cistern\\Client(new Cistern\\ClientOptions(...json_decode($argv[2], true)));
      ${code}
    } catch (Cistern\\Exception\\CisternException $e) {
      echo $e::class, ': ', $e->getMessage();
    }`;
  const { stdout } = await promisify(execFile)('php', ['-r', script, SOURCE, settings]);
  return stdout;
}

it('stores, reads, lists and copies over TLS, if the certificate is of an authority that is trusted', async () => {
  const printed = await run(
    { trackers: [good], tlsCaFile: authority },
    `$client->put('tls/a', 'over TLS');
      $client->putFile('tls/b', $argv[1] . 'Client.php');
      $client->copy('tls/a', 'tls/c');
      echo json_encode([$client->read('tls/c'), hash('sha256', $client->read('tls/b')) === hash_file('sha256', $argv[1] . 'Client.php'),
        count(iterator_to_array($client->list('tls'))), $client->health()[0]['ready']]);`,
  );
  expect(JSON.parse(printed)).toEqual(['over TLS', true, 3, true]);
  expect(new Set(seen)).toEqual(new Set(['good']));
});

it('sends nothing to a tracker whose certificate nobody vouches for', async () => {
  const printed = await run({ trackers: [good] }, "echo $client->stat('tls/a')?->key;");
  expect(printed).toMatch(/^Cistern\\Exception\\Unavailable: .*certificate/i);
  expect(seen).toEqual([]);
});

it('sends nothing to a tracker whose certificate is for another name, and asks the next one', async () => {
  const stat = "echo json_encode($client->statMany(['none']));";
  const alone = await run({ trackers: [misnamed], tlsCaFile: authority }, stat);
  expect(alone).toMatch(/^Cistern\\Exception\\Unavailable: /);
  expect(seen).toEqual([]);
  // Whichever of them it begins with.
  for (let i = 0; i < 6; i++) {
    const both = await run({ trackers: [misnamed, good], tlsCaFile: authority }, stat);
    expect(both).toBe('{"none":null}');
  }
  expect(new Set(seen)).toEqual(new Set(['good']));
});
