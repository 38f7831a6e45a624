// What code of the site does, beside what its editors do in forms.
import { basename } from 'node:path';
import type { Cluster } from '../support/cluster.ts';
import type { Head } from './head.ts';

export const publicPath = (uri: string) => uri.replace('public://', '/sites/default/files/');

const PREPARE = `
  $directory = 'public://code';
  \\Drupal::service('file_system')->prepareDirectory($directory, 1);
  $repository = \\Drupal::service('file.repository');`;

/** Puts a file into the site, as a new one or instead of the one at `uri`. Returns its URI. */
export function upload(head: Head, file: string, uri = `public://code/${basename(file)}`): Promise<string> {
  return head.run(`${PREPARE}
    $exists = \\Drupal\\Core\\File\\FileExists::Replace;
    echo $repository->writeData(file_get_contents('${file}'), '${uri}', $exists)->getFileUri();`);
}

/** Puts so many copies of a file into the site. Returns their URIs. */
export async function uploadMany(head: Head, file: string, count: number): Promise<string[]> {
  const printed = await head.run(`${PREPARE}
    for ($i = 0; $i < ${count}; $i++) {
      echo $repository->writeData(file_get_contents('${file}'), "public://code/many-$i.jpg")->getFileUri(), ' ';
    }`);
  return printed.trim().split(' ');
}

/** The paths of derivatives' URLs. */
export async function styledPaths(head: Head, uris: string[], style: string): Promise<string[]> {
  const printed = await head.run(`
    $style = \\Drupal\\image\\Entity\\ImageStyle::load('${style}');
    foreach (explode(' ', '${uris.join(' ')}') as $uri) echo $style->buildUrl($uri), ' ';`);
  const urls = printed.trim().split(' ');
  return urls.map((url) => url.replace(/^https?:\/\/[^/]+/, ''));
}

export function fidOf(head: Head, uri: string): Promise<string> {
  return head.run(`echo \\Drupal::service('file.repository')->loadByUri('${uri}')->id();`);
}

/** The warnings and errors that the site logged last, for a failed test. */
export function problems(head: Head): Promise<string> {
  return head.run(`
    $rows = \\Drupal::database()->query('SELECT * FROM {watchdog} WHERE severity <= 4 ORDER BY wid DESC LIMIT 20');
    foreach ($rows as $row) {
      echo date('c ', $row->timestamp), $row->type, ': ', strip_tags(strtr($row->message, unserialize($row->variables))), "\\n";
    }`);
}

/** What the store knows of a key. */
export async function entry(
  cluster: Cluster,
  key: string,
): Promise<{ fid: number; sha256: string } | undefined> {
  const answer = await cluster.request('POST', '/v1/domains/demo/stat', { body: { keys: [key] } });
  const { entries } = (await answer.json()) as { entries: ({ fid: number; sha256: string } | null)[] };
  return entries[0] ?? undefined;
}
