// How a service process begins and ends: settings errors are one line, signals end it in phases, a bug ends it loudly.
import { ConfigError } from './config.ts';
import { enableFailPoints } from './fail-points.ts';
import type { Logger } from './logging.ts';

export interface Running {
  log: Logger;
  /** Stops accepting, finishes what is in flight, closes everything. Must end by itself. */
  stop(): Promise<void>;
  /** On SIGHUP: reads files again that may have changed. */
  reload(): void;
}

/**
 * Runs a service until SIGTERM or SIGINT (SIGHUP has it read its files again), then stops it and exits 0 (1 if stopping took over `graceMs`).
 * Settings that are wrong exit 2 with one line on stderr; so does a start that fails otherwise, with 1.
 */
export async function runService(
  name: string,
  start: () => Promise<Running>,
  graceMs = 30_000,
): Promise<void> {
  let running: Running;
  let starting = true;
  const orphaned = watchParent();
  void orphaned.then(() => starting && process.exit(1));
  try {
    enableFailPoints();
    running = await start();
    starting = false;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    process.stderr.write(`${name}: ${text}\n`);
    process.exit(error instanceof ConfigError ? 2 : 1);
  }
  const { log } = running;
  let stopping = false;
  const stop = async (signal: string) => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, 'stopping');
    setTimeout(() => {
      log.error('did not stop in time, exiting');
      log.flush();
      process.exit(1);
    }, graceMs).unref();
    await running.stop();
    log.info('stopped');
    log.flush(() => process.exit(0));
  };
  process.on('SIGTERM', () => void stop('SIGTERM'));
  process.on('SIGINT', () => void stop('SIGINT'));
  process.on('SIGHUP', () => running.reload());
  void orphaned.then(() => stop('end of the parent'));
  process.on('uncaughtException', (err) => {
    log.fatal({ err }, 'uncaught exception');
    log.flush(() => process.exit(70));
  });
}

/**
 * With `CISTERN_PARENT=stdin` (`cistern up` sets it), resolves when standard input ends: the parent is gone, however it
 * went, and nobody would stop us any more. A service that is still starting then ends at once.
 */
function watchParent(): Promise<void> {
  if (process.env.CISTERN_PARENT !== 'stdin') return new Promise(() => {});
  return new Promise((resolve) => {
    process.stdin.on('error', () => {}).once('close', resolve);
    process.stdin.resume();
  });
}

/** Resolves after `ms`, or at once when `signal` is aborted. It does not keep the process alive. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    timer.unref();
    signal?.addEventListener('abort', done, { once: true });
  });
}
