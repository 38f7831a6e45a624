// Where the tests' Drupal comes from: CISTERN_DRUPAL_ROOT, else the rig's cache directory, into which Composer
// installs one if it is empty.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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
    const why =
      said.split('\n').find((line) => /could not|not found|failed|ENOENT|error/i.test(line)) ?? said;
    return `no Drupal code base: Composer cannot install drupal/core-recommended ${CORE} (${why.trim()})`;
  }
  return inspect(directory);
}
