// How the commands start. In a checkout Cistern is TypeScript that Node runs as it is; in a package it is compiled, to
// dist/. What it depends on needs Node 22.19. Under an older one, the Node that the npm package `node` brought along is
// started instead. Hence plain JavaScript.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module, { createRequire } from 'node:module';
import { constants, homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/**
 * Runs a program in this process, or in one of its own if Node is too old.
 * @param name of the command, for its messages
 * @param program path below the root, without its extension
 */
export async function launch(name, program) {
  const source = join(root, `${program}.ts`);
  const isCheckout = existsSync(source);
  const main = isCheckout ? source : join(root, 'dist', `${program}.js`);
  // Stripping the types, or compiling, at every start would take longer than most commands do.
  process.env.NODE_COMPILE_CACHE ??= isCheckout ? join(root, 'node_modules/.cache/node') : cacheDirectory();
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 19)) {
    module.enableCompileCache(process.env.NODE_COMPILE_CACHE);
    await import(pathToFileURL(main).href);
  } else startAgain(name, main);
}

/** A user's own: what is compiled there is run later. */
function cacheDirectory() {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'cistern', 'node');
}

function startAgain(name, main) {
  const require = createRequire(import.meta.url);
  const fail = (why) => {
    process.stderr.write(
      `${name}: ${why} Use Node 22.19 or later, or install again with the scripts of the package allowed.\n`,
    );
    process.exit(1);
  };
  let node;
  try {
    node = join(dirname(require.resolve('node/package.json')), 'bin', 'node');
  } catch {
    return fail(`Node ${process.versions.node} is too old, and the package 'node' is not installed.`);
  }
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
  // The child decides what a signal means; a terminal sends SIGINT to both of us anyway.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => fail(`Cannot start ${node} (${error.code}).`));
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
