// Where the tests' Drupal comes from: CISTERN_DRUPAL_ROOT, else the rig's cache directory, into which Composer
// installs one if it is empty.
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** What is installed where there is none. Its pins matter: newer Twigs break it. */
const CORE = '10.6.15';

export interface CodeBase {
  /** The Composer project: `vendor/` and the document root stand in it. */
  directory: string;
  /** Of the document root, within the project. */
  documentRoot: string;
  version: string;
}

const PACKAGE = new URL('../../client-php-shim/', import.meta.url).pathname;
const PACKAGE_PLACE = 'vendor/cistern/cistern';

/** A code base, or why there is none. */
export async function findCodeBase(): Promise<CodeBase | string> {
  const given = process.env.CISTERN_DRUPAL_ROOT;
  if (given) return inspect(given) ?? `no Drupal code base: CISTERN_DRUPAL_ROOT (${given}) holds none`;
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'cistern/drupal');
  return inspect(cache) ?? (await install(cache)) ?? 'no Drupal code base: Composer installed something else';
}

function inspect(directory: string): CodeBase | undefined {
  for (const documentRoot of ['web', 'docroot', '.']) {
    const kernel = join(directory, documentRoot, 'core/lib/Drupal.php');
    if (!existsSync(kernel) || !existsSync(join(directory, 'vendor/autoload.php'))) continue;
    const version = /const VERSION = '([^']+)'/.exec(readFileSync(kernel, 'utf8'))?.[1] ?? 'unknown';
    return { directory, documentRoot, version };
  }
  return undefined;
}

async function install(directory: string): Promise<CodeBase | string | undefined> {
  const project = {
    name: 'cistern/drupal-rig',
    require: {
      'composer/installers': '^2.3',
      'drupal/core-composer-scaffold': CORE,
      'drupal/core-recommended': CORE,
    },
    'require-dev': { 'drupal/core-dev': CORE },
    extra: {
      'drupal-scaffold': { locations: { 'web-root': 'web/' } },
      'installer-paths': { 'web/core': ['type:drupal-core'] },
    },
    config: { 'allow-plugins': true },
  };
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'composer.json'), JSON.stringify(project, null, 2));
  try {
    const options = {
      cwd: directory,
      env: { ...process.env, COMPOSER_ALLOW_SUPERUSER: '1' },
      timeout: 600_000,
    };
    await promisify(execFile)('composer', ['install', '--no-interaction', '--no-progress'], options);
  } catch (error) {
    const said = (error as { stderr?: string }).stderr || (error as Error).message;
    const why = said.split('\n').find((line) => /requires|ENOENT|timed out|failed/.test(line)) ?? said;
    return `no Drupal code base: Composer cannot install drupal/core-recommended ${CORE} (${why.trim().replace(/^- /, '')})`;
  }
  return inspect(directory);
}

/** Makes the code as it would be after `composer require cistern/cistern`. */
export function prepareCode(code: CodeBase, to: string): void {
  execFileSync('cp', ['-a', code.directory, to]);
  // Packages come with all sorts of modes, and the pool's user must be able to read them.
  execFileSync('chmod', ['-R', 'a+rX', to]);
  for (const path of ['composer.json', 'src', 'drupal', 'web']) {
    cpSync(join(PACKAGE, path), join(to, PACKAGE_PLACE, path), { recursive: true });
  }
  cpSync(join(PACKAGE, 'drupal/cistern'), join(to, code.documentRoot, 'modules/contrib/cistern'), {
    recursive: true,
  });
  type Autoload = Record<string, string | string[]>;
  const { autoload } = readJson(join(PACKAGE, 'composer.json')) as { autoload: { 'psr-4': Autoload } };
  const places = Object.entries(autoload['psr-4']).map(([name, path]) => [name, `${PACKAGE_PLACE}/${path}`]);
  const project = readJson(join(to, 'composer.json'));
  const changed = { ...project, autoload: { 'psr-4': Object.fromEntries(places) } };
  writeFileSync(join(to, 'composer.json'), JSON.stringify(changed));
  const environment = { ...process.env, COMPOSER_ALLOW_SUPERUSER: '1' };
  execFileSync('composer', ['dump-autoload', '--quiet', '--no-scripts'], { cwd: to, env: environment });
}

function readJson(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(path, 'utf8'));
}
