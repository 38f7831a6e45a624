// What of a Drupal site's files directory is never published: it is private, made anew by the site, or was never meant
// for anybody. Each directory or file that is left out for such a reason is listed with it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Directories at the top of a public files directory that Drupal makes for itself. */
const topLevel: Record<string, string> = {
  private: 'private files: import them by themselves, under a prefix that is not public',
  php: 'compiled templates and containers: each web server makes its own',
  css: 'aggregated styles: made anew by the site',
  js: 'aggregated scripts: made anew by the site',
  translations: 'downloaded translations: fetched anew by the site',
  tmp: 'temporary files',
  temp: 'temporary files',
  config: 'configuration: it may hold secrets',
  sync: 'configuration: it may hold secrets',
  backup_migrate: 'backups of the database',
};
/** An old site's configuration directory has a random name: config_<hash>. */
const CONFIG = /^config_/;
const DATABASE =
  /\.(sql|sqlite3?|db3?|mdb|mysql|pgsql)(\.(gz|bz2|xz|zst|zip|7z))?$|\.sqlite3?-(wal|shm|journal)$/i;
const TEMPORARY = /^(~\$|\.#)|(~|\.(tmp|temp|swp|part))$/i;
/** Any of these makes a directory an export of configuration, wherever it lies. */
const CONFIG_FILES = ['core.extension.yml', 'system.site.yml'];

/** Why a name in a directory is never published, by its name alone; undefined if it may be. `top`: in DIR itself. */
export function nameExclusion(name: string, directory: boolean, top: boolean): string | undefined {
  if (name.startsWith('.')) return 'hidden: its name begins with a dot';
  if (directory && top) {
    if (Object.hasOwn(topLevel, name)) return topLevel[name];
    if (CONFIG.test(name)) return topLevel.config;
  }
  if (directory) return undefined;
  if (DATABASE.test(name)) return 'a database, or a dump of one';
  return TEMPORARY.test(name) ? 'a temporary file' : undefined;
}

/** Why a directory with these names in it is never published. */
export function directoryExclusion(path: string, names: ReadonlySet<string> | string[]): string | undefined {
  const has = (name: string) => (Array.isArray(names) ? names.includes(name) : names.has(name));
  if (CONFIG_FILES.some(has)) return 'configuration: it may hold secrets';
  if (!has('.htaccess')) return undefined;
  try {
    return deniesAccess(readFileSync(join(path, '.htaccess'), 'utf8'))
      ? 'its .htaccess denies access'
      : undefined;
  } catch {
    return 'its .htaccess cannot be read, and may deny access';
  }
}

/** Whether an .htaccess denies access to the directory as a whole; rules for some files (<Files>) do not count. */
export function deniesAccess(htaccess: string): boolean {
  const whole = htaccess.replace(/^[ \t]*<Files(Match)?\b[\s\S]*?^[ \t]*<\/Files(Match)?>/gim, '');
  return /^[ \t]*(deny\s+from\s+all|require\s+all\s+denied)\b/im.test(whole);
}
