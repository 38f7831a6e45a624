// Compose by its command, since what is tested is what an operator types; the engine through testcontainers. Its
// DockerComposeEnvironment brings a whole environment up and down: no `run`, no service that is stopped by itself.
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { type ExecResult, getContainerRuntimeClient } from 'testcontainers';

const execute = promisify(execFile);
/** The builder that every engine has, also where buildx is not. */
const BUILDER = { DOCKER_BUILDKIT: '0', COMPOSE_DOCKER_CLI_BUILD: '0' };

/** Compose v2 if the machine has it, else docker-compose 1.29. */
export const COMPOSE =
  spawnSync('docker', ['compose', 'version']).status === 0 ? 'docker compose' : 'docker-compose';

/** For `needs`: an engine that answers, with Compose. */
export async function lacksEngine(): Promise<string | undefined> {
  try {
    await getContainerRuntimeClient();
  } catch {
    return 'no Docker engine answers';
  }
  if (COMPOSE === 'docker-compose' && spawnSync('docker-compose', ['version']).status !== 0)
    return 'Compose is not installed';
  return undefined;
}

/** Runs a command to its end and answers with its standard output. @throws with all that it printed */
export async function run(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
  cwd = process.cwd(),
): Promise<string> {
  try {
    const { stdout } = await execute(command, args, {
      env: { ...process.env, ...BUILDER, ...env },
      cwd,
      maxBuffer: 64 * 1024 * 1024,
    });
    return stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}\n${stderr}`, { cause: error });
  }
}

/** The engine's API, for what testcontainers' client of it has no method of its own. */
export const dockerode = async () => (await getContainerRuntimeClient()).container.dockerode;

/** What a command in a container has written to its standard output. @throws with all that it printed, if it failed */
export function outputOf({ exitCode, stdout, output }: ExecResult): string {
  if (exitCode !== 0) throw new Error(`a command in a container failed (${exitCode}):\n${output}`);
  return stdout;
}
