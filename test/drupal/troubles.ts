// What can be wrong at a head, and that it is told: by the checks of the status report and of `drush cistern:status`, or
// by Drupal not starting.
import { once } from 'node:events';
import { renameSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Rig } from './rig.ts';

const HOUR = 3600_000;

export function troubles(rig: () => Rig): void {
  describe('troubles of a head', () => {
    const head = () => rig().heads[1];
    const checks = async (line: string): Promise<Record<string, string>> => {
      head().configure(line);
      const printed = await head().run(`$found = [];
        foreach (\\Drupal::service('cistern.checks')->run(FALSE) as $check) $found[$check->id] = "$check->state $check->found";
        echo json_encode($found);`);
      return JSON.parse(printed);
    };
    const lineWith = (more: string) => rig().takeOverLine().replace(/\);$/, `, ${more});`);
    /** What the line in settings.php says at PHP's command line. */
    const apply = (options: string[] = []) => {
      const code = `require 'autoload.php'; $settings = [];
        try { \\Cistern\\Drupal\\TakeOver::apply($settings, getcwd(), 'sites/default', trackers: ['http://127.0.0.1:1'], domain: 'd', token: 't'); echo 'accepted'; }
        catch (Exception $e) { echo $e->getMessage(); }`;
      return head().php([...options, '-r', code]);
    };

    beforeAll(() => rig().heads[0].run("\\Drupal::service('module_installer')->install(['cistern']);"));
    afterEach(() => head().configure(rig().takeOverLine()));

    it('are none at first', async () => {
      expect(await apply()).toBe('accepted');
      const found = Object.values(await checks(rig().takeOverLine()));
      expect(found.filter((text) => !text.startsWith('ok '))).toEqual([]);
    });

    it('are a clock that differs from a tracker’s, and a tracker that is not ready', async () => {
      const slow = createServer((request, answer) => {
        answer.setHeader('date', new Date(Date.now() - HOUR).toUTCString());
        answer.writeHead(request.url?.includes('ready') ? 200 : 404).end('{}');
      });
      slow.listen(0, '127.0.0.1');
      await once(slow, 'listening');
      const { port } = slow.address() as { port: number };
      const trackers = `trackers: ['http://127.0.0.1:${port}', 'http://127.0.0.1:1']`;
      try {
        const { clock, trackers: ready } = await checks(
          rig()
            .takeOverLine()
            .replace(/trackers: \[[^\]]*\]/, trackers),
        );
        expect(clock).toMatch(/^error .*127\.0\.0\.1:\d+: -3[56]\d\d s/);
        expect(ready).toMatch(/^warning 1 of 2 ready\. Not: http:\/\/127\.0\.0\.1:1:/);
      } finally {
        slow.close();
      }
    });

    it('are directories that are not there, and little room', async () => {
      const missing = await checks(lineWith("spool_directory: '/nowhere'"));
      expect(missing.local).toMatch(/^error Not writable .*: \/nowhere \(uploads on their way\)/);
      expect(missing.spool).toMatch(/^warning 0 MiB free in \/nowhere/);
      // Its file system has no room at all.
      expect((await checks(lineWith("spool_directory: '/proc'"))).spool).toMatch(
        /^warning 0 MiB free in \/proc/,
      );
    });

    it('are a configuration directory that only this head sees', async () => {
      const before = "$settings['config_sync_directory'] = 'sites/default/files/config_x/sync';";
      expect((await checks(`${before} ${rig().takeOverLine()}`)).config_sync).toMatch(
        /^warning config_sync_directory is sites/,
      );
    });

    it('are a PHP that opens no URLs: then Drupal does not start', async () => {
      expect(await apply(['-d', 'allow_url_fopen=0'])).toContain('allow_url_fopen is off');
    });

    it('are a package of which a file is missing: then Drupal does not start', async () => {
      const yaml = join(head().documentRoot, '../vendor/cistern/cistern/drupal/autoload/services/public.yml');
      renameSync(yaml, `${yaml}.away`);
      try {
        expect(await apply()).toMatch(/services\/public\.yml is missing or not readable/);
      } finally {
        renameSync(`${yaml}.away`, yaml);
      }
      expect(await apply()).toBe('accepted');
    });
  });
}
