// Take-over is a line in each head's own settings.php: heads that say different things each do what theirs says,
// whichever of them compiled the container first.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { pathOfFile } from '../support/files.ts';
import type { Head } from './head.ts';
import type { Rig } from './rig.ts';

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
}

async function write(head: Head, name: string): Promise<void> {
  await head.run(`\\Drupal::service('file_system')->saveData('text', 'public://${name}');`);
}
