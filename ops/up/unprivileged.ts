// PostgreSQL refuses to run as root. When we are root, it runs as the owner of its data directory: as the user
// `postgres` where there is one, else as `nobody`. No user is made on the machine.
import { spawnSync } from 'node:child_process';
import { chown, stat } from 'node:fs/promises';

/** How to start a program: what stands before it on the command line, and the ids that `spawn` shall set. */
export interface Launch {
  prefix: string[];
  ids: { uid?: number; gid?: number };
  /** Whom it runs as; undefined: as ourselves. */
  uid?: number;
  gid?: number;
}

/**
 * Finds a way to run `program` on `directory` without being root; a directory that is still root's is given away.
 * @throws Error with one line if the user cannot reach the two
 */
export async function unprivileged(directory: string, program: string): Promise<Launch> {
  if (process.getuid?.() !== 0) return { prefix: [], ids: {} };
  const { uid, gid } = await owner(directory);
  const ways: Launch[] = [
    { prefix: [], ids: { uid, gid }, uid, gid },
    // Below a private directory (such as /root) a user without rights gets nowhere. The child may keep root's right
    // to pass through; it is still not root, and its files are still its own.
    { prefix: passThrough(uid, gid), ids: {}, uid, gid },
  ];
  const works = ways.find(({ prefix, ids }) => {
    const test = [...prefix, '/bin/sh', '-c', 'cd "$0" && [ -x "$1" ] && "$1" --version', directory, program];
    const [command, ...args] = test as [string, ...string[]];
    return spawnSync(command, args, { ...ids, cwd: '/', stdio: 'ignore' }).status === 0;
  });
  if (works !== undefined) return works;
  throw new Error(
    `PostgreSQL cannot run as root, and user ${uid} cannot reach ${directory} or ${program}: ` +
      'put Cistern and its state where other users may enter, or start it as an ordinary user',
  );
}

async function owner(directory: string): Promise<{ uid: number; gid: number }> {
  const { uid, gid } = await stat(directory);
  if (uid !== 0) return { uid, gid };
  const user = idsOf('postgres') ?? idsOf('nobody');
  if (user === undefined) {
    throw new Error(
      "PostgreSQL cannot run as root, and there is no user 'postgres' or 'nobody': start as an ordinary user",
    );
  }
  await chown(directory, user.uid, user.gid);
  return user;
}

function idsOf(name: string): { uid: number; gid: number } | undefined {
  const [uid, gid] = ['-u', '-g'].map((flag) => {
    const { status, stdout } = spawnSync('id', [flag, name], { encoding: 'utf8' });
    return status === 0 ? Number(stdout) : undefined;
  });
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

function passThrough(uid: number, gid: number): string[] {
  const user = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
  const right = ['--inh-caps=-all,+dac_override', '--ambient-caps=+dac_override'];
  // access(2), by which PostgreSQL looks for its programs, honours the right only with this bit (capabilities(7)).
  return ['setpriv', ...user, ...right, '--securebits=+no_setuid_fixup', '--'];
}
