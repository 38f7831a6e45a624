// Volumes that are disks of their own, and full. It needs root, for the disks.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lacksRoot, needs } from '../support/needs.ts';
import { waitFor } from '../support/wait.ts';
import type { Client } from './client.ts';
import type { Stack } from './stack.ts';

const NODES = [1, 2, 3];

/** Before the cluster is up. */
export async function makeSmallVolumes(stack: Stack): Promise<void> {
  for (const n of NODES) await stack.makeDisk(`device${n}`, 512);
}

export function fullVolumes(stack: Stack, client: () => Client): void {
  const inVolume = (n: number, script: string) =>
    stack.exec(`node${n}`, ['sh', '-c', `cd /srv/cistern/dev${n} && ${script}`]);
  // Again and again, since there is room again when a replica that is not needed any more is removed from a volume.
  const fill = (n: number) =>
    inVolume(n, '! dd if=/dev/zero of=filler oflag=append conv=notrunc bs=1M status=none');
  const empty = (n: number) => inVolume(n, 'rm -f filler');

  describe('a volume that is full', () => {
    beforeEach((context) => needs(context, lacksRoot()));
    afterEach(() => Promise.all(NODES.map(empty)));

    it('takes nothing more: uploads go to the others, and what it holds is read', async () => {
      await fill(3);
      for (let n = 0; n < 15; n++) expect(await client().put(`full/one-${n}.txt`, `number ${n}`)).toBe(201);
      expect(await client().lost()).toEqual([]);
      expect(client().failures).toEqual([]);
      let said = '';
      const full = async () => {
        await fill(3);
        said = await stack.status();
        return /device 3 .*full/.test(said);
      };
      await waitFor(full, { what: 'status to say that device 3 is full', timeout: 90_000, every: 500 }).catch(
        (error: Error) => {
          throw new Error(`${error.message}; it says ${said}`);
        },
      );
    });

    it('and all of them: uploads are refused as long as there is no room, deletes are not', async () => {
      await client().put('full/kept.txt', 'kept');
      await client().put('full/deleted.txt', 'deleted');
      const refused = async () => {
        await Promise.all(NODES.map(fill));
        return (await client().put('full/kept.txt', 'x'.repeat(2_000_000))) === 507;
      };
      await waitFor(refused, { what: 'an upload to be refused', every: 500 });
      expect(client().failures.pop()).toContain('insufficient-storage');
      expect(await client().remove('full/deleted.txt')).toBe(204);
      expect(await client().lost()).toEqual([]);
      await Promise.all(NODES.map(empty));
      await waitFor(async () => (await client().put('full/kept.txt', 'replaced')) === 200, {
        what: 'room for uploads',
        every: 500,
      });
      expect(await client().lost()).toEqual([]);
      await stack.healthy();
    });
  });
}
