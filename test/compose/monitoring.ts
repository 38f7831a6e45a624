// The profile `monitoring`: Prometheus finds every tracker and node, knows our alerts, and has something to show in each
// panel of the dashboard. Grafana itself is in no package of Debian's, so its queries are asked without it.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { freePort } from '../../ops/up/ports.ts';
import { waitFor } from '../support/wait.ts';
import type { Stack } from './stack.ts';

const DASHBOARD = 'ops/containers/monitoring/grafana/cistern.json';

interface Panel {
  title: string;
  targets?: { expr: string }[];
}

/** Starts it beside the cluster: rates want to have seen something. */
export async function startMonitoring(stack: Stack): Promise<void> {
  stack.env.PROMETHEUS_PORT = String(await freePort());
  await stack.compose('up', '--detach', '--no-deps', 'prometheus');
}

export function monitoring(stack: Stack): void {
  const ask = async <Data>(path: string, query: Record<string, string> = {}): Promise<Data> => {
    const url = `http://127.0.0.1:${stack.env.PROMETHEUS_PORT}/api/v1/${path}?${new URLSearchParams(query)}`;
    const { data } = (await (await fetch(url)).json()) as { data: Data };
    return data;
  };

  it('is watched by Prometheus, with our alerts', async () => {
    const up = async () => {
      const { activeTargets } = await ask<{
        activeTargets: { health: string; labels: { instance: string } }[];
      }>('targets');
      const well = activeTargets.filter(({ health }) => health === 'up');
      return well.map(({ labels }) => labels.instance).sort();
    };
    const all = ['node1:7501', 'node2:7501', 'node3:7501', 'tracker1:7500', 'tracker2:7500'];
    await waitFor(async () => (await up()).join() === all.join(), {
      what: `all of ${all} to be scraped`,
      timeout: 60_000,
      every: 500,
    });
    const { groups } = await ask<{ groups: { rules: { name: string; health: string }[] }[] }>('rules');
    const rules = groups.flatMap((group) => group.rules);
    expect(rules.length).toBeGreaterThan(5);
    expect(rules.filter(({ health }) => health === 'err')).toEqual([]);
  });

  const { panels } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as { panels: Panel[] };
  it.each(panels.map(({ title, targets = [] }) => [title, targets] as const))(
    'has data for the panel "%s"',
    async (_title, targets) => {
      expect(targets).not.toEqual([]);
      for (const { expr } of targets) {
        await waitFor(
          async () => (await ask<{ result: unknown[] }>('query', { query: expr })).result.length > 0,
          {
            what: `data for ${expr}`,
            timeout: 45_000,
            every: 1_000,
          },
        );
      }
    },
  );
}
