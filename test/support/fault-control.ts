// Lets tests in another language pull the strings: an HTTP server that sets faults of proxies, and kills and starts the
// parts of a cluster.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import type { Cluster, Part } from './cluster.ts';
import type { Fault, FaultProxy } from './fault-proxy.ts';

export interface Control {
  url: string;
  stop(): Promise<void>;
}

/**
 * Routes: `PUT /faults/{i}` with a Fault, or null, as JSON, sets that of proxy i (from 0). `POST /kill/{name}` and
 * `POST /start/{name}` end a tracker or a node (SIGKILL), or start it again and wait until the cluster is ready.
 * 204, or 500 with what went wrong.
 */
export async function startControl(cluster: Cluster, proxies: FaultProxy[]): Promise<Control> {
  const part = (name: string): Part => {
    const found = [...cluster.trackers, ...cluster.nodes].find((each) => each.name === name);
    if (found === undefined) throw new Error(`there is no part '${name}'`);
    return found;
  };
  const server = createServer(async (request, response) => {
    const [, verb, which = ''] = (request.url ?? '').split('/');
    try {
      if (verb === 'faults') {
        const fault = ((await json(request)) as Fault | null) ?? undefined;
        await proxies[Number(which)]?.set(fault);
      } else if (verb === 'kill') await part(which).kill('SIGKILL');
      else if (verb === 'start') {
        await part(which).start();
        await cluster.ready();
      } else throw new Error(`there is no '${verb}'`);
      response.writeHead(204).end();
    } catch (error) {
      response.writeHead(500).end(String(error));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}
