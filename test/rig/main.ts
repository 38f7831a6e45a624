// `npm run rig`: makes sure that the base images of our Dockerfiles, compose file and tests are there. What can be
// pulled is pulled. Where no registry can be reached, stand-ins are built under the same names: Debian packages on a
// debootstrap root, Node and PostgreSQL from the npm packages that the project has anyway.
import { parseArgs } from 'node:util';
import { docker, hasImage, pulled } from './docker.ts';
import { buildStandIn, IMAGES } from './images.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    'stand-ins': { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

if (values.help) {
  process.stdout.write(
    'Usage: npm run rig -- [--only IMAGE]... [--stand-ins]\n\n' +
      'Pulls the base images, or builds stand-ins where none can be pulled.\n' +
      `  --only IMAGE   one of: ${Object.keys(IMAGES).join(', ')}\n` +
      '  --stand-ins    do not try to pull\n',
  );
} else {
  await docker('info').catch(() => {
    throw new Error('no Docker engine answers: start one (dockerd), or set DOCKER_HOST');
  });
  for (const image of values.only ?? Object.keys(IMAGES)) process.stdout.write(`${await make(image)}\n`);
}

/** Says where an image comes from. A stand-in is built again when what it is built from has changed. */
async function make(image: string): Promise<string> {
  if (!(image in IMAGES)) throw new Error(`no such base image: ${image}`);
  if ((await hasImage(image)) === 'pulled') return `${image}: there`;
  if (!values['stand-ins'] && !(await hasImage(image)) && (await pulled(image))) return `${image}: pulled`;
  const built = await buildStandIn(image);
  return `${image}: ${built ? 'stand-in built' : 'stand-in there'}`;
}
