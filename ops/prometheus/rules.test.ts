// The example alerts: well-formed, raised by what they are for, and about metrics that there are.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { useCluster } from '../../test/support/cluster.ts';
import { lacksProgram, needs } from '../../test/support/needs.ts';

const execute = promisify(execFile);
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const rules = readFileSync(file('cistern.rules.yml'), 'utf8');

describe('the alerts', () => {
  it('are rules that Prometheus takes, and each is raised by what it is for', async (context) => {
    needs(context, lacksProgram('promtool'));
    await execute('promtool', ['check', 'rules', file('cistern.rules.yml')]);
    const cases = ['cistern.rules.test.yml', 'cistern.slow-rules.test.yml'].map(file);
    await execute('promtool', ['test', 'rules', ...cases]);
    const tests = cases.map((path) => readFileSync(path, 'utf8')).join('\n');
    for (const [, alert = ''] of rules.matchAll(/alert: (\w+)/g)) expect(tests).toContain(alert);
  }, 120_000);

  it('point to sections of the runbook that exist', () => {
    const operations = readFileSync(file('../../docs/operations.md'), 'utf8');
    for (const [, section = ''] of rules.matchAll(/operations\.md, "([^"]+)"/g)) {
      expect(operations).toContain(`\n## ${section}\n`);
    }
  });
});

describe('a cluster', () => {
  const cluster = useCluster({ devices: 1 });

  it('has every metric that an alert asks for', async () => {
    await cluster().request('POST', '/v1/backups', { token: cluster().adminToken });
    const parts = [...cluster().trackers, ...cluster().nodes];
    const metrics = (
      await Promise.all(parts.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()))
    ).join('\n');
    const wanted = new Set(rules.match(/\bcistern_[a-z_]+/g));
    expect(wanted.size).toBeGreaterThan(10);
    for (const name of wanted) expect(metrics).toContain(`# TYPE ${name.replace(/_count$/, '')} `);
  });
});
