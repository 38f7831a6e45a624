// A site in a sub-directory of the web server, one of several on the same code (multisite): /blog/sites/second/files.
// Served by Drupal's usual recipe, and by the configuration that the site prints, as it is printed.
import { rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pathOfFile } from '../support/files.ts';
import { makeImage } from './files.ts';
import { NGINX } from './recipes.ts';
import type { Rig } from './rig.ts';
import { entry } from './site.ts';
import { Visitor } from './visitor.ts';

const BASE = '/blog';
const SITE = 'second';
const FILES = `${BASE}/sites/${SITE}/files`;
/** Where the store has this site's files: beside the other site's, in the same domain. */
const PREFIX = 'second-site';
/** The two sites share a database here, and what it caches has paths of the site that was asked. */
const FORGET =
  "\\Drupal::service('router.builder')->rebuild(); foreach (\\Drupal\\Core\\Cache\\Cache::getBins() as $bin) $bin->deleteAll();";

export function subDirectory(rig: () => Rig): void {
  describe('a second site, in a sub-directory', () => {
    const head = () => rig().heads[0];
    const below = (...path: string[]) => join(head().documentRoot, ...path);
    const recipe = NGINX.replaceAll('/index.php', `${BASE}/index.php`).replaceAll(
      '^/sites/',
      `^${BASE}/sites/`,
    );
    const run = (code: string) => head().run(code, BASE);
    const servers = new Map<string, string>();
    let derivative: string;

    beforeAll(async () => {
      symlinkSync('.', below(BASE));
      writeFileSync(
        below('sites/sites.php'),
        `<?php\n$sites['127.0.0.1${BASE.replace('/', '.')}'] = '${SITE}';\n`,
      );
      const line = rig().takeOverLine().replace(/\);$/, `, prefix: '${PREFIX}');`);
      // It shares the first site's database here, and so must not share its container; routes name public files' path.
      head().configure(`$settings['deployment_identifier'] = '${SITE}';${line}`, SITE);
      const image = await makeImage(head(), 'blog');
      derivative = await run(`$repository = \\Drupal::service('file.repository');
        $repository->writeData(file_get_contents('${image}'), 'public://blog.jpg');
        $secret = $repository->writeData('secret', 'private://blog.pdf');
        $secret->setOwnerId(1);
        $secret->setTemporary();
        $secret->save();
        echo preg_replace('~^https?://[^/]+~', '', \\Drupal\\image\\Entity\\ImageStyle::load('medium')->buildUrl('public://blog.jpg'));`);
      servers.set('usual', await head().startNginx('blog', recipe));
      const { token } = rig().cluster;
      const printed = await run(`\\Drupal::service('module_installer')->install(['cistern']);
        ${FORGET}
        echo \\Drupal::service('cistern.nginx')->render('${BASE}', '${token}', '${token}');`);
      const [http = '', server = ''] = printed
        .replaceAll('/var/cache/cistern-nginx', join(head().directory, 'nginx/blog-cache'))
        .split(/(?=^# .*Part 2 of 2)/m);
      const php = recipe.replace('fastcgi_pass', 'fastcgi_param CISTERN_X_ACCEL "/_cistern/";\nfastcgi_pass');
      servers.set('printed', await head().startNginx('blog-printed', server + php, http));
    });
    afterAll(async () => {
      await head().run(FORGET);
      for (const path of [BASE, 'sites/sites.php', `sites/${SITE}`]) {
        rmSync(below(path), { recursive: true, force: true });
      }
    });

    describe.each(['usual', 'printed'])('by the %s configuration', (name) => {
      const get = (path: string) => fetch(`${servers.get(name)}${path}`, { redirect: 'manual' });

      it('serves what is in the store, below its own prefix alone', async () => {
        await rig().cluster.request('PUT', pathOfFile(`${PREFIX}/public/a b.csv`), { body: 'a,b' });
        const answer = await get(`${FILES}/a%20b.csv`);
        expect([answer.status, await answer.text()]).toEqual([200, 'a,b']);
        expect(answer.headers.get('etag')).toMatch(/^"\w{64}"$/);
        expect((await get(`${FILES}/none.csv`)).status).toBe(404);
      });

      it('makes a derivative, and serves it', async () => {
        expect(derivative).toMatch(`${FILES}/styles/medium/public/blog.jpg`);
        for (let i = 0; i < 2; i++) {
          const answer = await get(derivative);
          expect([answer.status, answer.headers.get('content-type')?.startsWith('image/')]).toEqual([
            200,
            true,
          ]);
        }
        const key = derivative.replace(`${FILES}/`, '').replace(/\?.*/, '');
        expect(await entry(rig().cluster, `${PREFIX}/public/${key}`)).toBeDefined();
      });

      it('takes an upload in a form, and shows it', async () => {
        const editor = new Visitor(`${servers.get(name)}${BASE}`);
        await editor.logIn('editor');
        const saved = await editor.submit('/node/add/article', 'node_article_form', {
          'title[0][value]': `Of the second site (${name})`,
          'files[field_huge_0][]': new File(['stored'], `of-${name}.bin`),
          op: 'Save',
        });
        expect(saved.status).toBe(303);
        const page = new URL(saved.headers.get('location') ?? '');
        const html = await (await editor.get(page.pathname.replace(BASE, ''))).text();
        const file = new RegExp(`${FILES}/huge/of-${name}[^"]*\\.bin`).exec(html)?.[0] ?? '';
        expect(await (await get(file)).text()).toBe('stored');
        expect(await entry(rig().cluster, file.replace(FILES, `${PREFIX}/public`))).toBeDefined();
      });

      it('keeps aggregated CSS to the head', async () => {
        const html = await (await get(`${BASE}/user/login`)).text();
        const css = new RegExp(`${FILES}/css/css_[^"]+`).exec(html)?.[0].replaceAll('&amp;', '&') ?? '';
        expect(css, html).not.toBe('');
        const answer = await get(css);
        expect([answer.status, answer.headers.get('content-type')]).toEqual([
          200,
          expect.stringMatching(/^text\/css/),
        ]);
      });

      it('shows a private file to its owner alone', async () => {
        expect((await get(`${BASE}/system/files/blog.pdf`)).status).toBe(403);
        const owner = new Visitor(`${servers.get(name)}${BASE}`);
        await owner.logIn('admin');
        const answer = await owner.get('/system/files/blog.pdf');
        expect([answer.status, await answer.text()]).toEqual([200, 'secret']);
      });
    });
  });
}
