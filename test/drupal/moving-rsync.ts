// A site whose heads have directories of their own, kept half in step by rsync: merged by `cistern import`, switched on
// all heads at once, and taken back, while editors work on both heads.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { findProgram } from '../support/daemon.ts';
import { lacksProgram } from '../support/needs.ts';
import { giveToPool } from '../support/web-head.ts';
import { drush, lacksDrush, skipIf } from './drush.ts';
import { Editor, shown } from './editor.ts';
import type { Head } from './head.ts';
import type { Rig } from './rig.ts';
import { operate, prepareSwitching, switchTo } from './switching.ts';

const MAIN = new URL('../../ops/main.ts', import.meta.url).pathname;
const PREFIX = 'from-rsync';

export function movingFromRsync(rig: () => Rig): void {
  describe('a site whose heads were kept in step by rsync', () => {
    const old = (head: Head) => join(head.directory, 'own-files');
    const writeOld = (head: Head, path: string, text: string) => {
      mkdirSync(join(old(head), 'load'), { recursive: true });
      writeFileSync(join(old(head), path), text);
      giveToPool(join(old(head), 'load'));
      giveToPool(join(old(head), path));
    };

    it('goes to the store on all heads at once with what any of them has, and back, and shows no error', {
      timeout: 400_000,
    }, async (context) => {
      const [a, b] = rig().heads;
      skipIf(context, lacksDrush(a) ?? lacksProgram('rsync'));
      await prepareSwitching(rig());
      for (const head of [a, b]) {
        head.makeDirectory('own-files');
        head.configure(
          rig()
            .takeOverLine()
            .replace(/'public' => '[^']*'/, `'public' => '${old(head)}'`)
            .replace(/, fallback:/, `, prefix: '${PREFIX}', fallback:`),
        );
      }
      await switchTo(a, 'local', 'TRUE, TRUE, 1.0');
      const editors = [new Editor('rsync-a', a, a), new Editor('rsync-b', b, b)] as const;
      // rsync brings back what is deleted on one head: that is why they move.
      for (const editor of editors) editor.deletes = false;
      let done = false;
      let synchronizes = true;
      const work = Promise.all(editors.map((editor) => editor.work(() => done)));
      const synchronizing = (async () => {
        while (synchronizes) {
          for (const [from, to] of [
            [a, b],
            [b, a],
          ] as const)
            await promisify(execFile)(findProgram('rsync') ?? 'rsync', [
              '-a',
              '--update',
              `${old(from)}/`,
              `${old(to)}/`,
            ]);
          await sleep(300);
        }
      })();
      const errors = () => editors.flatMap((editor) => editor.errors);
      try {
        await sleep(2000);
        for (const head of [a, b]) writeOld(head, 'load/deleted.csv', 'on both heads, and then on none');
        const { trackers, domain, token } = rig().cluster;
        const command = `CISTERN_URL=${trackers.map(({ url }) => url).join(',')} CISTERN_DOMAIN=${domain} CISTERN_TOKEN=${token} ${process.execPath} ${MAIN} import --prefix ${PREFIX}/public --from a=${old(a)} --from b=${old(b)}`;
        const shell = (line: string) => promisify(execFile)('bash', ['--norc', '-c', line]);
        await shell(`timeout -s KILL 0.6 env ${command}`).catch(() => undefined);
        // Editors write meanwhile: what changed while it was read is for the next run.
        await shell(command).catch(({ stdout }) => expect(stdout).toContain('it changed while it was read'));

        synchronizes = false;
        await synchronizing;
        for (const head of [a, b]) rmSync(join(old(head), 'load/deleted.csv'));
        writeOld(a, 'load/only-a.csv', 'never synchronized');
        writeOld(b, 'load/only-b.csv', 'never synchronized');
        const failing = await drush(a, 'cistern:switch', 'store', '--force', '--last-pass=echo no; exit 3');
        expect([failing.code, failing.printed]).toEqual([
          1,
          expect.stringContaining('ended with exit code 3'),
        ]);
        const switched = await drush(
          a,
          'cistern:switch',
          'store',
          '--force',
          `--last-pass=${command} --delete`,
        );
        expect(switched).toMatchObject({ code: 0, printed: expect.stringMatching(/^store$/m) });
        for (const [i, editor] of editors.entries()) {
          editor.other = [b, a][i] as Head;
          editor.deletes = true;
        }
        for (const head of [a, b]) {
          expect(await shown(head, 'public://load/only-a.csv')).toBe('never synchronized');
          expect(await shown(head, 'public://load/only-b.csv')).toBe('never synchronized');
          expect(await shown(head, 'public://load/deleted.csv')).toBeNull();
        }
        await sleep(3000);
        expect(errors()).toEqual([]);

        const pulls = [a, b].map(
          (head) => `(cd ${head.documentRoot} && php ../vendor/bin/drush.php cistern:pull)`,
        );
        const back = await drush(
          b,
          'cistern:switch',
          'local',
          '--force',
          `--last-pass=${pulls.join(' && ')}`,
        );
        expect(back).toMatchObject({ code: 0, printed: expect.stringMatching(/^local$/m) });
        for (const editor of editors) [editor.deletes, editor.other] = [false, editor.head];
        await sleep(1000);
      } finally {
        synchronizes = false;
        done = true;
        await work;
      }
      expect(errors()).toEqual([]);
      for (const editor of editors) await editor.check([editor.head]);
      expect(existsSync(join(old(b), 'load/only-a.csv'))).toBe(true);
      expect(readFileSync(join(old(a), 'load/only-b.csv'), 'utf8')).toBe('never synchronized');
      expect((await operate(a, 'side', '')).result).toBe('Cistern\\Drupal\\OldPublicStream');
      for (const head of [a, b]) head.configure(rig().takeOverLine());
    });
  });
}
