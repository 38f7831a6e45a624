#!/usr/bin/env node
// The `cistern` command. Cistern is TypeScript that Node runs as it is, which Node can do from 22.18 on. Under an older
// one this file starts itself again with the Node that the npm package `node` brought along. Hence plain JavaScript.
import { spawn } from 'node:child_process';
import module, { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major > 22 || (major === 22 && minor >= 18)) {
  // Stripping the types at every start would take longer than most commands do.
  module.enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/node', import.meta.url)));
  await import('../main.ts');
} else startAgain();

function startAgain() {
  const require = createRequire(import.meta.url);
  const fail = (why) => {
    process.stderr.write(`cistern: ${why} Run npm ci, or use Node 22.18 or later.\n`);
    process.exit(1);
  };
  let node;
  try {
    node = join(dirname(require.resolve('node/package.json')), 'bin', 'node');
  } catch {
    return fail(`Node ${process.versions.node} is too old, and the package 'node' is not installed.`);
  }
  const main = fileURLToPath(new URL('../main.ts', import.meta.url));
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
  // The child decides what a signal means; a terminal sends SIGINT to both of us anyway.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => fail(`Cannot start ${node} (${error.code}).`));
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
