// The way of a live site as operators type it: what docs/moving.md says that each command prints, and its exit codes.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { giveToPool } from '../support/web-head.ts';
import { drush, lacksDrush, skipIf } from './drush.ts';
import type { Rig } from './rig.ts';
import { entry } from './site.ts';
import { operate, prepareSwitching } from './switching.ts';

/** On a site that works in its old directories, and ends there. */
export function movingByDrush(rig: () => Rig): void {
  describe('a site that moves by Drush', () => {
    const old = (path: string) => join(rig().oldDirectory('public'), path);
    const summary = (scheme: string, copied: number, replaced: number, removed: number) =>
      new RegExp(
        `^${scheme}${copied} copied \\([\\d.]+ MiB\\), ${replaced} replaced, ${removed} removed, \\d+ there already`,
        'm',
      );
    const put = (name: string, data = name) =>
      operate(rig().heads[1], 'put', `public://d/${name}.csv`, { data });

    beforeAll(async () => {
      await prepareSwitching(rig());
      // Rows of files that were appended to since still say their former size.
      await rig().heads[0].run(
        'foreach (\\Drupal\\file\\Entity\\File::loadMultiple() as $file) $file->save();',
      );
    });

    it('copies, compares, switches, pulls and switches back', { timeout: 300_000 }, async (context) => {
      const [a, b] = rig().heads;
      skipIf(context, lacksDrush(a));
      for (const head of [a, b, a]) await drush(head, 'cistern:heads');
      for (const head of [a, b]) expect(await drush(head, 'cistern:heads')).toMatchObject({ code: 0 });
      expect(await drush(a, 'cistern:copy-local')).toMatchObject({ code: 0 });

      for (const name of ['1', '2', '3', '4']) await put(name);
      for (const name of ['x.sql', 'y.sql']) {
        writeFileSync(old(`d/${name}`), 'never');
        giveToPool(old(`d/${name}`));
      }
      const dry = await drush(a, 'cistern:copy-local', '--dry-run', '--scheme=public');
      expect([dry.code, dry.printed]).toEqual([1, expect.stringMatching(/^4 left$/m)]);
      expect(dry.printed).not.toContain('private://');
      const some = await drush(a, 'cistern:copy-local', '--limit=1');
      expect([some.code, some.printed]).toEqual([1, expect.stringMatching(summary('public://: ', 1, 0, 0))]);
      expect(some.printed).toMatch(/^3 left$/m);
      expect(some.printed).toMatch(/^public:\/\/d\/[xy]\.sql: not copied: .+ \(and \d+ more\)$/m);

      const behind = await drush(a, 'cistern:verify', '--format=json', '--no-orphans');
      const kinds = (JSON.parse(behind.printed) as { kind: string; uri: string }[]).map(({ kind }) => kind);
      expect([behind.code, kinds]).toEqual([1, ['old', 'old', 'old']]);

      const whole = await drush(a, 'cistern:copy-local', '--skipped');
      expect([whole.code, whole.printed]).toEqual([
        0,
        expect.stringMatching(summary('public://: ', 3, 0, 0)),
      ]);
      for (const line of [
        /^public:\/\/d\/x\.sql: not/m,
        /^public:\/\/d\/y\.sql: not/m,
        /^private:\/\/: 0 copied/m,
      ])
        expect(whole.printed).toMatch(line);
      expect(whole.printed).toMatch(/^0 left$/m);
      expect(await drush(a, 'cistern:verify', '--no-orphans')).toMatchObject({ code: 0 });
      expect(await entry(rig().cluster, 'public/d/x.sql')).toBeUndefined();

      const nowhere = await drush(a, 'cistern:switch', 'nowhere');
      expect([nowhere.code, nowhere.printed]).toEqual([1, expect.stringContaining("no side 'nowhere'")]);
      const pulled = await drush(a, 'cistern:pull');
      expect([pulled.code, pulled.printed]).toEqual([1, expect.stringContaining('nothing is pulled')]);
      const unread = await drush(a, 'cistern:switch', 'store', '--no-copy');
      expect([unread.code, unread.printed]).toEqual([1, expect.stringContaining('earlier copy')]);
      expect(await drush(b, 'cistern:switch')).toEqual({ code: 0, printed: 'local\n' });
      expect(await drush(a, 'cistern:switch', 'read-only', '--grace=0.5')).toEqual({
        code: 0,
        printed: 'local (read-only)\n',
      });
      expect((await put('refused')).status).toBe(500);
      expect(await drush(b, 'cistern:switch', 'local')).toMatchObject({ code: 0 });

      await put('late');
      const switched = await drush(a, 'cistern:switch', 'store');
      expect([switched.code, switched.printed]).toEqual([0, expect.stringMatching(summary('', 1, 0, 0))]);
      expect(switched.printed).toMatch(/^store$/m);
      expect((await operate(b, 'read', 'public://d/late.csv')).result).toBe('late');

      await put('1', 'changed in the store');
      await put('new');
      await operate(b, 'delete', 'public://d/2.csv');
      const back = await drush(a, 'cistern:pull', '--dry-run');
      expect([back.code, back.printed]).toEqual([1, expect.stringMatching(/^[23] left$/m)]);
      const again = await drush(a, 'cistern:pull');
      expect([again.code, again.printed]).toEqual([
        0,
        expect.stringMatching(summary('public://: ', 2, 0, 1)),
      ]);
      expect(readFileSync(old('d/1.csv'), 'utf8')).toBe('changed in the store');
      expect([existsSync(old('d/2.csv')), existsSync(old('d/x.sql'))]).toEqual([false, true]);
      const returned = await drush(b, 'cistern:switch', 'local');
      expect([returned.code, returned.printed]).toEqual([0, expect.stringMatching(/^local$/m)]);
      expect((await operate(a, 'read', 'public://d/new.csv')).result).toBe('new');
    });

    it('lists what the store lacks and what has no row, and repairs it', {
      timeout: 120_000,
    }, async (context) => {
      const [a, b] = rig().heads;
      skipIf(context, lacksDrush(a));
      expect(await drush(a, 'cistern:switch', 'store')).toMatchObject({ code: 0 });
      const directory = a.makeDirectory('backup');
      try {
        await operate(b, 'put', 'public://w/lost.csv', { data: 'lost' });
        await b.run("unlink('public://w/lost.csv'); file_put_contents('public://w/stray.csv', 'stray');");
        const listed = await drush(a, 'cistern:verify', '--scheme=public');
        expect(listed.code).toBe(1);
        expect(listed.printed).toMatch(/missing +public:\/\/w\/lost\.csv +nothing/);
        expect(listed.printed).toMatch(/orphan +public:\/\/w\/stray\.csv +5 bytes, no row/);
        mkdirSync(join(directory, 'w'), { recursive: true });
        writeFileSync(join(directory, 'w/lost.csv'), 'lost');
        const repaired = await drush(a, 'cistern:verify', '--no-orphans', `--repair=${directory}`);
        expect([repaired.code, repaired.printed]).toEqual([
          0,
          expect.stringMatching(/public:\/\/w\/lost\.csv .* yes/),
        ]);
        expect((await operate(b, 'read', 'public://w/lost.csv')).result).toBe('lost');
      } finally {
        await drush(a, 'cistern:switch', 'local');
      }
    });
  });
}
