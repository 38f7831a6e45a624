// How often Drupal's operations on files ask a tracker: each request is time that somebody waits for.
import { describe, expect, it } from 'vitest';
import type { Cluster } from '../support/cluster.ts';
import { figure } from './figures.ts';
import { makeImage } from './files.ts';
import type { Head } from './head.ts';
import type { Rig } from './rig.ts';
import { upload } from './site.ts';

/** At most so many requests. */
const LIMITS: Record<string, number> = {
  prepareDirectory: 1,
  saveData: 2,
  'saveData, name taken': 2,
  'saveData, two names taken': 2,
  copy: 1,
  move: 1,
  'copy, to another directory': 1,
  'move, to another directory': 1,
  scanDirectory: 1,
  'file.repository writeData': 2,
  'file entity, saved unchanged': 1,
  'file entity, its URL': 0,
  'image style, a URL': 0,
  'first derivative': 4,
  derivative: 1,
  original: 1,
  'image style, flushed, first time': 1,
  'image style, flushed, second time': 1,
  'page with 50 inline images': 50,
  'page with 50 inline images, rendered again': 1,
  'page with 200 image fields': 0,
  deleteRecursive: 1,
};

export function roundTrips(rig: () => Rig): void {
  describe('requests to the trackers', () => {
    it('are as few as they can be', { timeout: 120_000 }, async (context) => {
      const counts: Record<string, number> = JSON.parse(await rig().heads[0].script('round-trips.php'));
      for (const [operation, count] of Object.entries(counts)) {
        figure(context, `requests: ${operation}`, String(count));
      }
      expect(Object.keys(counts).sort()).toEqual(Object.keys(LIMITS).sort());
      const above = Object.entries(counts).filter(([operation, count]) => count > (LIMITS[operation] ?? 0));
      expect(above).toEqual([]);
    });

    it('are none for a page from the page cache', async () => {
      const [, b] = rig().heads;
      const page = await pageWithImage(b);
      const look = async () => {
        const before = await asked(rig().cluster);
        const answer = await fetch(b.url('nginx') + page);
        await answer.text();
        return { cache: answer.headers.get('x-drupal-cache'), asked: (await asked(rig().cluster)) - before };
      };
      // How many that were is not looked at: of an image only the beginning is read, and trackers do not count what was
      // broken off.
      expect((await look()).cache).toBe('MISS');
      expect(await look()).toEqual({ cache: 'HIT', asked: 0 });
    });
  });
}

/** A page that nobody has seen yet, with an image in its text. Returns its path. */
async function pageWithImage(head: Head): Promise<string> {
  const uri = await upload(head, await makeImage(head, 'cached'));
  return head.run(`$file = \\Drupal::service('file.repository')->loadByUri('${uri}');
    $img = '<img alt="" data-entity-type="file" data-entity-uuid="' . $file->uuid() . '" src="' . $file->createFileUrl() . '">';
    $body = ['value' => $img, 'format' => 'full_html'];
    $node = \\Drupal\\node\\Entity\\Node::create(['type' => 'page', 'title' => 'Cached', 'status' => 1, 'body' => $body]);
    $node->save();
    echo '/node/', $node->id();`);
}

/** How many requests for files the trackers have answered. Nodes ask them for other things. */
async function asked(cluster: Cluster): Promise<number> {
  const pages = cluster.trackers.map(async ({ url }) => (await fetch(`${url}/metrics`)).text());
  const counts = (await Promise.all(pages))
    .join('\n')
    .matchAll(/^cistern_http_request_seconds_count\{[^}]*route="\/v1\/domains\/[^}]*\} (\d+)/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}
