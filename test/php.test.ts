// The PHP library's own tests, run by PHPUnit on a real cluster: as www-data where we are root, who may do much that
// works for nobody else. They kill trackers and nodes, and set faults of proxies, through a control server.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { type Control, startControl } from './support/fault-control.ts';
import { FaultProxy } from './support/fault-proxy.ts';
import { lacksProgram, lacksRoot, needs, skip } from './support/needs.ts';
import { phpEnvironment } from './support/php-environment.ts';

const library = fileURLToPath(new URL('../client-php-shim', import.meta.url));
const MINUTES = 60_000;

/** For `needs`: PHP with what the library and its tests use, and the tests' packages. */
function lacksPhp(): string | undefined {
  const program = lacksProgram('php');
  if (program !== undefined) return program;
  const loaded = execFileSync('php', ['-m'], { encoding: 'utf8' }).toLowerCase().split('\n');
  const missing = ['curl', 'dom', 'gd', 'mbstring', 'pcntl', 'posix'].filter(
    (name) => !loaded.includes(name),
  );
  if (missing.length > 0) return `PHP lacks the extensions ${missing.join(', ')}`;
  if (existsSync(join(library, 'vendor/bin/phpunit'))) return undefined;
  return "the library's packages are not installed: composer install in client-php-shim";
}

describe('the PHP library', () => {
  const cluster = useCluster({ trackers: 2 });
  const proxies: FaultProxy[] = [];
  let control: Control;
  // A copy that everybody may read: www-data cannot enter every checkout.
  let copy = '';
  beforeAll(async () => {
    for (const { url } of cluster().trackers) proxies.push(await new FaultProxy(url).start());
    control = await startControl(cluster(), proxies);
    copy = mkdtempSync(join(tmpdir(), 'cistern-php-'));
    const wanted = (path: string) => !path.startsWith(join(library, '.cache'));
    if (lacksPhp() === undefined) cpSync(library, join(copy, 'library'), { recursive: true, filter: wanted });
    execFileSync('chmod', ['-R', 'a+rX', copy]);
  });
  afterAll(async () => {
    await control?.stop();
    for (const proxy of proxies) await proxy.stop();
    if (copy !== '') rmSync(copy, { recursive: true, force: true });
  });

  /** Runs a suite of PHPUnit's to its end. */
  async function phpunit(suite: string): Promise<{ code: number | null; printed: string }> {
    const run = ['php', 'vendor/bin/phpunit', '--do-not-cache-result', '--no-progress', '--testsuite', suite];
    const [command = '', ...args] =
      lacksRoot() === undefined ? ['runuser', '-u', 'www-data', '--', ...run] : run;
    const { PATH = '' } = process.env;
    const child = spawn(command, args, {
      cwd: join(copy, 'library'),
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { PATH, HOME: '/nonexistent', ...phpEnvironment(cluster(), proxies, control) },
    });
    const [printed] = await Promise.all([text(child.stdout), once(child, 'close')]);
    return { code: child.exitCode, printed };
  }

  it('passes its tests', { timeout: 10 * MINUTES }, async (context: TestContext) => {
    needs(context, lacksPhp());
    const { code, printed } = await phpunit('library');
    expect(code, printed).toBe(0);
  });

  it("passes League's test of Flysystem adapters", { timeout: MINUTES }, async (context: TestContext) => {
    needs(context, lacksPhp());
    // That package is not in every mirror; tests/Flysystem covers the same ground.
    const installed = existsSync(join(library, 'vendor/league/flysystem-adapter-test-utilities'));
    if (!installed) skip(context, 'league/flysystem-adapter-test-utilities is not installed');
    const { code, printed } = await phpunit('league');
    expect(code, printed).toBe(0);
  });
});
