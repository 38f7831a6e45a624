// What is done to the containers of a running cluster. Each fault but `kill` answers with what heals it.
import { getContainerRuntimeClient } from 'testcontainers';
import { run } from './engine.ts';
import type { Stack } from './stack.ts';

type Heal = () => Promise<unknown>;

/** Does something while a fault lasts. */
export async function during(fault: Promise<Heal>, work: () => Promise<void>): Promise<void> {
  const heal = await fault;
  try {
    await work();
  } finally {
    await heal();
  }
}

/** Ends a service as a crash does. Not by the engine, which would not start again what it was told to kill. */
export async function kill(stack: Stack, service: string): Promise<void> {
  process.kill((await stack.inspect(service)).State.Pid, 'SIGKILL');
}

/** Has a service stand still: its connections stay open, and nothing answers. */
export async function pause(stack: Stack, service: string): Promise<Heal> {
  const container = await stack.container(service);
  await container.pause();
  return () => container.unpause();
}

/** Takes a service out of the cluster's network. */
export async function disconnect(stack: Stack, service: string): Promise<Heal> {
  const client = await getContainerRuntimeClient();
  const container = await stack.container(service);
  const network = client.network.getById((await stack.endpoint(service)).NetworkID);
  await network.disconnect({ Container: container.id });
  return () => client.container.connectToNetwork(container, network, [service]);
}

/** Cuts two services off from each other, and from nobody else: each drops what it would send to the other. */
export async function partition(stack: Stack, one: string, other: string): Promise<Heal> {
  const way = async (from: string, to: string) => ({
    pid: (await stack.inspect(from)).State.Pid,
    address: (await stack.endpoint(to)).IPAddress,
  });
  const ways = await Promise.all([way(one, other), way(other, one)]);
  const route = (verb: string) =>
    Promise.all(
      ways.map(({ pid, address }) =>
        run('nsenter', [`--net=/proc/${pid}/ns/net`, 'ip', 'route', verb, 'blackhole', `${address}/32`]),
      ),
    );
  await route('add');
  return () => route('del');
}
