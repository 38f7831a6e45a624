// Take-over is a line in each head's own settings.php: heads that say different things each do what theirs says,
// whichever of them compiled the container first.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { pathOfFile } from '../support/files.ts';
import type { Head } from './head.ts';
import type { Rig } from './rig.ts';
import { entry } from './site.ts';

export function takeOver(rig: () => Rig): void {
  describe('take-over at one head and not at the other', () => {
    afterAll(() => rig().heads[1].configure(rig().takeOverLine()));

    it.each(['on', 'off'])(
      'works when the head where it is %s compiles the container first',
      async (first) => {
        const [on, off] = rig().heads;
        off.configure('');
        await on.run("\\Drupal::service('kernel')->invalidateContainer();");
        for (const head of first === 'on' ? [on, off] : [off, on]) {
          expect((await fetch(`${head.url('nginx')}/user/login`)).status).toBe(200);
        }
        const name = `first-${first}`;
        for (const head of rig().heads) await write(head, `${name}-${head.name}.txt`);
        const stored = async (head: Head) => {
          const answer = await rig().cluster.request('HEAD', pathOfFile(`public/${name}-${head.name}.txt`));
          return answer.status === 200;
        };
        const local = (head: Head) =>
          existsSync(join(head.documentRoot, 'sites/default/files', `${name}-${head.name}.txt`));
        expect([await stored(on), local(on)]).toEqual([true, false]);
        expect([await stored(off), local(off)]).toEqual([false, true]);
      },
    );
  });

  describe('heads with one compiled container', () => {
    afterAll(() => rig().heads[0].configure(rig().takeOverLine()));

    it('each obey their own line: nothing of it is compiled', async () => {
      const [head] = rig().heads;
      const containers = () =>
        head.run(
          "echo json_encode(\\Drupal::database()->query('SELECT cid, created FROM {cache_container} ORDER BY cid')->fetchAllKeyed());",
        );
      expect((await fetch(`${head.url('nginx')}/user/login`)).status).toBe(200);
      const compiled = await containers();
      head.configure(rig().takeOverLine().replace(/\);$/, ", prefix: 'other-line');"));
      await write(head, 'one-container.txt');
      expect(await entry(rig().cluster, 'other-line/public/one-container.txt')).toBeDefined();
      expect(await entry(rig().cluster, 'public/one-container.txt')).toBeUndefined();
      expect(await containers()).toBe(compiled);
    });
  });

  describe('take-over and configuration', () => {
    it('goes on after an import that takes the module away, and exports no secret', async () => {
      const [on] = rig().heads;
      await on.run("\\Drupal::service('module_installer')->install(['cistern']);");
      // As `drush config:export`, an editor's hand and `drush config:import` do it.
      const exported = await on.run(`$active = \\Drupal::service('config.storage');
        $sync = \\Drupal::service('config.storage.sync');
        foreach ($active->listAll() as $name) $sync->write($name, $active->read($name));
        echo json_encode($sync->readMultiple($sync->listAll()), JSON_UNESCAPED_SLASHES);`);
      expect(exported).toContain('"cistern.settings"');
      for (const secret of [rig().cluster.token, ...rig().cluster.trackers.map(({ url }) => url)])
        expect(exported).not.toContain(secret);
      await on.run(`$sync = \\Drupal::service('config.storage.sync');
        $extensions = $sync->read('core.extension');
        unset($extensions['module']['cistern']);
        $sync->write('core.extension', $extensions);
        $sync->delete('cistern.settings');
        $changes = new \\Drupal\\Core\\Config\\StorageComparer($sync, \\Drupal::service('config.storage'));
        $services = ['event_dispatcher', 'config.manager', 'lock.persistent', 'config.typed', 'module_handler', 'module_installer',
          'theme_handler', 'string_translation', 'extension.list.module', 'extension.list.theme'];
        (new \\Drupal\\Core\\Config\\ConfigImporter($changes->createChangelist(), ...array_map(\\Drupal::service(...), $services)))->import();`);
      const after = await on.run(
        "echo json_encode([\\Drupal::moduleHandler()->moduleExists('cistern'), get_class(\\Drupal::service('stream_wrapper_manager')->getViaScheme('public'))]);",
      );
      expect(JSON.parse(after)).toEqual([false, 'Cistern\\Drupal\\PublicStream']);
      await write(on, 'after-import.txt');
      expect(await entry(rig().cluster, 'public/after-import.txt')).toBeDefined();
    });
  });
}

async function write(head: Head, name: string): Promise<void> {
  await head.run(`\\Drupal::service('file_system')->saveData('text', 'public://${name}');`);
}
