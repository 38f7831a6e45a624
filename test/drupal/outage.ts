// With every tracker out of reach: nothing that could not be done seems done, nothing that is there seems absent, and
// the site stays up.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Fault, FaultProxy } from '../support/fault-proxy.ts';
import { waitFor } from '../support/wait.ts';
import { type Head, SERVERS } from './head.ts';
import type { Rig } from './rig.ts';
import { Visitor } from './visitor.ts';

interface Site {
  page: string;
  original: string;
  derivative: string;
  private: string;
  uri: string;
  fid: string;
}

const FAULTS: Record<string, Fault> = {
  refuse: { kind: 'refuse' },
  hang: { kind: 'stall', way: 'answer' },
};
const WRITES = {
  saveData: 'Drupal\\Core\\File\\Exception\\FileWriteException',
  copy: 'Drupal\\Core\\File\\Exception\\FileWriteException',
  move: 'Drupal\\Core\\File\\Exception\\FileWriteException',
  'copy from the store': 'Cistern\\Exception\\Unavailable',
  delete: 'Cistern\\Exception\\Unavailable',
  deleteRecursive: 'Cistern\\Exception\\Unavailable',
  file_exists: 'Cistern\\Exception\\Unavailable',
  file_put_contents: 'Cistern\\Exception\\Unavailable',
  unlink: 'Cistern\\Exception\\Unavailable',
  'file entity, delete': 'Drupal\\Core\\Entity\\EntityStorageException',
};

export function outage(rig: () => Rig): void {
  describe('without any tracker', () => {
    let proxies: FaultProxy[];
    const head = (): Head => rig().heads[0];
    const makeSite = async (): Promise<Site> => JSON.parse(await head().script('outage-site.php'));
    const set = (fault?: Fault) => Promise.all(proxies.map((proxy) => proxy.set(fault)));

    beforeAll(async () => {
      proxies = rig().cluster.trackers.map(({ url }) => new FaultProxy(url));
      await Promise.all(proxies.map((proxy) => proxy.start()));
      const line = rig().cluster.trackers.reduce(
        (text, { url }, i) => text.replace(url, proxies[i]?.url ?? ''),
        rig().takeOverLine(),
      );
      head().configure(line.replace(/\);$/, ', timeout: 2.0, deadline: 4.0);'));
    });
    afterAll(async () => {
      head().configure(rig().takeOverLine());
      await Promise.all((proxies ?? []).map((proxy) => proxy.stop()));
    });

    it.each(Object.keys(FAULTS))(
      'that %ss its connections, keeps the site up and the truth told',
      { timeout: 240_000 },
      async (kind) => {
        const site = await makeSite();
        const seen = await makeSite();
        const visitor = new Visitor(head().url('nginx'));
        expect(await visitor.status(seen.page)).toBe(200);
        const editors = SERVERS.map((server) => [server, new Visitor(head().url(server))] as const);
        for (const [, editor] of editors) await editor.logIn('editor');
        await set(FAULTS[kind]);
        try {
          // What a cache has needs no store.
          const cached = await visitor.get(seen.page);
          expect([cached.status, cached.headers.get('x-drupal-cache')]).toEqual([200, 'HIT']);
          for (let i = 0; i < 2; i++) {
            const page = await visitor.get(site.page);
            expect([page.status, page.headers.get('x-drupal-cache')]).toEqual([
              200,
              expect.stringContaining('UNCACHEABLE'),
            ]);
            expect(await page.text()).not.toContain('width="88"');
          }
          for (const path of [site.original, site.derivative]) {
            const answer = await visitor.get(path);
            expect([path, answer.status, answer.headers.get('retry-after')]).toEqual([path, 503, '5']);
          }
          const administrator = new Visitor(head().url('nginx'));
          expect((await administrator.logIn('admin')).status).toBe(303);
          expect(await administrator.status(site.private)).toBe(503);
          const report = await administrator.get('/admin/reports/status');
          expect(report.status).toBe(200);
          for (const [server, editor] of editors) {
            const upload = await editor.submit('/node/add/article', 'node_article_form', {
              'title[0][value]': 'Not with this file',
              'files[field_huge_0][]': new File(['not stored'], 'not-stored.bin'),
              op: 'Save',
            });
            expect([server, upload.status, upload.headers.get('retry-after')]).toEqual([server, 503, '5']);
          }
          const writes = JSON.parse(await head().script('outage-writes.php', [site.uri, site.fid]));
          const thrown = Object.entries(WRITES).map(([what, exception]) => [what, `throws ${exception}`]);
          expect(writes).toEqual({
            ...Object.fromEntries(thrown),
            'file entity': 'kept',
            cron: 'true',
            'cache rebuild': 'NULL',
          });
        } finally {
          await set();
        }
        await heals(site);
        expect(
          await head().run(
            "echo count(\\Drupal::entityTypeManager()->getStorage('file')->loadByProperties(['filename' => 'not-stored.bin']));",
          ),
        ).toBe('0');
      },
    );

    it('that come and go, answers files with 200 or 503 and pages with 200', {
      timeout: 120_000,
    }, async () => {
      const visitor = new Visitor(head().url('nginx'));
      const site = await makeSite();
      const end = Date.now() + 8_000;
      const flapping = (async () => {
        for (let i = 0; Date.now() < end; i++) {
          await set([FAULTS.refuse, undefined, FAULTS.hang, undefined][i % 4]);
          await new Promise((resolve) => setTimeout(resolve, 700));
        }
        await set();
      })();
      while (Date.now() < end) {
        expect(await visitor.status(`${site.page}?${Date.now()}`)).toBe(200);
        expect([200, 503]).toContain(await visitor.status(site.original));
        expect([200, 503]).toContain(await visitor.status(site.derivative));
      }
      await flapping;
      await heals(await makeSite());
    });

    async function heals(site: Site): Promise<void> {
      const visitor = new Visitor(head().url('nginx'));
      for (const path of [site.original, site.derivative]) {
        await waitFor(async () => (await visitor.status(path)) === 200, {
          what: `${path} to be served again`,
        });
      }
      const page = await (await visitor.get(site.page)).text();
      expect(page).toContain('width="88"');
    }
  });
}
