// Drupal with its files in Cistern beside the same Drupal with its files on a local disk, in one run: what visitors
// and editors wait for.
import { findCodeBase } from '../../test/drupal/code-base.ts';
import { makeImage } from '../../test/drupal/files.ts';
import type { Head, Server } from '../../test/drupal/head.ts';
import { Rig } from '../../test/drupal/rig.ts';
import { publicPath, styledPaths, uploadMany } from '../../test/drupal/site.ts';
import { Visitor } from '../../test/drupal/visitor.ts';
import { EmbeddedServer } from '../../test/support/embedded-postgres.ts';
import { createDatabaseOn } from '../../test/support/postgres.ts';
import { lacksWebServers } from '../../test/support/web-head.ts';
import type { Bench, Findings, Row, Suite } from '../lib/suite.ts';
import type { TargetName } from '../lib/targets.ts';
import { find, wrk } from '../lib/tools.ts';

const INLINE_IMAGES = 50;
const ROUNDS = 15;
/** Of requests at once, a second each: many short rounds in turn, so that what disturbs one site disturbs the other. */
const LOAD_ROUNDS = 9;
const CONCURRENCY = 8;
const UPLOAD = Buffer.alloc(1024 * 1024, 'a file to upload');
const KiB = 1024;
/** Public files as editors upload them: a small picture, one that was made for the web, and one as a camera makes it. */
const ORIGINALS: { size: number; name: string; target?: TargetName }[] = [
  { size: 32 * KiB, name: '32 KiB' },
  { size: 256 * KiB, name: '256 KiB' },
  { size: 1024 * KiB, name: '1 MiB', target: 'drupal-original' },
];

/** One of the two sites, with what is measured on it. */
interface Site {
  where: string;
  rig: Rig;
  head: Head;
  /** Another one that has the files: the same head where they are on its disk. */
  other: Head;
  /** Paths of a page with inline images, and of the originals. */
  page: string;
  originals: string[];
  editor: Visitor;
}

type Pair = [local: Site, stored: Site];

/** How a path is asked for. */
interface Way {
  server: Server;
  path: string;
}

export const drupal: Suite = {
  name: 'drupal',
  title: 'Drupal',
  about:
    'The same Drupal twice (php-fpm behind nginx): with its files on the local disk of one head, and on two heads with its ' +
    'files in Cistern (two trackers, three nodes), in turn. What is served again is there asked for at the other head than ' +
    `the one that made it. The page has ${INLINE_IMAGES} images in its text; 'uncached' is with all caches of rendered ` +
    `pages emptied. The sites take turns, ${ROUNDS} times for one request and ${LOAD_ROUNDS} times for a second of requests at ` +
    `concurrency ${CONCURRENCY}; a target is held against the median of what each round says of one by the other.`,
  run: async (bench) => {
    const skip = (why: string): Findings => ({ rows: [], skipped: [why], figures: {} });
    if (bench.quick) return skip('a site takes minutes to be made: not in a quick run');
    const lack = find('wrk') === undefined ? 'wrk is not installed' : lacksWebServers();
    if (lack !== undefined) return skip(lack);
    const code = await findCodeBase();
    if (typeof code === 'string') return skip(code);
    const server = await EmbeddedServer.create({ max_connections: '200' });
    const makeDatabase = () => createDatabaseOn(server.url);
    const rigs: Rig[] = [];
    try {
      for (const takeOver of [false, true]) {
        bench.say(`installing a site ${takeOver ? 'in Cistern' : 'on a local disk'}`);
        rigs.push(await Rig.build({ code, takeOver, makeDatabase }));
      }
      const [local, stored] = await Promise.all(
        rigs.map((rig, i) => prepare(rig, i === 0 ? 'local disk' : 'Cistern')),
      );
      return await measure(bench, local as Site, stored as Site);
    } finally {
      for (const rig of rigs) await rig.stop();
      await server.remove();
    }
  },
};

async function prepare(rig: Rig, where: string): Promise<Site> {
  const head = rig.heads[0];
  const editor = new Visitor(head.url('nginx'));
  await editor.logIn('editor');
  const uris = await uploadMany(head, await makeImage(head, 'inline'), INLINE_IMAGES);
  const page = await head.run(`
    $html = '';
    foreach (explode(' ', '${uris.join(' ')}') as $uri) {
      $file = \\Drupal::service('file.repository')->loadByUri($uri);
      $html .= '<p><img alt="" data-entity-type="file" data-entity-uuid="' . $file->uuid() . '" src="' . $file->createFileUrl() . '"></p>';
    }
    $values = ['type' => 'page', 'title' => 'Illustrated', 'status' => 1, 'body' => ['value' => $html, 'format' => 'full_html']];
    $node = \\Drupal\\node\\Entity\\Node::create($values);
    $node->save();
    echo '/node/', $node->id();`);
  const originals: string[] = [];
  for (const { size } of ORIGINALS) {
    const uri = `public://original-${size}.jpg`;
    await head.run(`file_put_contents('${uri}', str_repeat('original', ${size / 8}));`);
    originals.push(publicPath(uri));
  }
  const other = where === 'Cistern' ? rig.heads[1] : head;
  return { where, rig, head, other, page, originals, editor };
}

async function measure(bench: Bench, local: Site, stored: Site): Promise<Findings> {
  const rows: Row[] = [];
  const figures: Findings['figures'] = {};
  const sites: Pair = [local, stored];

  /** Times `work` on both sites in turn. Returns Cistern's time by the local disk's. */
  const time = async (what: string, work: (site: Site, round: number) => Promise<number>) => {
    bench.say(what);
    const times = await inTurn(sites, ROUNDS, work);
    for (const [i, site] of sites.entries()) {
      rows.push({ what, files: site.where, 'ms (median)': round1(median(times[i] ?? [])), 'a second': '' });
    }
    return ratio(times);
  };
  /** Asks both sites in turn for one path, as fast as they can. Returns Cistern's rate by the local disk's. */
  const load = async (what: string, ways: [Way, Way]) => {
    bench.say(what);
    const p50s: [number[], number[]] = [[], []];
    const rates = await inTurn(sites, LOAD_ROUNDS, async (site) => {
      const i = site === local ? 0 : 1;
      const { server, path } = ways[i];
      const how = { concurrency: CONCURRENCY, seconds: 1 };
      const { perSecond, p50 } = await wrk(find('wrk') as string, site.head.url(server), [path], how);
      p50s[i].push(p50);
      return perSecond;
    });
    for (const [i, site] of sites.entries()) {
      const ms = round1(median(p50s[i]?.slice(1) ?? []));
      rows.push({
        what: `${what}, by ${ways[i]?.server}`,
        files: site.where,
        'ms (median)': ms,
        'a second': Math.round(median(rates[i] ?? [])),
      });
    }
    return ratio(rates);
  };

  figures['drupal-uncached'] = await time('page, uncached', async ({ head, page }) => {
    await head.run("\\Drupal\\Core\\Cache\\Cache::invalidateTags(['rendered']);");
    return timed(async () => expectStatus(await fetch(head.url('nginx') + page), 200));
  });
  const cached = sites.map(({ page }): Way => ({ server: 'nginx', path: page })) as [Way, Way];
  figures['drupal-cached'] = await load('page, from the page cache', cached);
  figures['drupal-upload'] = await time('content form with a file of 1 MiB', ({ editor }, round) =>
    timed(async () => expectStatus(await save(editor, round), 303)),
  );
  await derivatives(sites, time);
  for (const [i, { name, target }] of ORIGINALS.entries()) {
    const [there, here] = sites.map(({ originals }) => originals[i] as string) as [string, string];
    const byNginx: Way = { server: 'nginx', path: there };
    const figure = await load(`original of ${name}`, [
      byNginx,
      { server: 'nginx with the gateway', path: here },
    ]);
    if (target !== undefined) figures[target] = figure;
    await load(`original of ${name}`, [byNginx, { server: 'nginx', path: here }]);
  }
  return { rows, skipped: [], figures };
}

/** Measures both sites in turn, so many times and once to warm up; each begins every other time. */
async function inTurn(
  sites: Pair,
  rounds: number,
  work: (site: Site, round: number) => Promise<number>,
): Promise<[number[], number[]]> {
  const found: [number[], number[]] = [[], []];
  for (let round = 0; round <= rounds; round++) {
    for (const i of round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
      const value = await work(sites[i], round);
      if (round > 0) found[i].push(value);
    }
  }
  return found;
}

/** What the second one is by the first, in the median of the rounds. */
function ratio([first, second]: [number[], number[]]): number {
  return median(second.map((value, round) => value / (first[round] ?? Number.NaN)));
}

/** The first request for a derivative, which makes it, and one that finds it: on the other head where that has it. */
async function derivatives(
  sites: Pair,
  time: (what: string, work: (site: Site, round: number) => Promise<number>) => Promise<number>,
): Promise<void> {
  const paths = new Map<Site, string[]>();
  for (const site of sites) {
    const image = await makeImage(site.head, 'source');
    paths.set(site, await styledPaths(site.head, await uploadMany(site.head, image, ROUNDS + 1), 'large'));
    // What a head needs once, such as its container, is not of interest.
    await fetch(`${site.other.url('nginx')}/user/login`);
  }
  const get = (site: Site, head: Head, round: number) =>
    timed(async () => {
      const answer = await fetch(head.url('nginx') + paths.get(site)?.[round]);
      await answer.arrayBuffer();
      expectStatus(answer, 200);
    });
  await time('derivative, made and served', (site, round) => get(site, site.head, round));
  await time('derivative, served again', (site, round) => get(site, site.other, round));
}

function save(editor: Visitor, round: number): Promise<Response> {
  return editor.submit('/node/add/article', 'node_article_form', {
    'title[0][value]': `Saved in round ${round}`,
    'files[field_huge_0][]': new File([UPLOAD], `upload-${round}.bin`),
    op: 'Save',
  });
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

function expectStatus({ status, url }: Response, wanted: number): void {
  if (status !== wanted) throw new Error(`${url} answered ${status}, not ${wanted}`);
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const round1 = (value: number) => Math.round(value * 10) / 10;
