// The npm package.
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './engine.ts';

/** Packs what is in the repository. In a copy below `directory`, since packing compiles and other tests pack too. */
export async function packNpm(directory: string): Promise<void> {
  const copy = join(directory, 'copy');
  mkdirSync(copy);
  await run('bash', ['-c', `git ls-files -z | xargs -0 cp --parents --target-directory ${copy}`]);
  symlinkSync(join(process.cwd(), 'node_modules'), join(copy, 'node_modules'));
  await run('npm', ['pack', '--pack-destination', directory], {}, copy);
}
