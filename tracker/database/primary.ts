// Finds the primary among the servers of the database, and follows it. Each server is watched by one session and asked
// again and again; which of them is the primary is decided anew from all their answers, so nothing can be missed.
import { delay } from '../../services/lifecycle.ts';
import type { Logger } from '../../services/logging.ts';
import { addressOf, type Facts, failureInWords, whyReadOnly } from './servers.ts';
import { WatchedServer } from './watched-server.ts';

/** The primary that is in use. */
export interface Standing {
  url: string;
  /** System identifier and timeline: the same as long as it is the same primary. */
  system: string;
  timeline: number;
  /** Why it takes no writes, as a sentence's end; undefined: it does. */
  readOnly: string | undefined;
}

export interface PrimaryOptions {
  /** One for each server. */
  urls: string[];
  /** Writes only where each commit waits for a synchronous standby. */
  synchronous: boolean;
  log: Logger;
  /** Called when there is another primary, or none, or it takes writes or does not any more. */
  changed(standing: Standing | undefined): void;
}

/** How long the first answers of all servers are waited for, so that not the first one is taken but the right one. */
const FIRST_MS = 1_000;
/** Time between two proofs that what is written comes through, with some room. */
const USUAL_SECONDS = 2;
/** How long a request waits to learn whether the primary is still there. */
const CHECK_MS = 1_000;

export class Primary {
  readonly #options: PrimaryOptions;
  readonly #servers: WatchedServer[];
  readonly #began = performance.now();
  #standing: Standing | undefined;
  /** The newest primary that was ever seen: one that is older was replaced, and is never used again. */
  #newest: { system: string; timeline: number } | undefined;
  #heard = performance.now();
  #written = performance.now();
  readonly #rejected = new Map<string, string | undefined>();
  #stopped = false;

  constructor(options: PrimaryOptions) {
    this.#options = options;
    const watch = {
      decide: () => this.#decide(),
      seeking: () => this.#standing === undefined,
      wanted: (facts: Facts) =>
        options.synchronous && this.#rejection(facts) === undefined && whyReadOnly(facts, true) === undefined,
    };
    this.#servers = options.urls.map((url) => new WatchedServer(url, watch));
    for (const server of this.#servers) void server.run();
    void delay(FIRST_MS).then(() => this.#decide());
  }

  get standing(): Standing | undefined {
    return this.#standing;
  }

  /** How long ago the primary answered last, in seconds. */
  get silence(): number {
    return (performance.now() - this.#heard) / 1000;
  }

  /** For how many seconds what is written may not have come through; 0 if writes are taken. */
  get writeSilence(): number {
    const seconds = (performance.now() - this.#written) / 1000;
    const isUsual = this.#standing?.readOnly === undefined && seconds < USUAL_SECONDS;
    return isUsual || !this.#options.synchronous ? 0 : seconds;
  }

  /** The last failure of each server, in the order of their URLs; undefined for one that answers, or did not yet. */
  get failures(): (unknown | undefined)[] {
    return this.#servers.map(({ failure }) => failure);
  }

  /** A connection broke: asks again now, and resolves when the primary has answered or did not in time. */
  async check(): Promise<void> {
    const url = this.#standing?.url;
    const answers = this.#servers.map((server) => ({ answer: server.ask(), counts: server.url === url }));
    const awaited = answers.filter(({ counts }) => counts || url === undefined).map(({ answer }) => answer);
    await Promise.race([Promise.all(awaited), delay(CHECK_MS)]);
  }

  stop(): void {
    this.#stopped = true;
    for (const server of this.#servers) server.stop();
  }

  #decide(): void {
    if (this.#stopped || !this.#allSpoke()) return;
    for (const { facts } of this.#servers) if (facts !== undefined) this.#note(facts);
    const best = this.#best();
    if (best?.facts === undefined) {
      this.#publish(undefined);
      return;
    }
    this.#heard = best.heard;
    const { system, timeline } = best.facts;
    const readOnly = whyReadOnly(best.facts, this.#options.synchronous) ?? best.unconfirmed();
    if (readOnly === undefined) this.#written = best.confirmed;
    this.#publish({ url: best.url, system, timeline, readOnly });
  }

  #note({ standby, system, timeline }: Facts): void {
    if (standby) return;
    const known = this.#newest;
    // A single server that became another one was restored there; among several, one is in the wrong list.
    const isOther = known === undefined || (system !== known.system && this.#servers.length === 1);
    if (isOther || (system === known.system && timeline > known.timeline))
      this.#newest = { system, timeline };
  }

  #best(): WatchedServer | undefined {
    const usable = this.#servers.filter(({ url, facts, undecided }) => {
      if (facts === undefined) return false;
      const why = this.#rejection(facts);
      if (!facts.standby) this.#logRejection(url, why);
      return why === undefined && !undecided;
    });
    return usable.find(({ url }) => url === this.#standing?.url) ?? usable[0];
  }

  /** Two primaries are worth an alarm: what the older one is told by others will be lost. */
  #logRejection(url: string, why: string | undefined): void {
    if (this.#rejected.get(url) === why) return;
    this.#rejected.set(url, why);
    if (why === undefined) return;
    this.#options.log.error({ server: addressOf(url), why }, 'a second primary database is not used');
  }

  #allSpoke(): boolean {
    return this.#servers.every(({ spoke }) => spoke) || performance.now() - this.#began >= FIRST_MS;
  }

  /** Why a server is not to be used, or undefined. */
  #rejection({ standby, system, timeline }: Facts): string | undefined {
    if (standby) return 'it is a standby';
    const newest = this.#newest;
    if (newest === undefined) return undefined;
    if (system === newest.system) {
      if (timeline >= newest.timeline) return undefined;
      return `it is on timeline ${timeline}, and ${newest.timeline} was seen: it was replaced`;
    }
    return 'it belongs to another database';
  }

  #publish(standing: Standing | undefined): void {
    const former = this.#standing;
    if (same(former, standing)) return;
    this.#standing = standing;
    const { log } = this.#options;
    if (standing === undefined) log.warn({ servers: this.#whatIsWrong() }, 'no primary database answers');
    else {
      const { url, timeline, readOnly } = standing;
      const fields = { server: addressOf(url), timeline };
      if (readOnly === undefined) log.info(fields, 'the primary database is there');
      else log.error({ ...fields, why: readOnly }, 'the primary database is not written to');
    }
    this.#options.changed(standing);
  }

  #whatIsWrong(): Record<string, string> {
    const why = ({ facts, failure }: WatchedServer) =>
      facts === undefined ? failureInWords(failure) : (this.#rejection(facts) ?? 'it was not asked yet');
    return Object.fromEntries(this.#servers.map((server) => [addressOf(server.url), why(server)]));
  }
}

function same(a: Standing | undefined, b: Standing | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.url === b.url && a.system === b.system && a.timeline === b.timeline && a.readOnly === b.readOnly;
}
