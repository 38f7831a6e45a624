// How often Drupal's operations on files ask a tracker: each request is time that somebody waits for.
import { describe, expect, it } from 'vitest';
import { figure } from './figures.ts';
import type { Rig } from './rig.ts';

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
  });
}
