// One PostgreSQL for the whole test run, started when the first test file asks for it and not before: most unit tests
// never do. Workers ask over HTTP, because a vitest `provide` is fixed before the first test begins.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { TestProject } from 'vitest/node';
import { type SharedPostgres, startSharedPostgres } from './shared-postgres.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** GET answers with the URL of a PostgreSQL on which databases may be made. */
    postgresBroker: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  let postgres: Promise<SharedPostgres> | undefined;
  const broker = createServer((_request, response) => {
    postgres ??= startSharedPostgres();
    postgres.then(
      ({ url }) => response.end(url),
      (error: Error) => response.writeHead(500).end(error.message),
    );
  });
  broker.listen(0, '127.0.0.1');
  await once(broker, 'listening');
  const { port } = broker.address() as { port: number };
  project.provide('postgresBroker', `http://127.0.0.1:${port}/`);
  return async () => {
    broker.close();
    broker.closeAllConnections();
    const started = await postgres?.catch(() => undefined);
    await started?.stop();
  };
}
