// What `npm pack` runs first (`prepack`): compiles the program into dist/, because Node strips no types below
// node_modules. Nothing else looks at dist/; `npm pack` removes it again (`postpack`, with --clean).
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, extname, join } from 'node:path';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
/** The folders of the program; tsconfig.pack.json names the same. */
const FOLDERS = ['services', 'tracker', 'storage-node', 'ops'];
/** They are packed as they are: see `files` in package.json. */
const APART = ['bin', 'systemd', 'prometheus'].map((name) => join(root, 'ops', name));

rmSync(dist, { recursive: true, force: true });
if (!process.argv.includes('--clean')) {
  compile();
  for (const folder of FOLDERS) {
    cpSync(join(root, folder), join(dist, folder), { recursive: true, filter: isAsset });
  }
  describe();
}

function compile(): void {
  const typescript = createRequire(import.meta.url).resolve('typescript/package.json');
  const { bin } = JSON.parse(readFileSync(typescript, 'utf8')) as { bin: { tsc: string } };
  const compiler = join(dirname(typescript), bin.tsc);
  // npm prints the tarball's name on stdout, and nothing else may.
  const stdio = ['ignore', process.stderr, process.stderr] as const;
  execFileSync(process.execPath, [compiler, '-p', join(root, 'tsconfig.pack.json')], { stdio: [...stdio] });
}

/** What is not compiled, but read by the program: its SQL, for instance. */
function isAsset(path: string): boolean {
  if (APART.includes(path) || basename(path) === 'node_modules') return false;
  return statSync(path).isDirectory() || extname(path) !== '.ts';
}

/** The program reads its version from the package.json above its folders. */
function describe(): void {
  const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  writeFileSync(join(dist, 'package.json'), `${JSON.stringify({ name, version, type: 'module' })}\n`);
}
