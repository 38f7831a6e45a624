// One server of the database, asked again and again what it is, and whether its commits reach a synchronous standby.
import { delay } from '../../services/lifecycle.ts';
import { type Facts, failureInWords, Session } from './servers.ts';

const EVERY_MS = 1_000;
const SEEKING_MS = 250;
/** How long a synchronous standby may keep us waiting before writes are refused. */
const CONFIRM_MS = 5_000;

export interface Watch {
  /** Called after each answer. */
  decide(): void;
  /** There is no primary: ask more often. */
  seeking(): boolean;
  /** This server would be used, and each commit on it has to wait for a standby: see whether they do. */
  wanted(facts: Facts): boolean;
}

/** One server that is watched. */
export class WatchedServer {
  readonly url: string;
  /** Its last answer; undefined if it did not answer. */
  facts: Facts | undefined;
  /** When that was, by the monotonic clock. */
  heard = 0;
  failure: unknown;
  /** It answered, or failed to, at least once. */
  spoke = false;
  readonly #watch: Watch;
  #session: Session | undefined;
  #confirmer: Confirmer | undefined;
  #stopped = false;
  #pause = new AbortController();
  #next = Promise.withResolvers<void>();
  #wantsNext = false;

  constructor(url: string, watch: Watch) {
    this.url = url;
    this.#watch = watch;
  }

  async run(): Promise<void> {
    while (!this.#stopped) {
      const answer = this.#next;
      this.#next = Promise.withResolvers();
      this.#wantsNext = false;
      await this.#look();
      this.#watch.decide();
      answer.resolve();
      if (this.#wantsNext) continue;
      // Trackers that lost their database at the same moment do not come back in step.
      const pause = this.#watch.seeking() ? SEEKING_MS * (0.5 + Math.random()) : EVERY_MS;
      this.#pause = new AbortController();
      await delay(pause, this.#pause.signal);
    }
    this.stop();
  }

  /** Has it asked now; resolves when it has answered a question that began after the call, or failed to. */
  ask(): Promise<void> {
    this.#wantsNext = true;
    this.#pause.abort();
    return this.#next.promise;
  }

  stop(): void {
    this.#stopped = true;
    this.#pause.abort();
    this.#session?.close();
    this.#confirmer?.close();
  }

  /** Whether its commits reach a standby is not known yet. */
  get undecided(): boolean {
    return this.#confirmer?.undecided ?? false;
  }

  unconfirmed(): string | undefined {
    return this.#confirmer?.why();
  }

  /** Until when a write is known to have reached the standby, or would not have had to, by the monotonic clock. */
  get confirmed(): number {
    return this.#confirmer?.confirmed ?? this.heard;
  }

  async #look(): Promise<void> {
    try {
      this.#session ??= await Session.open(this.url);
      this.facts = await this.#session.look();
      this.heard = performance.now();
      this.failure = undefined;
    } catch (error) {
      this.#session?.close();
      this.#session = undefined;
      this.facts = undefined;
      this.failure = error;
    }
    this.spoke = true;
    if (this.facts !== undefined && this.#watch.wanted(this.facts)) {
      this.#confirmer ??= new Confirmer(this.url, () => this.#watch.decide());
      this.#confirmer.start();
    } else {
      this.#confirmer?.close();
      this.#confirmer = undefined;
    }
  }
}

/**
 * Sees, again and again, whether a commit reaches the synchronous standby. Such a wait cannot be cancelled without
 * doing what it is to prevent, so there is never more than one, on a session of its own.
 */
class Confirmer {
  readonly #url: string;
  readonly #done: () => void;
  #session: Session | undefined;
  #since: number | undefined = performance.now();
  #running = false;
  #closed = false;
  /** When the last write began that was confirmed. */
  confirmed = performance.now();
  /** The last outcome; undefined before the first. */
  #last: { failure?: unknown } | undefined;

  constructor(url: string, done: () => void) {
    this.#url = url;
    this.#done = done;
  }

  start(): void {
    if (this.#running || this.#closed) return;
    this.#running = true;
    const began = performance.now();
    this.#since = began;
    void this.#confirm().then((last) => {
      this.#running = false;
      this.#since = undefined;
      this.#last = last;
      if (last.failure === undefined) this.confirmed = began;
      if (!this.#closed) this.#done();
    });
  }

  get undecided(): boolean {
    return this.#last === undefined && !this.#isLate();
  }

  why(): string | undefined {
    if (this.#isLate()) return 'no synchronous standby confirms what is written';
    if (this.#last?.failure === undefined) return undefined;
    return `a write could not be confirmed: ${failureInWords(this.#last.failure)}`;
  }

  close(): void {
    this.#closed = true;
    this.#session?.close();
  }

  #isLate(): boolean {
    return this.#since !== undefined && performance.now() - this.#since > CONFIRM_MS;
  }

  async #confirm(): Promise<{ failure?: unknown }> {
    try {
      this.#session ??= await Session.open(this.#url);
      if (this.#closed) this.#session.close();
      await this.#session.confirm();
      return {};
    } catch (failure) {
      this.#session?.close();
      this.#session = undefined;
      return { failure };
    }
  }
}
