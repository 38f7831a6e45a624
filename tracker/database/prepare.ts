// A tracker's start: waits for the database, and brings its schema up to date.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../services/logging.ts';
import { Problem } from '../../services/problems.ts';
import { type Database, isReadOnly, sqlState } from './database.ts';
import { migrate } from './migrate.ts';
import type { Standing } from './primary.ts';
import { failureInWords } from './servers.ts';

const PATIENCE_MS = 30_000;
const EVERY_MS = 50;
/** A database that comes within this time is not worth a word. */
const SILENCE_MS = 1_000;

/**
 * Migrates. A database that does not answer yet (they often start together), or takes no writes when the schema has to
 * be changed, is waited for.
 * @throws if the database does not come, or refuses us; the message is one line
 */
export async function prepareDatabase(db: Database, log: Logger): Promise<void> {
  const began = Date.now();
  for (let waiting = false; ; ) {
    const why = await attempt(db, log);
    if (why === undefined) return;
    if (Date.now() - began > PATIENCE_MS) {
      throw new Error(`the database did not come within ${PATIENCE_MS / 1000} s: ${why}`);
    }
    if (!waiting && Date.now() - began > SILENCE_MS) {
      log.warn({ why }, 'waiting for the database');
      waiting = true;
    }
    await sleep(EVERY_MS);
  }
}

/** @returns why it has to be tried again; undefined: done */
async function attempt(db: Database, log: Logger): Promise<string | undefined> {
  const { standing, failures } = db;
  if (standing === undefined) {
    const final = failures.find((failure) => failure !== undefined && !mayCome(failure));
    if (final !== undefined && failures.every((failure) => failure !== undefined)) throw refused(final);
    const [failure] = failures.filter((one) => one !== undefined);
    return failure === undefined ? 'no server is the primary' : failureInWords(failure);
  }
  try {
    const applied = await migrate(urlFor(standing));
    if (applied > 0) log.info({ applied }, 'schema migrated');
    return undefined;
  } catch (error) {
    if (isReadOnly(error)) return `its schema has to be changed, and ${standing.readOnly}`;
    if (!mayCome(error)) throw refused(error);
    return failureInWords(error);
  }
}

/** Where nothing may be written, the schema must be as it should be. */
function urlFor({ url, readOnly }: Standing): string {
  if (readOnly === undefined) return url;
  const option = `options=${encodeURIComponent('-c default_transaction_read_only=on')}`;
  return `${url}${url.includes('?') ? '&' : '?'}${option}`;
}

function refused(cause: unknown): Error {
  return new Error(`cannot prepare the database: ${failureInWords(cause)}`, { cause });
}

/** True if the same attempt can succeed a moment later: nobody listens yet, or it is starting, stopping or full. */
function mayCome(error: unknown): boolean {
  const code = sqlState(error);
  if (code !== undefined) return /^(57P|08|53)/.test(code);
  return error instanceof Problem || error instanceof AggregateError || isNetworkError(error);
}

function isNetworkError(error: unknown): boolean {
  const { code, message } = error as NodeJS.ErrnoException;
  return /^E[A-Z_]+$/.test(code ?? '') || /^(Connection terminated|timeout|Query read timeout)/.test(message);
}
