// Images that tests build, and remove.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { dockerode } from './engine.ts';

/**
 * Builds an image, which the engine keeps. The build has the host's network: where packages come through a mirror, the
 * host can reach it.
 * @param context a directory, for its Dockerfile and what that copies
 */
export async function buildImage(tag: string, context: string, lines: string[]): Promise<void> {
  mkdirSync(context, { recursive: true });
  writeFileSync(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
  // Not by testcontainers' own `build`, which does not tell a build that failed from one that is done.
  const engine = await dockerode();
  const source = { context, src: readdirSync(context) };
  const build = await engine.buildImage(source, { t: tag, networkmode: 'host' });
  const said: { stream?: string; error?: string }[] = await promisify(engine.modem.followProgress)(build);
  if (said.some(({ error }) => error !== undefined))
    throw new Error(said.map(({ stream, error }) => stream ?? error ?? '').join(''));
}

/** Removes all images of this name, whatever their tags. */
export async function removeImages(name: string): Promise<void> {
  const engine = await dockerode();
  const tags = (await engine.listImages()).flatMap(({ RepoTags }) => RepoTags ?? []);
  for (const tag of tags.filter((tag) => tag.startsWith(`${name}:`))) await engine.getImage(tag).remove();
}

export const install = (...packages: string[]) =>
  `RUN apt-get update && apt-get install --yes --no-install-recommends ${packages.join(' ')}`;
