import { expect, test } from 'vitest';
import { useCluster } from './cluster.ts';
import { waitFor } from './wait.ts';

const cluster = useCluster({ trackers: 2, nodes: 3, devices: 1 });
const FILE = '/v1/domains/demo/files/a/b.txt';

test('what one tracker acknowledged, the other serves, also after a node and the tracker were killed', async () => {
  const { trackers, nodes } = cluster();
  const put = await cluster().request('PUT', FILE, { body: 'kept', headers: { 'if-none-match': '*' } });
  expect(put.status).toBe(201);
  expect(await (await cluster().request('GET', FILE, { tracker: 1 })).text()).toBe('kept');

  const [first] = trackers;
  const [node] = nodes;
  const pids = [first?.pid, node?.pid];
  await Promise.all([first?.kill(), node?.kill()]);
  expect(await (await cluster().request('GET', FILE, { tracker: 1 })).text()).toBe('kept');
  await Promise.all([first?.start(), node?.start()]);
  expect([first?.pid, node?.pid]).not.toEqual(pids);
  await cluster().ready();
  expect(await (await cluster().request('GET', FILE)).text()).toBe('kept');
});

test('a node that stands still is seen to be down, and up again when it goes on', async () => {
  const { nodes, adminToken: token } = cluster();
  const states = async () => {
    const answer = await cluster().request('GET', '/v1/hosts', { token });
    const { hosts } = (await answer.json()) as { hosts: { name: string; state: string }[] };
    return Object.fromEntries(hosts.map(({ name, state }) => [name, state]));
  };
  await nodes[2]?.kill('SIGSTOP');
  await waitFor(async () => (await states()).h3 === 'down', { what: 'h3 to be down' });
  expect(await states()).toEqual({ h1: 'up', h2: 'up', h3: 'down' });
  await nodes[2]?.kill('SIGCONT');
  await waitFor(async () => (await states()).h3 === 'up', { what: 'h3 to be up' });
});

test('a part that is stopped ends with exit code 0', async () => {
  expect(await cluster().nodes[1]?.stop()).toBe('exit code 0');
  await cluster().nodes[1]?.start();
  await cluster().ready();
});
