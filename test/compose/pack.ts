// The npm package, and images that have something installed from Debian.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { docker, run } from './engine.ts';

/** Packs what is in the repository. In a copy below `directory`, since packing compiles and other tests pack too. */
export async function packNpm(directory: string): Promise<void> {
  const copy = join(directory, 'copy');
  mkdirSync(copy);
  await run('bash', ['-c', `git ls-files -z | xargs -0 cp --parents --target-directory ${copy}`]);
  symlinkSync(join(process.cwd(), 'node_modules'), join(copy, 'node_modules'));
  await run('npm', ['pack', '--pack-destination', directory], {}, copy);
}

/**
 * Builds an image, which Docker keeps. The build has the host's network: where packages come through a mirror, the host
 * can reach it.
 */
export async function buildImage(tag: string, context: string, lines: string[]): Promise<void> {
  mkdirSync(context, { recursive: true });
  writeFileSync(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
  await docker('build', '--quiet', '--network', 'host', '--tag', tag, context);
}

export const install = (...packages: string[]) =>
  `RUN apt-get update && apt-get install --yes --no-install-recommends ${packages.join(' ')}`;
