// The storage node's process: `node storage-node/main.ts`, configured by CISTERN_* variables (see config.ts).
// When it listens, it prints one line of JSON to stdout for whoever supervises it; logs go to stderr.
import { runService } from '../services/lifecycle.ts';
import { createLogger } from '../services/logging.ts';
import { readNodeConfig } from './config.ts';
import { startNode } from './node.ts';

// Every file call waits in a thread of this pool; with four, the fsyncs of four uploads would hold up all reads.
process.env.UV_THREADPOOL_SIZE ??= '16';

await runService('storage-node', async () => {
  const config = readNodeConfig();
  const log = createLogger({
    level: config.CISTERN_LOG_LEVEL,
    service: 'storage-node',
    host: config.CISTERN_HOST,
  });
  const node = await startNode(config, log);
  process.stdout.write(`${JSON.stringify({ service: 'storage-node', url: node.url })}\n`);
  return { log, stop: () => node.stop(), reload: () => node.reload() };
});
