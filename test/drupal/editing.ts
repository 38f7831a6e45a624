// What editors and visitors do all day, on two heads that share nothing but a database and a store.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { sha256 } from '../support/files.ts';
import { Editor } from './browser.ts';
import { figure, seconds } from './figures.ts';
import { digestOf, makeHuge, makeImage } from './files.ts';
import type { Server } from './head.ts';
import type { Rig } from './rig.ts';
import { entry, fidOf, problems, publicPath, styledPaths, upload, uploadMany } from './site.ts';

const HUGE_MIB = 600;
const MEMORY_LIMIT = 128 * 1024 * 1024;

/** Declares the scenarios for one way to serve the site. */
export function editing(server: Server, rig: () => Rig, browser: () => Browser): void {
  describe(server, () => {
    let editor: Editor;
    const a = () => rig().heads[0].url(server);
    const b = () => rig().heads[1].url(server);
    const head = () => rig().heads[0];
    const image = (name = 'cat') => makeImage(head(), name);
    const month = () => new Date().toISOString().slice(0, 7);

    beforeAll(async () => {
      editor = await Editor.logIn(browser(), a(), 'editor');
    });
    afterEach(async ({ task }) => {
      if (task.result?.state !== 'fail') return;
      const place = join(process.env.CISTERN_SCREENSHOTS ?? '/tmp', `${task.id}.png`);
      await editor.screenshot(place);
      const logs = [await problems(head()), rig().logs(), rig().cluster.logs()];
      process.stderr.write(`the editor's screen: ${place}\n${logs.join('\n')}\n`);
    });
    afterAll(() => editor?.close());

    it('shows on B at once what was uploaded on A in a content form', async (context) => {
      const file = await image();
      let node = '';
      const took = await seconds(async () => {
        node = await editor.write(a(), { title: 'A cat', image: file });
      });
      figure(context, 'content form with an image, until it is saved', took);
      const original = await fetch(`${b()}/sites/default/files/${month()}/${basename(file)}`);
      expect(original.status).toBe(200);
      expect(original.headers.get('content-type')).toBe('image/jpeg');
      expect(sha256(new Uint8Array(await original.arrayBuffer()))).toBe(sha256(readFileSync(file)));
      expect(await editor.images(b() + node)).toHaveLength(1);
    });

    it('makes a derivative once, on B, and serves it on A', async () => {
      const uri = await upload(head(), await image());
      const path = (await styledPaths(head(), [uri], 'medium'))[0] as string;
      const key = decodeURIComponent(path.replace('/sites/default/files/', 'public/').replace(/\?.*/, ''));
      const made = await fetch(b() + path);
      // Drupal 10 makes WebP, and 11 AVIF where PHP can.
      const [, type] = /\.(webp|avif)$/.exec(key) ?? [];
      expect([made.status, made.headers.get('content-type')]).toEqual([200, `image/${type}`]);
      const first = await entry(rig().cluster, key);
      const served = await fetch(a() + path);
      expect(served.status).toBe(200);
      expect(sha256(new Uint8Array(await served.arrayBuffer()))).toBe(first?.sha256);
      expect(served.headers.get('cache-control')).toContain('max-age=31536000');
      expect((await entry(rig().cluster, key))?.fid).toBe(first?.fid);
    });

    it('shows the new bytes of a replaced file on B at once', async () => {
      const uri = await upload(head(), await image());
      const url = `${b()}${publicPath(uri)}`;
      const before = await fetch(url);
      const etag = before.headers.get('etag') as string;
      expect((await fetch(url, { headers: { 'if-none-match': etag } })).status).toBe(304);
      const other = await image('other');
      await upload(head(), other, uri);
      const after = await fetch(url, { headers: { 'if-none-match': etag } });
      expect(after.status).toBe(200);
      expect(sha256(new Uint8Array(await after.arrayBuffer()))).toBe(sha256(readFileSync(other)));
    });

    it('answers 404 on B at once for a file that was deleted on A, and for its derivatives', async () => {
      const uri = await upload(head(), await image());
      const paths = [publicPath(uri), (await styledPaths(head(), [uri], 'medium'))[0] as string];
      const statuses = () => Promise.all(paths.map(async (path) => (await fetch(b() + path)).status));
      expect(await statuses()).toEqual([200, 200]);
      await editor.deleteFile(a(), await fidOf(head(), uri));
      expect(await statuses()).toEqual([404, 404]);
    });

    it('keeps a private file from everybody but its owner, on both heads', async () => {
      const file = join(head().makeDirectory('uploads'), `secret-${Date.now()}.pdf`);
      writeFileSync(file, 'for my eyes only');
      await editor.write(a(), { title: 'Unpublished', secret: file, published: false });
      const path = `/system/files/${month()}/${basename(file)}`;
      const other = await Editor.logIn(browser(), a(), 'other');
      for (const head of [a(), b()]) {
        expect((await fetch(head + path)).status).toBe(403);
        expect((await other.get(head + path)).status).toBe(403);
        const { status, bytes } = await editor.get(head + path);
        expect([status, bytes.toString()]).toEqual([200, 'for my eyes only']);
      }
      await other.close();
    });

    it('shows what was put in by the media library, with its thumbnail, on both heads', async () => {
      const node = await editor.write(a(), { title: 'With media', media: await image('media') });
      expect(await editor.images(b() + node)).toHaveLength(1);
      const thumbnails = await editor.images(`${b()}/admin/content/media-grid`);
      expect(thumbnails.filter((url) => /\/styles\/.*\/media-/.test(url))).not.toEqual([]);
    });

    it('shows an image that was put into the text', async () => {
      const node = await editor.write(a(), { title: 'Illustrated', inline: await image('inline') });
      const [url] = await editor.images(b() + node);
      expect(url).toContain('/inline-images/inline-');
    });

    it('gives two visitors on two heads all of 40 derivatives that are new to both', {
      timeout: 300_000,
    }, async (context) => {
      const uris = await uploadMany(head(), await image('many'), 40);
      const paths = await styledPaths(head(), uris, 'large');
      const visit = (site: string) =>
        Promise.all(paths.map(async (path) => (await fetch(site + path)).status));
      let statuses: number[] = [];
      const took = await seconds(async () => {
        statuses = (await Promise.all([visit(a()), visit(b())])).flat();
      });
      figure(context, '80 answers with 40 new derivatives', took);
      expect(statuses).toEqual(Array(80).fill(200));
    });

    it(`takes an upload of ${HUGE_MIB} MiB with a memory limit of 128 MiB`, {
      timeout: 900_000,
    }, async (context) => {
      const directory = join(head().directory, 'huge');
      mkdirSync(directory, { recursive: true });
      const { path, sha256: digest } = await makeHuge(directory, HUGE_MIB);
      const before = head().requests().length;
      const took = await seconds(() => editor.write(a(), { title: 'Huge', huge: path }));
      rmSync(path);
      const peak = Math.max(
        ...rig()
          .heads[0].requests()
          .slice(before)
          .map(({ peakBytes }) => peakBytes),
      );
      figure(context, `content form with a file of ${HUGE_MIB} MiB, until it is saved`, took);
      figure(context, "PHP's largest peak of memory meanwhile", `${Math.ceil(peak / 1024 / 1024)} MiB`);
      expect(peak).toBeLessThan(MEMORY_LIMIT);
      const answer = await fetch(`${b()}/sites/default/files/huge/${basename(path)}`);
      expect(answer.headers.get('content-length')).toBe(String(HUGE_MIB * 1024 * 1024));
      const down = await seconds(async () => {
        expect(await digestOf(answer.body as AsyncIterable<Uint8Array>)).toBe(digest);
      });
      figure(context, 'its download', down);
    });

    it('lets no error reach the editor when a storage node dies, and then a tracker', {
      timeout: 600_000,
    }, async (context) => {
      const { nodes, trackers } = rig().cluster;
      const files = await Promise.all(Array.from({ length: 6 }, (_, i) => image(`kept${i}`)));
      const took: string[] = [];
      for (const [i, file] of files.entries()) {
        // It dies while the form is filled in and saved.
        const death = [undefined, nodes[1], undefined, trackers[0]][i]?.kill();
        let node = '';
        took.push(
          await seconds(async () => {
            node = await editor.write(a(), { title: 'Kept', image: file, inline: await image('inline') });
          }),
        );
        expect(await editor.images(b() + node)).toHaveLength(2);
        await death;
      }
      figure(context, 'content form before, while and after a node and a tracker die', took.join(', '));
      await Promise.all([nodes[1], trackers[0]].map((part) => part?.start()));
      await rig().cluster.ready();
      for (const file of files) {
        const answer = await fetch(`${b()}/sites/default/files/${month()}/${basename(file)}`);
        expect(sha256(new Uint8Array(await answer.arrayBuffer()))).toBe(sha256(readFileSync(file)));
      }
    });
  });
}
