// An actor that has a directory of its own: it writes, replaces, copies, moves and deletes files and directories there,
// one after the other, and knows at each moment exactly what the directory must hold.
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from './random.ts';
import { difference, type Expected, expect, type Operation, type Tree } from './tree.ts';
import { type Answer, type Asked, directoryUrl, fileUrl, json, type Outcome, type World } from './world.ts';

/** The same few names everywhere, so that files, directories and their copies get in each other's way. */
const SEGMENTS = ['a', 'b', 'c d', 'e%2F', 'ü#?', 'f+'];
const MOST_ENTRIES = 60;

interface Entry {
  kind: 'file' | 'directory';
  key: string;
  sha256?: string;
  fid?: number;
}

interface Version {
  id: number;
  key: string;
  /** The digest, in quotes. */
  etag: string;
}

export class Room {
  /** What the room holds, as far as it was acknowledged. Paths are relative to it. */
  tree: Tree = new Map();
  readonly name: string;
  readonly #world: World;
  readonly #random: Random;
  readonly #log: string[] = [];
  #requests = 0;

  constructor(world: World, name: string, random: Random) {
    this.#world = world;
    this.name = name;
    this.#random = random;
  }

  /** Acts until `signal` is aborted, or a promise was broken. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#enter();
    while (!signal.aborted && this.#world.violations.length === 0) await this.#act();
  }

  /** Makes the room's directory. */
  async #enter(): Promise<void> {
    for (;;) {
      const outcome = await this.#ask({ method: 'PUT', path: directoryUrl(this.name) });
      if (outcome.kind === 'answered') return;
      if (outcome.kind === 'lost') await outcome.settled();
    }
  }

  async #act(): Promise<void> {
    const full = this.tree.size > MOST_ENTRIES;
    const verb = this.#random.weighted({
      put: full ? 5 : 40,
      direct: full ? 0 : 6,
      delete: full ? 20 : 10,
      move: 9,
      copy: full ? 0 : 9,
      mkdir: 4,
      rmdir: full ? 15 : 4,
      restore: this.name.startsWith('kept-') && !full ? 10 : 0,
      read: 14,
      list: 4,
    });
    this.#world.count(verb);
    if (verb === 'read') return this.#read();
    if (verb === 'list') return this.check([this.tree]);
    if (verb === 'put' || verb === 'direct') return this.#put(verb);
    if (verb === 'restore') return this.#restore();
    if (verb === 'move' || verb === 'copy') {
      const operation: Operation = { op: verb, from: this.#known(0.9), to: this.#path() };
      const body = JSON.stringify({ from: this.#key(operation.from), to: this.#key(operation.to) });
      const headers = { 'content-type': 'application/json', ...this.#perhapsRepeatable() };
      return this.#do(operation, { method: 'POST', path: `/v1/domains/demo/${verb}`, headers, body });
    }
    if (verb === 'delete') {
      const path = this.#known(0.9);
      const headers = this.#perhapsRepeatable();
      return this.#do({ op: verb, path }, { method: 'DELETE', path: fileUrl(this.#key(path)), headers });
    }
    const path = verb === 'mkdir' ? this.#path() : this.#known(0.9);
    if (verb === 'mkdir') {
      return this.#do({ op: verb, path }, { method: 'PUT', path: directoryUrl(this.#key(path)) });
    }
    const recursive = this.#random.chance(0.5);
    const url = `${directoryUrl(this.#key(path))}?recursive=${recursive}`;
    return this.#do({ op: verb, path, recursive }, { method: 'DELETE', path: url });
  }

  async #put(how: 'put' | 'direct'): Promise<void> {
    const bytes = this.#random.bytes(this.#size());
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const path = this.#random.chance(0.4) ? this.#known(1) : this.#path();
    const exclusive = this.#random.chance(0.1);
    const condition: Record<string, string> = exclusive ? { 'if-none-match': '*' } : {};
    const operation: Operation = { op: 'put', path, sha256, exclusive };
    if (how === 'put') {
      const headers = { ...condition, ...this.#perhapsRepeatable() };
      return this.#do(operation, { method: 'PUT', path: fileUrl(this.#key(path)), headers, body: bytes });
    }
    const open = JSON.stringify({ key: this.#key(path), size: bytes.length });
    const typed = { 'content-type': 'application/json' };
    const uploads = '/v1/domains/demo/uploads';
    const opened = await this.#ask({ method: 'POST', path: uploads, headers: typed, body: open });
    if (opened.kind !== 'answered' || opened.answer.status !== 201) return;
    const { fid, url } = json<{ fid: number; url: string }>(opened.answer);
    const sent = await this.#world.send(url, { method: 'PUT', path: '', body: bytes });
    // Whatever became of it: without a receipt there is nothing to commit.
    if (sent instanceof Error || sent === 'unsent' || sent.status !== 201) return;
    const body = JSON.stringify({ receipt: json<object>(sent) });
    const commit: Asked = { method: 'POST', path: `${uploads}/${fid}/commit`, headers: condition, body };
    Object.assign(condition, typed);
    // A commit may be repeated: its fid is what makes it one.
    return this.#do(operation, commit, true);
  }

  /** Takes a version out of the trash, to where it was or elsewhere: as if its bytes were written there now. */
  async #restore(): Promise<void> {
    const trash = '/v1/domains/demo/trash';
    const listed = await this.#ask({ method: 'GET', path: `${trash}?prefix=${this.name}/&limit=20` });
    if (listed.kind === 'lost') return listed.settled();
    if (listed.kind !== 'answered' || listed.answer.status !== 200) return;
    const { versions } = json<{ versions: Version[] }>(listed.answer);
    if (versions.length === 0) return;
    const { id, key, etag } = this.#random.pick(versions);
    const path = this.#random.chance(0.7) ? key.slice(this.name.length + 1) : this.#path();
    const body = JSON.stringify({ to: this.#key(path) });
    const headers = { 'content-type': 'application/json' };
    const operation: Operation = { op: 'put', path, sha256: etag.replaceAll('"', ''), exclusive: false };
    return this.#do(operation, { method: 'POST', path: `${trash}/${id}/restore`, headers, body });
  }

  /** Carries an operation out, and holds what came of it against what must. */
  async #do(operation: Operation, asked: Asked, repeatable = false): Promise<void> {
    const expected = expect(this.tree, operation);
    this.#log.push(JSON.stringify(operation));
    await this.#send(asked, expected, repeatable || asked.headers?.['idempotency-key'] !== undefined);
  }

  async #send(asked: Asked, expected: Expected, repeatable = false): Promise<void> {
    for (;;) {
      const outcome = await this.#ask(asked);
      if (outcome.kind === 'unchanged') return;
      if (outcome.kind === 'answered') {
        const { answer } = outcome;
        this.#judge(answer, expected);
        // As proxies do: the same request once more. It gets the same answer and changes nothing.
        if (repeatable && this.#random.chance(0.3)) await this.#repeat(asked, answer);
        return;
      }
      // Repeated at once, perhaps while the first one is still being carried out: its answer must be the first's.
      if (repeatable) {
        await sleep(50);
        continue;
      }
      await outcome.settled();
      const { tree = this.tree, partly = tree } = expected;
      return this.check([tree, this.tree, partly]);
    }
  }

  async #repeat(asked: Asked, first: Answer): Promise<void> {
    this.#world.count('repeated');
    const outcome = await this.#ask(asked);
    if (outcome.kind === 'answered') {
      this.#log.push(`  repeated: ${outcome.answer.status}`);
      const { status, problem } = outcome.answer;
      if (status !== first.status && problem !== 'receipt-refused') {
        this.#broken(`a repeat was answered ${status} ${problem ?? ''}, the first request ${first.status}`);
      }
    }
    if (outcome.kind === 'lost') await outcome.settled();
    await this.check([this.tree]);
  }

  #judge({ status, problem, body }: Answer, { status: wanted, tree = this.tree }: Expected): void {
    this.#log.push(`  ${status} ${problem ?? ''}`);
    // The node was started twice since it signed the receipt.
    if (problem === 'receipt-refused') return;
    if (status !== wanted) {
      this.#broken(`the answer was ${status} ${problem ?? ''}, not ${wanted}`);
      return;
    }
    this.tree = tree;
    const entry = status < 300 && body.length > 0 ? (JSON.parse(body.toString()) as Entry) : undefined;
    if (entry?.fid !== undefined && entry.sha256 !== undefined) {
      this.#world.acknowledged(entry.fid, entry.sha256);
    }
  }

  async #read(): Promise<void> {
    const path = this.#known(0.95);
    const wanted = this.tree.get(path);
    const outcome = await this.#ask({ method: 'GET', path: fileUrl(this.#key(path)) });
    if (outcome.kind !== 'answered') return;
    const { status, body } = outcome.answer;
    this.#log.push(`read ${path}: ${status}`);
    const expected = wanted === undefined ? 404 : wanted === null ? 409 : 200;
    if (status !== expected) return this.#broken(`reading '${path}' was answered ${status}, not ${expected}`);
    const digest = createHash('sha256').update(body).digest('hex');
    if (status === 200 && digest !== wanted) this.#broken(`'${path}' was served with bytes of ${digest}`);
  }

  /** Lists the room; it must look like one of `trees`, which is then what it holds. */
  async check(trees: Tree[]): Promise<void> {
    const found = await this.list();
    if (found === undefined) return;
    const match = trees.find((tree) => difference(tree, found) === undefined);
    this.#log.push(`  listed: ${match === undefined ? 'wrong' : trees.indexOf(match)}`);
    if (match !== undefined) this.tree = match;
    else this.#broken(`it looks wrong: ${difference(trees[0] as Tree, found)}`);
  }

  /** All that is below the room, from one tracker; undefined if none could answer. */
  async list(random = this.#random): Promise<Tree | undefined> {
    for (;;) {
      const path = `${directoryUrl(this.name)}?recursive=true`;
      const outcome = await this.#world.ask(random, { method: 'GET', path });
      if (outcome.kind === 'lost') await outcome.settled();
      if (outcome.kind !== 'answered') continue;
      if (outcome.answer.status !== 200) {
        this.#broken(`its listing was answered ${outcome.answer.status}`);
        return undefined;
      }
      const { entries } = json<{ entries: Entry[] }>(outcome.answer);
      return new Map(
        entries.map(({ key, kind, sha256 }) => [
          key.slice(this.name.length + 1),
          kind === 'directory' ? null : (sha256 as string),
        ]),
      );
    }
  }

  async #ask(asked: Asked): Promise<Outcome> {
    const outcome = await this.#world.ask(this.#random, asked);
    if (outcome.kind !== 'answered') {
      this.#world.count(outcome.kind);
      this.#log.push(`  ${outcome.kind}: ${outcome.why}`);
    }
    return outcome;
  }

  #broken(text: string): void {
    this.#world.violation(`${this.name}: ${text}. Before that:\n  ${this.#log.slice(-12).join('\n  ')}`);
  }

  #key(path: string): string {
    return `${this.name}/${path}`;
  }

  /** Mostly the path of something that is there. */
  #known(probability: number): string {
    const paths = [...this.tree.keys()];
    return paths.length > 0 && this.#random.chance(probability) ? this.#random.pick(paths) : this.#path();
  }

  #path(): string {
    const directories = [...this.tree].flatMap(([path, value]) => (value === null ? [path] : []));
    const segment = this.#random.pick(SEGMENTS);
    if (directories.length > 0 && this.#random.chance(0.6)) {
      const parent = this.#random.pick(directories);
      if (parent.split('/').length < 4) return `${parent}/${segment}`;
    }
    return this.#random.chance(0.3) ? `${this.#random.pick(SEGMENTS)}/${segment}` : segment;
  }

  /** Mostly small; some larger than what a tracker keeps in memory, a few larger than what a node reads at once. */
  #size(): number {
    const kind = this.#random.weighted({ small: 85, empty: 3, medium: 9, large: 3 });
    if (kind === 'empty') return 0;
    if (kind === 'small') return this.#random.between(1, 20_000);
    return kind === 'medium'
      ? this.#random.between(260_000, 500_000)
      : this.#random.between(1_050_000, 1_600_000);
  }

  #perhapsRepeatable(): Record<string, string> {
    if (!this.#random.chance(0.3)) return {};
    return { 'idempotency-key': `${this.name}-${++this.#requests}` };
  }
}
