// What core and contributed modules take for granted of a site's files, beside what the forms and core's own tests do.
import { chmodSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Head } from './head.ts';
import type { Rig } from './rig.ts';
import { entry } from './site.ts';
import { Visitor } from './visitor.ts';

export function contract(rig: () => Rig): void {
  describe('what core and modules rely on', () => {
    beforeAll(async () => {
      await rig().heads[0].run("\\Drupal::service('module_installer')->install(['cistern']);");
    });

    it('holds for paths, names, directories, cron, URLs and configuration', async () => {
      expect(JSON.parse(await rig().heads[0].script('contract.php'))).toEqual({
        // A scheme's root is its own path; nothing below it has one, and that is exactly false.
        realpath: {
          'public://': 'public://',
          'public://contract': false,
          'public://contract/x.txt': false,
          'public://none': false,
          'private://': 'private://',
          'private://none': false,
        },
        classes: {
          public: 'Cistern',
          private: 'Cistern',
          cistern: 'Cistern',
          temporary: 'Drupal',
          assets: 'Drupal',
        },
        'directory of public://': 'sites/default/files',
        tempnam: [true, true],
        names: Object.fromEntries(
          ['a b#%+?&.txt', 'ä ö', '👋.txt', 'a:b.txt', `quote'".txt`].map((name) => [name, name]),
        ),
        forms: {
          'public:///contract/x.txt': 'x',
          'public://contract//x.txt': 'x',
          'public://contract/./x.txt': 'x',
          'public://contract/y/../x.txt': 'x',
          'public://../private/x.txt': 'refused',
        },
        'out of the scheme': false,
        'into a directory': 'public://contract/into/x.txt',
        'into a missing directory': {
          copy: 'DirectoryNotReadyException',
          move: 'DirectoryNotReadyException',
        },
        'a missing directory was made': false,
        '.htaccess': true,
        'after cron': [null, false],
        URL: '/sites/default/files/contract/a%20b%23%C3%A4.txt',
        'private URL': '/system/files/a%20b/c.txt',
        configuration: [true, 0],
        requirements: [],
      });
    });

    it('keeps aggregated CSS and JavaScript on each head, and serves them', async () => {
      for (const head of rig().heads) {
        const page = await (await fetch(`${head.url('nginx')}/user/login`)).text();
        const aggregates = [...page.matchAll(/(?:href|src)="(\/sites\/default\/files\/(?:css|js)\/[^"]+)"/g)];
        expect(aggregates.length).toBeGreaterThan(0);
        for (const [, escaped] of aggregates) {
          const path = (escaped as string).replaceAll('&amp;', '&');
          for (const server of ['nginx', 'nginx with the gateway', 'Apache'] as const) {
            expect([path, (await fetch(head.url(server) + path)).status]).toEqual([path, 200]);
          }
          const key = `public/${path.replace('/sites/default/files/', '').replace(/\?.*/, '')}`;
          expect(await entry(rig().cluster, key)).toBeUndefined();
        }
      }
    });

    it('uses the addresses and times that settings.php says', async () => {
      const [, b] = rig().heads;
      const line = rig().takeOverLine().replace(/\);$/, ', max_age: 7);');
      const uri = await b.run(
        "echo \\Drupal::service('file_system')->saveData('x', 'public://cdn.csv', \\Drupal\\Core\\File\\FileExists::Replace);",
      );
      b.configure(`$settings['file_public_base_url'] = 'http://cdn.example/f'; ${line}`);
      try {
        const url = `echo \\Drupal::service('file_url_generator')->generateAbsoluteString('${uri}');`;
        expect(await b.run(url)).toBe('http://cdn.example/f/cdn.csv');
        const answer = await fetch(`${b.url('nginx')}/sites/default/files/cdn.csv`);
        expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'max-age=7, public']);
      } finally {
        b.configure(rig().takeOverLine());
      }
    });

    it('sets what must be on a local disk, unless settings.php did', async () => {
      const apply = (
        before: string,
        more = '',
      ) => `require 'autoload.php'; $settings = [${before}]; $root = getcwd();
        \\Cistern\\Drupal\\TakeOver::apply($settings, $root, 'sites/default', trackers: ['http://127.0.0.1:1'], domain: 'd', token: 't', ${more});
        echo json_encode([$settings['file_private_path'], $settings['php_storage']['twig']['directory'],
          is_file("$root/sites/default/files/.cistern/.htaccess"), is_file("$root/sites/default/files/.htaccess")]);`;
      const run = async (head: Head, before: string, more?: string) =>
        JSON.parse(await head.php(['-r', apply(before, more)]));
      const [head] = rig().heads;
      const local = `${head.documentRoot}/sites/default/files/.cistern`;
      const [privateFiles, templates, ...guards] = await run(head, '');
      expect([privateFiles, guards]).toEqual([`${local}/private`, [true, true]]);
      // Compiled templates are PHP: outside of the document root, in a directory that nobody else can write to.
      expect(templates).toMatch(/\/cistern-\d+-[\da-f]{16}\/php$/);
      expect(templates.startsWith(head.documentRoot)).toBe(false);
      expect(statSync(dirname(templates)).mode & 0o777).toBe(0o700);
      // Somebody else could write what this site then runs.
      chmodSync(dirname(templates), 0o777);
      expect((await run(head, ''))[1]).toBe(`${local}/php`);
      rmSync(dirname(templates), { recursive: true });
      const outside = head.makeDirectory('outside');
      expect((await run(head, '', `local_directory: '${outside}'`))[1]).toBe(`${outside}/php`);
      const own = head.makeDirectory('own');
      const before = `'file_private_path' => '${own}', 'php_storage' => ['twig' => ['directory' => '${own}']]`;
      expect(await run(head, before)).toEqual([own, own, true, true]);
    });

    it('lets only administrators of Cistern see its settings', async () => {
      const visitor = new Visitor(rig().heads[0].url('nginx'));
      expect(await visitor.status('/admin/config/media/cistern')).toBe(403);
      await visitor.logIn('editor');
      expect(await visitor.status('/admin/config/media/cistern')).toBe(403);
    });
  });
}
