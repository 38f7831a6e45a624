// What is read of a directory is what was seen there, or nothing.
import {
  appendFileSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { deniesAccess } from './exclusions.ts';
import { ChangedWhileRead, type LocalFile, readWhole, scanDirectory } from './tree.ts';

function scanned(content: string): LocalFile {
  const path = mkdtempSync(join(tmpdir(), 'cistern-tree-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  writeFileSync(join(path, 'file'), content);
  utimesSync(join(path, 'file'), 1_600_000_000, 1_600_000_000);
  return scanDirectory({ name: 'o', path }, '', false, () => {})?.files.get('file') as LocalFile;
}

test('a file is read whole as it was seen', () => {
  expect(readWhole(scanned('content')).toString()).toBe('content');
  expect(readWhole(scanned('')).length).toBe(0);
});

test('a file that grew, was rewritten or became something else since is not taken', () => {
  const changes: ((path: string) => void)[] = [
    (path) => appendFileSync(path, 'more'),
    (path) => writeFileSync(path, 'CONTENT'),
    (path) => writeFileSync(path, 'cut'),
  ];
  for (const change of changes) {
    const file = scanned('content');
    change(file.path);
    expect(() => readWhole(file)).toThrow(ChangedWhileRead);
  }
  const file = scanned('content');
  unlinkSync(file.path);
  symlinkSync('/etc/passwd', file.path);
  expect(() => readWhole(file)).toThrow(/ELOOP/);
});

test('only an .htaccess that denies the directory as a whole hides it', () => {
  expect(deniesAccess('Deny from all')).toBe(true);
  expect(deniesAccess('<IfModule mod_authz_core.c>\n  Require all denied\n</IfModule>')).toBe(true);
  expect(deniesAccess('# Deny from all\nOptions -Indexes')).toBe(false);
  expect(deniesAccess('<FilesMatch "\\.php$">\n  Deny from all\n</FilesMatch>\nRequire all granted')).toBe(
    false,
  );
});
