// Files over HTTP by the module's middleware, on a web server that only hands missing files to Drupal.
import { existsSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { makeImage } from './files.ts';
import type { Rig } from './rig.ts';
import { entry, publicPath, styledPaths, upload } from './site.ts';
import { Visitor } from './visitor.ts';

export function serving(rig: () => Rig): void {
  describe.each(['nginx', 'Apache'] as const)('files by the middleware behind %s', (server) => {
    const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
      fetch(`${rig().heads[1].url(server)}/sites/default/files/${path}`, {
        headers,
        method,
        redirect: 'manual',
      });

    beforeAll(async () => {
      await rig().heads[0].run(`$files = \\Drupal::service('file_system');
        $directory = 'public://serve/sub';
        $files->prepareDirectory($directory, 1);
        foreach (['a b#1%+ä.csv' => 'hello world', 'x.svg' => '<svg xmlns="http://www.w3.org/2000/svg"/>', 'x.html' => '<p>',
          'x.js' => '1', 'x.php' => 'no', '.hidden' => 'no', 'x.phtml' => 'no', 'empty.csv' => ''] as $name => $data)
          $files->saveData($data, "public://serve/$name", \\Drupal\\Core\\File\\FileExists::Replace);`);
    });

    it('answers conditions and ranges', async () => {
      const path = `serve/${encodeURIComponent('a b#1%+ä.csv')}`;
      const whole = await get(path);
      const etag = whole.headers.get('etag') ?? '';
      const date = whole.headers.get('last-modified') ?? '';
      expect([whole.status, await whole.text(), etag]).toEqual([
        200,
        'hello world',
        expect.stringMatching(/^"\w{64}"$/),
      ]);
      expect(whole.headers.get('cache-control')).toContain('max-age=300');
      expect(whole.headers.get('x-content-type-options')).toBe('nosniff');
      for (const headers of [
        { 'if-none-match': etag },
        { 'if-none-match': '*' },
        { 'if-modified-since': date },
      ]) {
        expect((await get(path, headers)).status).toBe(304);
      }
      const later = new Date(Date.now() + 1e6).toUTCString();
      for (const headers of [{ 'if-none-match': '"other"' }, { 'if-modified-since': later }]) {
        expect((await get(path, headers)).status).toBe(200);
      }
      const ranges = {
        'bytes=6-': 'world',
        'bytes=0-4': 'hello',
        'bytes=-5': 'world',
        'bytes=6-99': 'world',
      };
      for (const [range, bytes] of Object.entries(ranges)) {
        const part = await get(path, { range });
        expect([range, part.status, await part.text()]).toEqual([range, 206, bytes]);
      }
      expect((await get(path, { range: 'bytes=11-' })).status).toBe(416);
      expect((await get(path, { range: 'bytes=0-4', 'if-range': '"other"' })).status).toBe(200);
      expect((await get(path, { range: 'bytes=0-4', 'if-range': etag })).status).toBe(206);
      const head = await get(path, {}, 'HEAD');
      expect([head.status, head.headers.get('etag'), await head.text()]).toEqual([200, etag, '']);
      // Apache takes the length away from what PHP answers to HEAD.
      if (server === 'nginx') expect(head.headers.get('content-length')).toBe('11');
      const empty = await get('serve/empty.csv');
      expect([empty.status, await empty.text()]).toEqual([200, '']);
    });

    it('keeps uploads from acting as pages, and serves no hidden file, script or directory', async () => {
      for (const name of ['x.svg', 'x.html']) {
        const answer = await get(`serve/${name}`);
        expect([answer.status, answer.headers.get('content-security-policy')]).toEqual([
          200,
          expect.stringContaining('sandbox'),
        ]);
      }
      expect((await get('serve/x.js')).status).toBe(200);
      for (const name of [
        'x.php',
        'x.phtml',
        '.hidden',
        '.htaccess',
        'sub',
        'sub/',
        '',
        'none.png',
        '%2e%2e/x.png',
      ]) {
        const answer = await get(name.startsWith('.ht') ? name : `serve/${name}`);
        expect([name, [403, 404].includes(answer.status)]).toEqual([name, true]);
      }
    });

    it('neither takes writes at a file’s address nor shows private files there', async () => {
      for (const method of ['PUT', 'DELETE', 'POST']) {
        expect((await get('serve/x.js', {}, method)).status).toBeGreaterThanOrEqual(400);
      }
      expect((await get('serve/x.js')).status).toBe(200);
      await rig().heads[0].run(
        "\\Drupal::service('file_system')->saveData('s', 'private://hide.pdf', \\Drupal\\Core\\File\\FileExists::Replace);",
      );
      const visitor = new Visitor(rig().heads[1].url(server));
      for (const path of ['/system/files/hide.pdf', '/sites/default/files/../../../private/hide.pdf']) {
        expect([403, 404]).toContain(await visitor.status(path));
      }
      expect([403, 404]).toContain((await get('..%2fprivate/hide.pdf')).status);
    });

    it('gives fields of the own scheme an address and derivatives', async () => {
      const printed = await rig().heads[0].run(`
        \\Drupal::service('router.builder')->rebuild();
        $uri = \\Drupal::service('file_system')->saveData(file_get_contents('core/misc/druplicon.png'), 'cistern://logo.png', \\Drupal\\Core\\File\\FileExists::Replace);
        $style = \\Drupal\\image\\Entity\\ImageStyle::load('medium');
        $style->flush();
        echo \\Drupal::service('file_url_generator')->generateString($uri), ' ', $style->buildUrl($uri);`);
      const [original, derivative] = printed
        .split(' ')
        .map((url) => url.replace(/^https?:\/\/[^/]+/, '')) as [string, string];
      for (const path of [original, derivative, derivative]) {
        const answer = await fetch(rig().heads[1].url(server) + path);
        expect([path, answer.status, answer.headers.get('content-type')]).toEqual([
          path,
          200,
          expect.stringMatching(/^image/),
        ]);
      }
    });
  });
  describe('a head whose line says', () => {
    const says = (more: string) => rig().takeOverLine().replace(/\);$/, `, ${more});`);
    const get = (address: string) =>
      fetch(rig().heads[1].url('nginx') + address.replace(/^https?:\/\/[^/]+/, ''));
    afterEach(() => rig().heads[1].configure(rig().takeOverLine()));

    it('public: FALSE, private: FALSE, has the own scheme alone in the store', async () => {
      const [, b] = rig().heads;
      b.configure(says('public: FALSE, private: FALSE'));
      const printed = await b.run(`
        \\Drupal::service('router.builder')->rebuild();
        $files = \\Drupal::service('file_system');
        $logo = file_get_contents('core/misc/druplicon.png');
        foreach (['public', 'private', 'cistern'] as $scheme) $uris[] = $files->saveData($logo, "$scheme://own-alone.png", \\Drupal\\Core\\File\\FileExists::Replace);
        $url = \\Drupal::service('file_url_generator')->generateString($uris[2]);
        echo json_encode([...array_map($files->realpath(...), $uris), $url, \\Drupal\\image\\Entity\\ImageStyle::load('medium')->buildUrl($uris[2])]);`);
      const [publicFile, privateFile, own, original, derivative] = JSON.parse(printed);
      expect([existsSync(publicFile), existsSync(privateFile), own]).toEqual([true, true, false]);
      for (const scheme of ['public', 'private'])
        expect(await entry(rig().cluster, `${scheme}/own-alone.png`)).toBeUndefined();
      expect(await entry(rig().cluster, 'cistern/own-alone.png')).toBeDefined();
      expect(original).toBe('/cistern/files/own-alone.png');
      for (const address of [original, derivative, derivative, publicPath('public://own-alone.png')]) {
        const answer = await get(address);
        expect([address, answer.status, answer.headers.get('content-type')]).toEqual([
          address,
          200,
          expect.stringMatching(/^image/),
        ]);
      }
      expect((await get('/cistern/files/none.png')).status).toBe(404);
    });

    it('derivative_wait, answers 503 after that time for a derivative that is being made', async () => {
      const [, b] = rig().heads;
      const uri = await upload(b, await makeImage(b, 'waited-for'));
      const [derivative = ''] = await styledPaths(b, [uri], 'medium');
      // As core locks it, by somebody who does not come to an end.
      const lock = `'image_style_deliver:medium:' . \\Drupal\\Component\\Utility\\Crypt::hashBase64('${uri}')`;
      await b.run(
        `\\Drupal::database()->insert('semaphore')->fields(['name' => ${lock}, 'value' => 'x', 'expire' => microtime(TRUE) + 600])->execute();`,
      );
      for (const wait of [0, 4]) {
        b.configure(says(`derivative_wait: ${wait}`));
        const begun = performance.now();
        expect((await get(derivative)).status).toBe(503);
        const seconds = (performance.now() - begun) / 1000;
        expect([wait, seconds > wait, seconds < wait + 6]).toEqual([wait, true, true]);
      }
      await b.run(`\\Drupal::database()->delete('semaphore')->condition('name', ${lock})->execute();`);
      expect((await get(derivative)).status).toBe(200);
    });
  });
}
