// Does what the README tells a newcomer, as written: runs its first block, waits until the cluster says that it is
// ready, runs the three commands that the cluster prints and the README's second block, and stops it with Ctrl-C.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

const READY_MS = 300_000;

const readme = readFileSync('README.md', 'utf8');
const cluster = spawn('bash', ['-euc', block('start')], {
  detached: true,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const exit = once(cluster, 'exit');
try {
  const printed = await untilReady();
  for (const name of ['upload', 'download', 'status']) {
    run(new RegExp(`^ *${name} +(.+)$`, 'm').exec(printed)[1]);
  }
  run(block('try'));
} finally {
  // To the whole group, as a terminal does it.
  process.kill(-cluster.pid, 'SIGINT');
}
const [code, signal] = await exit;
// npm and the shell may end by the signal that they got as well.
if (code !== 0 && signal !== 'SIGINT' && code !== 130)
  throw new Error(`npm start ended with ${code ?? signal}`);
console.log('The README does what it says.');

/** The shell block that follows `<!-- ci: name -->`. */
function block(name) {
  const found = new RegExp(`<!-- ci: ${name} -->\n\`\`\`sh\n(.*?)\n\`\`\``, 's').exec(readme);
  if (found === null) throw new Error(`README.md has no block marked 'ci: ${name}'`);
  return found[1];
}

function run(commands) {
  console.log(`$ ${commands}`);
  const { status } = spawnSync('bash', ['-euo', 'pipefail', '-c', commands], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`exit code ${status}: ${commands}`);
}

/** What the cluster prints until it is ready. It is read for as long as it prints, so that it never has to wait. */
function untilReady() {
  return new Promise((resolve, reject) => {
    let printed = '';
    const timer = setTimeout(() => reject(new Error('the cluster is not ready in time')), READY_MS);
    cluster.stdout.on('data', (chunk) => {
      process.stdout.write(chunk);
      printed += chunk;
      if (!/Ctrl-C stops everything/.test(printed)) return;
      clearTimeout(timer);
      resolve(printed);
    });
    cluster.stdout.on('end', () => reject(new Error('the cluster ended before it was ready')));
  });
}
