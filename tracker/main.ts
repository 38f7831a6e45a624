// The tracker as a process: settings from the environment, a server, and an end in good order.
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { readConfig } from '../services/config.ts';
import { runService } from '../services/lifecycle.ts';
import { type TrackerConfig, trackerSettings } from './config.ts';
import { createTrackerServer } from './server.ts';
import { createTracker } from './tracker.ts';

await runService('tracker', async () => {
  const config = readConfig(trackerSettings);
  const tracker = await createTracker(config);
  const server = await createTrackerServer(tracker);
  await server.listen({ host: config.CISTERN_LISTEN, port: config.CISTERN_PORT });
  const { port } = server.server.address() as AddressInfo;
  const url = config.CISTERN_URL ?? `${tracker.tls.scheme}://${ownAddress(config, port)}`;
  tracker.presence.start(url);
  tracker.replication.start();
  tracker.backups.start();
  process.stdout.write(`${JSON.stringify({ service: 'tracker', url })}\n`);
  tracker.log.info({ url }, 'listening');
  return {
    log: tracker.log,
    reload: () => tracker.tls.reload(),
    async stop() {
      await server.close();
      await tracker.stop();
    },
  };
});

/** The address that others reach us at, as far as it can be told from the one we listen on. */
function ownAddress({ CISTERN_LISTEN: listen }: TrackerConfig, port: number): string {
  const anywhere = listen === '0.0.0.0' || listen === '::';
  const host = anywhere ? hostname() : listen.includes(':') ? `[${listen}]` : listen;
  return `${host}:${port}`;
}
