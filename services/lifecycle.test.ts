import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'cistern-lifecycle-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Runs a service whose start is the given code; `stopped` is printed when it was stopped in an orderly way. */
async function run(start: string, end: (child: ReturnType<typeof spawn>) => void) {
  const main = join(root, 'service.ts');
  const url = (name: string) => new URL(name, import.meta.url).href;
  writeFileSync(
    main,
    `import { ConfigError } from '${url('./config.ts')}';
     import { createLogger } from '${url('./logging.ts')}';
     import { runService } from '${url('./lifecycle.ts')}';
     await runService('test', async () => {
       console.log('starting');
       ${start}
       return { log: createLogger({ level: 'info', service: 'test' }), stop: async () => console.log('stopped') };
     });
     console.log('running');`,
  );
  const child = spawn(process.execPath, [main], { env: { ...process.env, CISTERN_PARENT: 'stdin' } });
  const output = { stdout: '', stderr: '' };
  let ended = false;
  child.stdout.on('data', (chunk) => {
    output.stdout += chunk;
    if (!ended && /running|waiting/.test(output.stdout)) {
      ended = true;
      end(child);
    }
  });
  child.stderr.on('data', (chunk) => {
    output.stderr += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, ...output };
}

test('a service stops in order at SIGTERM, at SIGINT, and when its parent is gone', async () => {
  for (const end of [
    (child: ReturnType<typeof spawn>) => void child.kill('SIGTERM'),
    (child: ReturnType<typeof spawn>) => void child.kill('SIGINT'),
    (child: ReturnType<typeof spawn>) => void child.stdin?.end(),
  ]) {
    const { code, stdout, stderr } = await run('', end);
    expect(stdout).toBe('starting\nrunning\nstopped\n');
    expect(stderr).toContain('"msg":"stopped"');
    expect(code).toBe(0);
  }
});

test('a service whose parent goes while it starts ends at once', async () => {
  const start = "console.log('waiting'); setInterval(() => {}, 1000); await new Promise(() => {});";
  const { code, stdout } = await run(start, (child) => void child.stdin?.end());
  expect(stdout).toBe('starting\nwaiting\n');
  expect(code).toBe(1);
});

test('a wrong setting is one line and exit code 2, another failure to start 1', async () => {
  const wrong = await run("throw new ConfigError('CISTERN_X is not set');", () => {});
  expect(wrong).toMatchObject({ code: 2, stderr: 'test: CISTERN_X is not set\n' });
  expect(await run("throw new Error('no');", () => {})).toMatchObject({ code: 1, stderr: 'test: no\n' });
});
