// Looks at directories in a thread of its own, ahead of their turn: where nothing is new, what the system takes to tell of
// each file is half of the work. This file is both sides, the class and the thread.
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { type LocalFile, type Origin, type Scanned, type Skip, scanDirectory } from './tree.ts';

const THREAD = 'cistern-import-scanner';

/** What a look found: nothing if there is no such directory, or if it is left out. */
export interface Found {
  scanned?: Scanned;
  /** What was left out, in order. */
  skipped: { path: string; why: string; left: boolean }[];
}

interface Question {
  origin: Origin;
  key: string;
  everything: boolean;
}

/** As it goes from thread to thread: columns are copied much faster than objects. */
interface Answer {
  skipped: Found['skipped'];
  directories?: string[];
  names: string[];
  modes: string[];
  sizes: Float64Array;
  mtimes: Float64Array;
}

export class Scanner {
  readonly #everything: boolean;
  readonly #thread: Worker;
  /** In the order of the questions, which is that of the answers. */
  readonly #waiting: { question: Question; resolve(found: Found): void; reject(error: unknown): void }[] = [];

  constructor(everything: boolean) {
    this.#everything = everything;
    this.#thread = new Worker(new URL(import.meta.url), { workerData: THREAD });
    this.#thread.on('message', (answer: Answer) => {
      const one = this.#waiting.shift();
      one?.resolve(unpack(one.question.origin, one.question.key, answer));
    });
    this.#thread.on('error', (error) => {
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    });
  }

  /** Looks at a directory of an origin. `key`: relative to the origin, '' for itself. */
  scan(origin: Origin, key: string): Promise<Found> {
    const question = { origin, key, everything: this.#everything };
    const { promise, resolve, reject } = Promise.withResolvers<Found>();
    this.#waiting.push({ question, resolve, reject });
    this.#thread.postMessage(question);
    return promise;
  }

  async close(): Promise<void> {
    await this.#thread.terminate();
  }
}

function unpack(origin: Origin, key: string, answer: Answer): Found {
  const { skipped, directories, names, modes, sizes, mtimes } = answer;
  if (directories === undefined) return { skipped };
  const directory = key === '' ? origin.path : `${origin.path}/${key}`;
  const files = new Map<string, LocalFile>();
  for (const [i, name] of names.entries()) {
    files.set(name, {
      origin,
      path: `${directory}/${name}`,
      size: sizes[i] as number,
      mtimeMs: mtimes[i] as number,
      mode: modes[i] as string,
    });
  }
  return { skipped, scanned: { files, directories } };
}

function answerTo({ origin, key, everything }: Question): Answer {
  const skipped: Found['skipped'] = [];
  const skip: Skip = (_, path, why, left) => skipped.push({ path, why, left });
  const scanned = scanDirectory(origin, key, everything, skip);
  const files = [...(scanned?.files ?? [])];
  return {
    skipped,
    ...(scanned && { directories: scanned.directories }),
    names: files.map(([name]) => name),
    modes: files.map(([, { mode }]) => mode),
    sizes: Float64Array.from(files, ([, { size }]) => size),
    mtimes: Float64Array.from(files, ([, { mtimeMs }]) => mtimeMs),
  };
}

if (!isMainThread && workerData === THREAD) {
  parentPort?.on('message', (question: Question) => parentPort?.postMessage(answerTo(question)));
}
