// Private files over HTTP: Drupal decides who may have one, on every request; then PHP or nginx sends it.
import { beforeAll, describe, expect, it } from 'vitest';
import { sha256 } from '../support/files.ts';
import { SERVERS } from './head.ts';
import type { Rig } from './rig.ts';
import { Visitor } from './visitor.ts';

const SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>';
const FILES = { 'x.svg': SVG, 'x.html': '<p>secret', 'x.csv': 'hello secret' };

export function privateFiles(rig: () => Rig): void {
  describe.each(SERVERS)('private files behind %s', (server) => {
    let owner: Visitor;
    let strangers: Visitor[];
    let derivative: string;
    const path = (name: string) => `/system/files/guarded/${name}`;

    beforeAll(async () => {
      const files = JSON.stringify({ ...FILES, 'x.png': '' });
      derivative = await rig().heads[0].run(`
        $editor = user_load_by_name('editor')->id();
        $directory = 'private://guarded';
        \\Drupal::service('file_system')->prepareDirectory($directory, 1);
        foreach (json_decode('${files}', TRUE) as $name => $data) {
          $data = $data ?: file_get_contents('core/misc/druplicon.png');
          $file = \\Drupal::service('file.repository')->writeData($data, "$directory/$name", \\Drupal\\Core\\File\\FileExists::Replace);
          // What no content uses is its owner's alone, as long as it is temporary.
          $file->setOwnerId($editor)->setTemporary();
          $file->save();
        }
        $style = \\Drupal\\image\\Entity\\ImageStyle::load('medium');
        $style->flush();
        $url = parse_url($style->buildUrl("$directory/x.png"));
        echo "$url[path]?$url[query]";`);
      // The head that did not store them.
      const url = rig().heads[1].url(server);
      owner = new Visitor(url);
      await owner.logIn('editor');
      const other = new Visitor(url);
      await other.logIn('other');
      strangers = [new Visitor(url), other];
    });

    it('are refused to all but their owner, derivatives too, before and after the owner had them', async () => {
      const paths = [...Object.keys(FILES).map(path), derivative];
      for (let i = 0; i < 2; i++) {
        for (const stranger of strangers) {
          for (const each of paths) {
            const answer = await stranger.get(each, i === 0 ? {} : { range: 'bytes=0-3' });
            expect([each, answer.status]).toEqual([each, 403]);
            expect(await answer.text()).not.toContain('secret');
          }
        }
        for (const each of paths) expect([each, await owner.status(each)]).toEqual([each, 200]);
      }
    });

    it('cannot act as pages of the site, and enter no shared cache', async () => {
      for (const [name, data] of Object.entries(FILES)) {
        const answer = await owner.get(path(name));
        expect([name, await answer.text()]).toEqual([name, data]);
        expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
        expect(answer.headers.get('cache-control')).toMatch(/private|no-store/);
        const policy = answer.headers.get('content-security-policy');
        expect([name, policy?.includes('sandbox') ?? false]).toEqual([name, name !== 'x.csv']);
      }
    });

    it('are sent in part if a part is asked for', async () => {
      const answer = await owner.get(path('x.csv'), { range: 'bytes=6-11' });
      expect([answer.status, answer.headers.get('content-range'), await answer.text()]).toEqual([
        206,
        'bytes 6-11/12',
        'secret',
      ]);
    });

    if (server === 'nginx with the gateway') {
      it('are sent by nginx, whose location nobody can ask', async () => {
        const answer = await owner.get(path('x.csv'));
        // Drupal gives private files no ETag: this one is the store's.
        expect(answer.headers.get('etag')).toBe(`"${sha256(FILES['x.csv'])}"`);
        expect(answer.headers.get('x-accel-redirect')).toBeNull();
        for (const visitor of [owner, ...strangers]) {
          expect(await visitor.status('/_cistern/private/guarded/x.csv')).toBe(404);
        }
      });
    }
  });
}
