// A Drupal site on two web heads: each with its own copy of the code and its own directories, one PostgreSQL, no
// shared disk; in front of each its web servers, side by side.
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { giveToPool } from '../support/web-head.ts';
import { type CodeBase, prepareCode } from './code-base.ts';
import { Head } from './head.ts';

const PHP_SCRIPTS = new URL('php/', import.meta.url).pathname;

// Long enough for a busy machine not to look like a dead one, short enough to wait for.
const CLUSTER = { trackers: 2, nodes: 3, devices: 1, env: { tracker: { CISTERN_DOWN_SECONDS: '5' } } };

export interface RigOptions {
  code: CodeBase;
  /** Whether the site's files are in a cluster; else each head keeps its own, as Drupal does. */
  takeOver: boolean;
  /** Whether the heads share an old directory and a switch, on which the site begins as 'local'. */
  switched?: boolean;
  /** Makes empty databases; those of the tests' server unless told otherwise. */
  makeDatabase?: () => Promise<TestDatabase>;
}

export class Rig {
  readonly heads: [Head, Head];
  readonly #root: string;
  readonly #database: TestDatabase;
  readonly #cluster: Cluster | undefined;
  readonly #switched: boolean;

  private constructor(
    root: string,
    database: TestDatabase,
    cluster: Cluster | undefined,
    heads: [Head, Head],
    switched: boolean,
  ) {
    this.#switched = switched;
    this.#root = root;
    this.#database = database;
    this.#cluster = cluster;
    this.heads = heads;
  }

  /** Builds the heads, installs the site on the first one, and starts all servers. */
  static async build({
    code,
    takeOver,
    switched = false,
    makeDatabase = createDatabase,
  }: RigOptions): Promise<Rig> {
    const root = mkdtempSync(join(tmpdir(), 'cistern-drupal-'));
    chmodSync(root, 0o755);
    const database = await makeDatabase();
    const cluster = takeOver
      ? await startCluster({ ...CLUSTER, database: (await makeDatabase()).url })
      : undefined;
    const template = join(root, 'template');
    prepareCode(code, template);
    const build = (name: string) => buildHead(name, join(root, name), template, code, database.url);
    const rig = new Rig(root, database, cluster, [build('a'), build('b')], switched);
    for (const scheme of ['public', 'private']) {
      mkdirSync(rig.oldDirectory(scheme), { recursive: true });
      giveToPool(rig.oldDirectory(scheme));
    }
    try {
      for (const head of rig.heads) head.configure(rig.takeOverLine());
      const [first] = rig.heads;
      await first.script('install.php', ['standard']);
      await first.script('site.php');
      for (const head of rig.heads) await head.start(cluster);
      return rig;
    } catch (error) {
      process.stderr.write(`${rig.logs()}\n`);
      await rig.stop();
      throw error;
    }
  }

  get cluster(): Cluster {
    if (this.#cluster === undefined) throw new Error('this site is not on Cistern');
    return this.#cluster;
  }

  /** The line of settings.php that puts the site's files into the cluster; empty if they are not to be there. */
  takeOverLine(): string {
    if (this.#cluster === undefined) return '';
    const { trackers, domain, token } = this.#cluster;
    const urls = trackers.map(({ url }) => `'${url}'`).join(', ');
    const settings = `trackers: [${urls}], domain: '${domain}', token: '${token}'`;
    const xAccel = "x_accel: $_SERVER['CISTERN_X_ACCEL'] ?? ''";
    const old = ['public', 'private'].map((scheme) => `'${scheme}' => '${this.oldDirectory(scheme)}'`);
    const more = this.#switched ? `, fallback: [${old.join(', ')}], switch: $databases` : '';
    return `\\Cistern\\Drupal\\TakeOver::apply($settings, $app_root, $site_path, ${settings}, ${xAccel}${more});`;
  }

  /** What both heads had the files of a scheme in, as on NFS. */
  oldDirectory(scheme: string): string {
    return join(this.#root, 'old', scheme);
  }

  logs(): string {
    return this.heads.map((head) => head.logs()).join('\n');
  }

  async stop(): Promise<void> {
    await Promise.all(this.heads.map((head) => head.stop()));
    await this.#cluster?.stop();
    await this.#database.drop();
    rmSync(this.#root, { recursive: true, force: true });
  }
}

function buildHead(
  name: string,
  directory: string,
  template: string,
  code: CodeBase,
  database: string,
): Head {
  mkdirSync(directory);
  chmodSync(directory, 0o755);
  link(template, join(directory, 'code'));
  cpSync(PHP_SCRIPTS, join(directory, 'scripts'), { recursive: true });
  const head = new Head(name, directory, code, database);
  head.makeDirectory(join('code', code.documentRoot, 'sites/default/files'));
  return head;
}

/** Copies a tree: directories are made, files are linked where one disk holds both. */
function link(from: string, to: string): void {
  try {
    execFileSync('cp', ['-al', from, to], { stdio: 'pipe' });
  } catch {
    rmSync(to, { recursive: true, force: true });
    execFileSync('cp', ['-a', from, to]);
  }
}
