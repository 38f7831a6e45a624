// The few things that the rig asks of Docker, by its command: that is what every engine comes with.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const PULL_MS = 120_000;
/** Marks a stand-in, with a digest of what it was built from. */
export const STAND_IN = 'org.cistern.stand-in';

/** Runs `docker` and answers with what it printed. Old builder: it is in every engine, also where buildx is not. */
export async function docker(...args: string[]): Promise<string> {
  const env = { ...process.env, DOCKER_BUILDKIT: '0' };
  const { stdout } = await execute('docker', args, { env, maxBuffer: 64 * 1024 * 1024 });
  return stdout.trim();
}

/** 'pulled', or the digest that a stand-in was built from; undefined if there is no such image. */
export async function hasImage(image: string): Promise<string | undefined> {
  try {
    const label = await docker(
      'image',
      'inspect',
      '--format',
      `{{index .Config.Labels "${STAND_IN}"}}`,
      image,
    );
    return label === '' ? 'pulled' : label;
  } catch {
    return undefined;
  }
}

/** Tries to pull an image; false if that cannot be done from here. */
export async function pulled(image: string): Promise<boolean> {
  try {
    await execute('docker', ['pull', '--quiet', image], { timeout: PULL_MS });
    return true;
  } catch {
    return false;
  }
}
