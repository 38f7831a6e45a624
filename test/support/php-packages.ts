// The PHP library and the Drupal module, packed by Composer as a user does it.
import { execFile } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const PACKAGE = new URL('../../client-php-shim', import.meta.url).pathname;

/**
 * Writes both archives into `to`. They are packed from a copy below `scratch`, which keeps what developers have there
 * (vendor/) out of the way.
 */
export async function packPhp(scratch: string, to: string): Promise<void> {
  const source = join(scratch, 'client-php-shim');
  const filter = (path: string) => !/client-php-shim\/(vendor|\.cache)$/.test(path);
  cpSync(PACKAGE, source, { recursive: true, filter });
  const env = { ...process.env, COMPOSER_ALLOW_SUPERUSER: '1' };
  for (const cwd of [source, join(source, 'drupal/cistern')]) {
    await promisify(execFile)('composer', ['--no-interaction', 'archive', '--format=zip', `--dir=${to}`], {
      cwd,
      env,
    });
  }
}
