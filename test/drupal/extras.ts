// What a code base may have besides Drupal: Drush, by which operators work, and the ImageMagick toolkit, whose programs
// want files with a real path. Where it lacks them, these tests are skipped.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { lacksProgram } from '../support/needs.ts';
import { drush, lacksDrush, skipIf } from './drush.ts';
import { makeImage } from './files.ts';
import type { Rig } from './rig.ts';
import { publicPath, styledPaths, upload } from './site.ts';

export function extras(rig: () => Rig): void {
  describe('with Drush', () => {
    it('looks at everything, shows all heads, and fails if one differs', {
      timeout: 120_000,
    }, async (context) => {
      const [a, b] = rig().heads;
      skipIf(context, lacksDrush(a));
      expect(await drush(a, 'en', 'cistern')).toMatchObject({ code: 0 });
      // These heads keep their code at different places, and so a container each.
      expect(await drush(b, 'cr')).toMatchObject({ code: 0 });
      for (const head of [b, a]) expect(await drush(head, 'cistern:status')).toMatchObject({ code: 0 });
      const { printed } = await drush(a, 'cistern:status', '--format=json');
      const states = (JSON.parse(printed) as { state: string }[]).map(({ state }) => state);
      expect([states.length > 5, new Set(states)]).toEqual([true, new Set(['ok'])]);
      const heads = await drush(b, 'cistern:heads', '--format=json');
      expect([heads.code, Object.keys(JSON.parse(heads.printed)).length]).toEqual([0, 2]);
      const line = rig().takeOverLine();
      b.configure(line.replace(/\);$/, ", prefix: 'other');"));
      try {
        await drush(b, 'cistern:status');
        expect((await drush(a, 'cistern:heads')).code).toBe(1);
        expect((await drush(a, 'cistern:status')).code).toBe(1);
        b.configure('');
        const without = await drush(b, 'cistern:status');
        expect([without.code, without.printed]).toEqual([1, expect.stringContaining('Web heads differ')]);
      } finally {
        b.configure(line);
        await drush(b, 'cistern:status');
      }
      expect((await drush(a, 'cistern:heads')).code).toBe(0);
    });

    it("prints nginx's configuration, and rebuilds caches", { timeout: 120_000 }, async (context) => {
      const [head] = rig().heads;
      skipIf(context, lacksDrush(head));
      const options = ['--token=public-token', '--private-token=private-token', '--base-path=/blog'];
      const { code, printed } = await drush(head, 'cistern:nginx', ...options);
      expect(code).toBe(0);
      for (const text of [
        'Bearer public-token',
        'Bearer private-token',
        'location ^~ /blog/sites/default/files/',
      ]) {
        expect(printed).toContain(text);
      }
      expect(await drush(head, 'cr')).toMatchObject({ code: 0 });
      expect((await fetch(`${head.url('nginx')}/user/login`)).status).toBe(200);
    });
  });

  describe('with the ImageMagick toolkit', () => {
    const lack = () =>
      existsSync(join(rig().heads[0].documentRoot, 'modules/contrib/imagemagick'))
        ? lacksProgram('identify')
        : 'the code base has no module imagemagick';
    const toolkit = (name: string) =>
      rig().heads[0].run(`
        if ('${name}' === 'imagemagick') \\Drupal::service('module_installer')->install(['imagemagick']);
        \\Drupal::configFactory()->getEditable('system.image')->set('toolkit', '${name}')->save();
        drupal_flush_all_caches();`);

    beforeAll(async () => {
      if (lack() !== undefined) return;
      await toolkit('imagemagick');
      return () => toolkit('gd');
    });

    it('makes derivatives of originals that have no path', { timeout: 120_000 }, async (context) => {
      skipIf(context, lack());
      const [a, b] = rig().heads;
      const uri = await upload(a, await makeImage(a, 'magick'));
      const used = await b.run("echo \\Drupal::service('image.toolkit.manager')->getDefaultToolkitId();");
      expect(used).toBe('imagemagick');
      for (const path of [...(await styledPaths(a, [uri], 'medium')), publicPath(uri)]) {
        const answer = await fetch(b.url('nginx') + path);
        const bytes = (await answer.arrayBuffer()).byteLength;
        expect([answer.status, answer.headers.get('content-type')?.split('/')[0]]).toEqual([200, 'image']);
        expect(bytes).toBeGreaterThan(1000);
      }
      const size = await b.run(`$image = \\Drupal::service('image.factory')->get('${uri}');
        echo $image->isValid() ? $image->getWidth() : 'invalid';`);
      expect(size).toBe('1600');
    });
  });
}
