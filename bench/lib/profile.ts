// `--profile`: where the processor time of trackers and nodes goes, by V8's sampling profiler (`node --cpu-prof`). Each
// process writes a .cpuprofile file when it ends, which Chrome's developer tools open; here their self time is summed.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Profile {
  nodes: { id: number; callFrame: { functionName: string; url: string } }[];
  samples: number[];
  timeDeltas: number[];
}

const ROWS = 15;
const parts = { tracker: '/tracker/main.ts', 'storage nodes': '/storage-node/main.ts' };

/** Has every Node process that is started from now on write its profile into `directory`. */
export function profileInto(directory: string): void {
  process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --cpu-prof --cpu-prof-dir=${JSON.stringify(directory)}`;
}

/** The share of each module in the main thread's time, its start included, as Markdown. */
export function describeProfiles(directory: string): string {
  const profiles = readdirSync(directory)
    .filter((name) => name.endsWith('.cpuprofile'))
    .map((name) => JSON.parse(readFileSync(join(directory, name), 'utf8')) as Profile);
  return Object.entries(parts)
    .map(([part, main]) =>
      table(
        part,
        profiles.filter((profile) => isOf(profile, main)),
      ),
    )
    .join('\n');
}

function isOf({ nodes }: Profile, main: string): boolean {
  return nodes.some(({ callFrame }) => callFrame.url.endsWith(main));
}

function table(part: string, profiles: Profile[]): string {
  const times = new Map<string, number>();
  for (const { nodes, samples, timeDeltas } of profiles) {
    const places = new Map(nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]));
    for (const [i, id] of samples.entries()) {
      const place = places.get(id) as string;
      times.set(place, (times.get(place) ?? 0) + (timeDeltas[i] as number));
    }
  }
  times.delete('(idle)');
  const all = [...times.values()].reduce((sum, time) => sum + time, 0);
  const rows = [...times].sort(([, a], [, b]) => b - a).slice(0, ROWS);
  const lines = rows.map(([place, time]) => `| ${place} | ${((100 * time) / all).toFixed(1)} % |`);
  return `\n| ${part}: ${(all / 1e6).toFixed(1)} s | self time |\n| --- | ---: |\n${lines.join('\n')}\n`;
}

/** A package, a folder of ours, Node's own JavaScript, or the name of a call into the system or V8. */
function placeOf({ functionName, url }: Profile['nodes'][number]['callFrame']): string {
  if (url === '') return functionName;
  if (!url.startsWith('file:') && !url.startsWith('/')) return url.split(':')[0] as string;
  const inPackage = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1];
  return inPackage ?? url.split('/').slice(-3, -1).join('/');
}
