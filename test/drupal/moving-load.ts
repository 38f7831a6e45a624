// The whole way of a live site under load: on both heads visitors upload, replace, delete and look at files and
// derivatives, while it is copied, switched, pulled and switched back, and while what does that is killed.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { waitFor } from '../support/wait.ts';
import { Editor } from './editor.ts';
import type { Rig } from './rig.ts';
import { entry } from './site.ts';
import { operate, pass, switchTo } from './switching.ts';

export function movingUnderLoad(rig: () => Rig): void {
  describe('a site that moves under load', () => {
    it('loses nothing, brings nothing back and shows no error while it moves there and back', {
      timeout: 400_000,
    }, async () => {
      const [a, b] = rig().heads;
      const editors = [new Editor('a', a, b), new Editor('b', b, a)] as const;
      let done = false;
      const work = Promise.all(editors.map((editor) => editor.work(() => done)));
      /** Kills the process that does it, in the middle. */
      const killed = async (way: 'copyIn' | 'copyOut', seconds: number) => {
        const kill = `exec('(sleep ${seconds}; kill -9 ' . getmypid() . ') > /dev/null 2>&1 &');`;
        await a
          .run(
            `${kill} while (TRUE) \\Drupal::service('cistern.mover')->${way}(new \\Cistern\\Moving\\Limits());`,
          )
          .then(
            () => expect.unreachable(),
            () => undefined,
          );
      };
      const errors = () => editors.flatMap((editor) => editor.errors);
      try {
        await sleep(2000);
        await killed('copyIn', 0.7);
        await killed('copyIn', 0.4);
        expect(await pass(a, 'copyIn')).toMatchObject({ failed: [] });
        // A switch that is killed leaves the site on the side where it is, and at work.
        const interrupted = `exec('(sleep 1.2; kill -9 ' . getmypid() . ') > /dev/null 2>&1 &');
        \\Drupal::service('cistern.switcher')->to('store', TRUE, FALSE, 3.0, fn() => NULL);`;
        await a.run(interrupted).catch(() => undefined);
        expect(await operate(b, 'side', '')).toMatchObject({ result: 'Cistern\\Drupal\\OldPublicStream' });
        expect(await switchTo(b, 'store')).toBe('store yes');
        expect([errors(), (await operate(a, 'side', '')).result]).toEqual([
          [],
          'Cistern\\Drupal\\PublicStream',
        ]);
        const [, second] = rig().cluster.trackers;
        await second?.kill();
        await sleep(2000);
        await second?.start();
        await killed('copyOut', 0.6);
        expect(errors()).toEqual([]);
        for (const editor of editors) editor.tolerant = true;
        const master = readFileSync(join(b.directory, 'run/php-fpm.pid'), 'utf8').trim();
        execFileSync('pkill', ['-KILL', '-P', master]);
        await waitFor(async () => (await operate(b, 'side', '')).status === 200, {
          what: 'the head to be back',
        });
        await sleep(1000);
        for (const editor of editors) editor.tolerant = false;
        await pass(b, 'copyOut');
        expect(await switchTo(a, 'local')).toBe('local yes');
        await sleep(2000);
      } finally {
        done = true;
        await work;
      }
      expect(errors()).toEqual([]);
      for (const editor of editors) await editor.check([a, b]);
      const printed = await a.run(`$files = [];
      foreach (\\Drupal::service('file_system')->scanDirectory('public://load', '/csv$/') as $file) $files[] = $file->uri;
      echo json_encode($files);`);
      const there = editors.flatMap((editor) => [...editor.files].filter(([, text]) => text !== null));
      expect((JSON.parse(printed) as string[]).sort()).toEqual(there.map(([uri]) => uri).sort());
    });
  });
}

export function verifying(rig: () => Rig): void {
  describe('verify', () => {
    const verify = async (more = ''): Promise<string[]> =>
      JSON.parse(
        await rig().heads[0].run(`$rows = [];
          foreach (\\Drupal::service('cistern.verifier')->differences(['public']${more}) as $row)
            if (str_contains($row['uri'], '/v/')) $rows[] = "$row[kind] $row[uri]" . ($row['repaired'] ? ' repaired' : '');
          echo json_encode($rows);`),
      );

    it('finds what is missing, has another size or no row, and repairs from a directory', async () => {
      const [a] = rig().heads;
      await switchTo(a, 'store');
      const directory = a.makeDirectory('repair');
      await a.run(`$files = \\Drupal::service('file.repository'); $dir = 'public://v';
        \\Drupal::service('file_system')->prepareDirectory($dir, 1);
        foreach (['good', 'missing', 'short', 'lost'] as $name) {
          $files->writeData("text of $name", "$dir/$name.csv");
          if ($name !== 'lost') { @mkdir('${directory}/v'); file_put_contents("${directory}/v/$name.csv", "text of $name"); }
        }
        unlink("$dir/missing.csv"); unlink("$dir/lost.csv"); file_put_contents("$dir/short.csv", 'x');
        file_put_contents("$dir/orphan.csv", 'nobody knows me');`);
      const found = [
        'missing public://v/lost.csv',
        'missing public://v/missing.csv',
        'orphan public://v/orphan.csv',
        'size public://v/short.csv',
      ];
      expect((await verify()).sort()).toEqual(found);
      expect((await verify(`, FALSE, '${directory}'`)).sort()).toEqual([
        'missing public://v/lost.csv',
        'missing public://v/missing.csv repaired',
        'size public://v/short.csv repaired',
      ]);
      expect(await verify(', FALSE')).toEqual(['missing public://v/lost.csv']);
      expect((await operate(a, 'read', 'public://v/short.csv')).result).toBe('text of short');
    });
  });
}

export function readingAnOrigin(rig: () => Rig): void {
  describe('a site that reads an origin', () => {
    it("reads another site's public files, makes derivatives of them, and stores none of them", {
      timeout: 180_000,
    }, async () => {
      const [a, b] = rig().heads;
      await switchTo(a, 'store');
      const image = readFileSync(join(b.documentRoot, 'core/misc/druplicon.png'));
      const asked: string[] = [];
      const origin = createServer((request, response) => {
        asked.push(`${request.method} ${request.url}`);
        const found = { '/f/there.csv': 'there', '/f/there.png': image }[request.url ?? ''];
        response.writeHead(found === undefined ? 404 : 200).end(found);
      });
      origin.listen(0, '127.0.0.1');
      await once(origin, 'listening');
      const { port } = origin.address() as { port: number };
      const line = rig()
        .takeOverLine()
        .replace(/, fallback: .*\);$/, `, prefix: 'developer', origin: 'http://127.0.0.1:${port}/f');`);
      b.configure(line);
      try {
        const get = async (path: string) => {
          const answer = await fetch(`${b.url('nginx')}/sites/default/files/${path}`);
          return [answer.status, answer.status === 200 ? await answer.text() : ''];
        };
        expect(await get('there.csv')).toEqual([200, 'there']);
        expect((await get('none.csv'))[0]).toBe(404);
        expect((await operate(b, 'read', 'public://there.csv')).result).toBe('there');
        const style = String((await operate(b, 'style', 'public://there.png')).result);
        expect((await fetch(b.url('nginx') + style)).headers.get('content-type')).toMatch(/^image/);
        for (const name of ['there.csv', 'there.png']) {
          expect(await entry(rig().cluster, `developer/public/${name}`)).toBeUndefined();
        }
        expect((await operate(b, 'unlink', 'public://there.csv')).result).toBe(true);
        expect((await get('there.csv'))[0]).toBe(404);
        expect(asked.filter((request) => !request.startsWith('GET '))).toEqual([]);
      } finally {
        b.configure(rig().takeOverLine());
        origin.close();
      }
    });
  });
}
