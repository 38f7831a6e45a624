// Fail points: named places in the code at which a test lets the process be killed, stand still, or meet a failing disk.
// A service knows them only with CISTERN_FAIL_POINTS, which it refuses unless NODE_ENV is 'test'.
import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from './config-error.ts';

let directory: string | undefined;

/**
 * Called once, at the start of a service. CISTERN_FAIL_POINTS names a directory; a file in it that has a point's name
 * arms that point, its text says what happens there: 'kill', 'stop' (until SIGCONT), or an error code such as 'EIO'.
 * @throws ConfigError outside of tests
 */
export function enableFailPoints(env: NodeJS.ProcessEnv = process.env): void {
  const { CISTERN_FAIL_POINTS: path, NODE_ENV } = env;
  if (path === undefined || path === '') return;
  if (NODE_ENV !== 'test') {
    throw new ConfigError(
      'CISTERN_FAIL_POINTS is set, but this is no test (NODE_ENV is not test): remove it',
    );
  }
  directory = path;
}

/** A place at which a test may let this process fail. Outside of tests it does nothing. */
export function failPoint(name: string): void {
  if (directory !== undefined) pass(directory, name);
}

/** An armed point strikes once, in the first process that comes by: it renames the file to `<point>.<pid>`. */
function pass(armed: string, name: string): void {
  const struck = join(armed, `${name}.${process.pid}`);
  try {
    renameSync(join(armed, name), struck);
  } catch {
    return;
  }
  const action = readFileSync(struck, 'utf8');
  // Sent to oneself, these take effect before the call returns.
  if (action === 'kill') process.kill(process.pid, 'SIGKILL');
  else if (action === 'stop') process.kill(process.pid, 'SIGSTOP');
  else throw Object.assign(new Error(`${action} at the fail point ${name}`), { code: action });
}
