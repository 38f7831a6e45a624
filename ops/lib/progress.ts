// A progress bar on stderr, if that is a terminal; else nothing: results and errors are enough for a log.
import { SingleBar } from 'cli-progress';
import { formatBytes, formatSeconds } from './format.ts';

export interface Progress {
  /** What there is to do; may grow while it is being found out. */
  setTotal(total: number): void;
  /** @param note shown behind the numbers */
  set(value: number, note?: string): void;
  add(amount: number): void;
  /** Takes the bar away. */
  stop(): void;
}

const silent: Progress = { setTotal() {}, set() {}, add() {}, stop() {} };

/**
 * Shows how far something is.
 * @param unit 'bytes' for sizes, else the word for what is counted
 * @param enabled false: never show it
 */
export function startProgress(what: string, unit: string, total: number, enabled = true): Progress {
  if (!enabled || !process.stderr.isTTY) return silent;
  const start = Date.now();
  let [value, most] = [0, total];
  let remark = '';
  const shown = (n: number) => (unit === 'bytes' ? formatBytes(n) : n.toLocaleString('en-US'));
  const bar = new SingleBar({
    format: (_options, { progress }) => {
      const seconds = Math.max((Date.now() - start) / 1000, 0.001);
      const rate = value / seconds;
      const left = rate > 0 && most > value ? `, ${formatSeconds((most - value) / rate)} left` : '';
      const filled = Math.round(24 * Math.min(1, progress));
      const word = unit === 'bytes' ? '' : ` ${unit}`;
      return `${what} [${'#'.repeat(filled)}${'-'.repeat(24 - filled)}] ${shown(value)} of ${shown(most)}${word}, ${shown(Math.round(rate))}/s${left}${remark}`;
    },
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    linewrap: false,
    gracefulExit: false,
    emptyOnZero: true,
  });
  bar.start(total, 0);
  return {
    setTotal(next) {
      most = next;
      bar.setTotal(next);
    },
    set(next, note) {
      value = next;
      remark = note === undefined ? '' : ` (${note})`;
      bar.update(Math.min(next, most));
    },
    add(amount) {
      this.set(value + amount);
    },
    stop: () => bar.stop(),
  };
}
