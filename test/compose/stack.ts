// A cluster from the repository's own compose file, as a project of its own: its own secrets, port, volumes and images.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ExecOptions, getContainerRuntimeClient } from 'testcontainers';
import { freePort } from '../../ops/up/ports.ts';
import { waitFor } from '../support/wait.ts';
import { COMPOSE, dockerode, outputOf, run } from './engine.ts';

const SERVICES = ['postgres', 'tracker1', 'tracker2', 'node1', 'node2', 'node3', 'gateway'];

export class Stack {
  readonly project = `cisterntest${randomBytes(4).toString('hex')}`;
  readonly secrets = mkdtempSync(join(tmpdir(), 'cistern-compose-'));
  /** Of Compose; the image may be changed for an upgrade. */
  readonly env: Record<string, string> = {};
  url = '';
  readonly #disks: string[] = [];
  readonly #volumes: Record<string, { driver_opts: Record<string, string> }> = {};
  readonly #profiles: string[];
  readonly #services: string[];

  /** @param profile a profile of the compose file, and which of its services go on running */
  constructor(profile?: { name: string; services: string[] }) {
    this.#profiles = profile === undefined ? [] : ['--profile', profile.name];
    this.#services = [...SERVICES, ...(profile?.services ?? [])];
  }

  /** Builds the images and starts everything. */
  async up(): Promise<void> {
    const port = await freePort();
    this.url = `http://127.0.0.1:${port}`;
    Object.assign(this.env, {
      CISTERN_SECRETS: this.secrets,
      CISTERN_PORT: String(port),
      CISTERN_RESERVE_BYTES: '1048576',
      // Where packages come through a mirror, the host can reach it.
      BUILD_NETWORK: 'host',
    });
    await run('ops/containers/secrets.sh', [this.secrets]);
    this.#override();
    await this.compose('up', '--build', '--detach');
    await this.healthy().catch(async (error) => {
      process.stderr.write(await this.logs());
      throw error;
    });
  }

  async down(): Promise<void> {
    await this.compose('down', '--volumes', '--remove-orphans', '--timeout', '1');
    for (const disk of this.#disks) await run('losetup', ['--detach', disk]);
    rmSync(this.secrets, { recursive: true, force: true });
  }

  /** Makes a volume a disk of its own, of that size. Before Compose has made it. */
  async makeDisk(volume: string, mebibytes: number): Promise<void> {
    const image = join(this.secrets, `${volume}.img`);
    await run('truncate', ['--size', `${mebibytes}M`, image]);
    // Of the user `node` in the images. Without a journal, for which such a disk is too small.
    await run('mkfs.ext4', ['-q', '-O', '^has_journal', '-E', 'root_owner=1000:1000', image]);
    const disk = (await run('losetup', ['--find', '--show', image])).trim();
    this.#disks.push(disk);
    const options = { type: 'ext4', device: disk };
    this.#volumes[volume] = { driver_opts: options };
  }

  /** What is another way than the repository's compose file has it: volumes, and how often health is checked. */
  #override(): void {
    const services = Object.fromEntries(SERVICES.map((name) => [name, { healthcheck: { interval: '1s' } }]));
    // JSON is YAML. COMPOSE_FILE, so that commands as users type them find it too.
    const file = join(this.secrets, 'override.json');
    writeFileSync(file, JSON.stringify({ services, volumes: this.#volumes }));
    this.env.COMPOSE_FILE = `docker-compose.yml:${file}`;
  }

  compose(...args: string[]): Promise<string> {
    return this.#run(['--project-name', this.project, ...this.#profiles, ...args]);
  }

  /** Another compose file, as if on another machine: a project of its own, with this one's secrets and image. */
  composeElsewhere(file: string, env: Record<string, string>, ...args: string[]): Promise<string> {
    return this.#run(['--file', file, '--project-name', `${this.project}elsewhere`, ...args], env);
  }

  #run(args: string[], env: Record<string, string> = {}): Promise<string> {
    const [command, ...first] = COMPOSE.split(' ') as [string, ...string[]];
    return run(command, [...first, ...args], { ...this.env, ...env });
  }

  /** The `cistern` command in a container of the cluster, as its administrator. */
  cistern(...args: string[]): Promise<string> {
    return this.compose('run', '--rm', '-T', '--no-deps', 'cistern', ...args);
  }

  /** What `cistern status` says, also if that is not 'healthy'. */
  status(): Promise<string> {
    return this.cistern('status').catch((error: Error) => error.message);
  }

  get adminToken(): string {
    return readFileSync(join(this.secrets, 'admin.token'), 'utf8').trim();
  }

  /** A service's container. */
  async container(service: string) {
    const labels = [`project=${this.project}`, `service=${service}`, 'oneoff=False'];
    const label = labels.map((one) => `com.docker.compose.${one}`);
    const engine = await dockerode();
    const [found] = await engine.listContainers({ all: true, filters: { label } });
    if (found === undefined) throw new Error(`there is no container of ${service}`);
    return engine.getContainer(found.Id);
  }

  async inspect(service: string) {
    return (await this.container(service)).inspect();
  }

  /** Runs a command in a service's container, and answers with its standard output. */
  async exec(service: string, command: string[], options: Partial<ExecOptions> = {}): Promise<string> {
    const { container } = await getContainerRuntimeClient();
    return outputOf(await container.exec(await this.container(service), command, options));
  }

  /** A service's place in the cluster's network. */
  async endpoint(service: string) {
    const [endpoint] = Object.values((await this.inspect(service)).NetworkSettings.Networks);
    if (endpoint === undefined) throw new Error(`${service} is in no network`);
    return endpoint;
  }

  async removeVolume(name: string): Promise<void> {
    await (await dockerode()).getVolume(`${this.project}_${name}`).remove();
  }

  /** Waits until the health checks of these services say that they are well. */
  async healthy(...services: string[]): Promise<void> {
    for (const service of services.length > 0 ? services : this.#services) {
      await waitFor(async () => (await this.inspect(service)).State.Health?.Status === 'healthy', {
        what: `${service} to be healthy`,
        timeout: 300_000,
      });
    }
  }

  /** What the services have written last, for a test that failed. */
  logs(): Promise<string> {
    return this.compose('logs', '--tail', '40');
  }
}
