// `cistern up` from its start to its end: signals, what it prints, and the file by which other commands find it.
import type { UpOptions } from '../commands/up.ts';
import { EXIT } from '../lib/failure.ts';
import { Output } from '../lib/output.ts';
import { Cluster } from './cluster.ts';
import { DEMO_DOMAIN, makeDemo, whenReady } from './ready.ts';
import { type Running, State } from './state.ts';

// npm passes a Ctrl-C on to a child that got it from the terminal already: two signals at once are one.
const SAME_SIGNAL_MS = 500;

/** Runs a cluster until SIGINT or SIGTERM; resolves when all of it has stopped. */
export async function runUp(options: UpOptions): Promise<void> {
  const out = new Output(options.json);
  const say = (line: string) => out.note(`cistern: ${line}`);
  const state = new State(options.state);
  const cluster = new Cluster(state, options, say);
  const { signal, ended } = onSignals(
    (name) => say(`${name}: stopping; once more to stop at once`),
    () => cluster.kill(),
  );
  try {
    await Promise.race([serve(cluster, state, out, options, signal), ended]);
    await ended;
  } finally {
    state.remove('up.json');
    await cluster.stop();
    state.close();
  }
  say('stopped');
  // Whatever still holds a handle, such as a client's idle connection, must not keep us.
  process.exit(EXIT.ok);
}

async function serve(
  cluster: Cluster,
  state: State,
  out: Output,
  options: UpOptions,
  signal: AbortSignal,
): Promise<void> {
  const say = (line: string) => out.note(`cistern: ${line}`);
  say(`starting PostgreSQL, trackers and storage nodes in ${state.directory}`);
  let token: string | undefined;
  const describe = (): Running => ({ ...cluster.describe(), domain: DEMO_DOMAIN, token: token as string });
  await cluster.start(() => {
    if (token !== undefined && !signal.aborted) state.write('up.json', describe());
  });
  const { trackers, adminToken, nodes, tracker } = cluster.describe();
  await whenReady({ trackers, adminToken, nodes, signal, waiting: (why) => say(`still waiting: ${why}`) });
  token = await makeDemo(tracker, adminToken, cluster.secrets.demoToken, signal);
  state.write('secrets.json', { ...cluster.secrets, demoToken: token });
  const running = describe();
  state.write('up.json', running);
  await out.item(shown(running), () => welcome(running, options.state));
}

/** The line of `--json`: what a client needs, without the supervisor's own and the admin token. */
function shown({ tracker, trackers, domain, token, nodes, database }: Running): object {
  return { tracker, ...(trackers.length > 1 && { trackers }), domain, token, nodes, database };
}

function welcome({ tracker, domain, token, nodes }: Running, directory: string): string {
  const file = `${tracker}/v1/domains/${domain}/files/hello/README.md`;
  const authorization = `-H 'Authorization: Bearer ${token}'`;
  const devices = nodes.flatMap((node) => node.devices).length;
  return `
Cistern is ready: ${nodes.length} storage nodes with ${devices} devices, state in ${directory}

  tracker  ${tracker}
  domain   ${domain}
  token    ${token}

  upload    curl -f -T README.md ${authorization} ${file}
  download  curl -f ${authorization} ${file}
  status    npx cistern status

The API is described at ${tracker}/docs. Ctrl-C stops everything.`;
}

function onSignals(first: (name: string) => void, again: () => void) {
  const stopping = new AbortController();
  const ended = new Promise<void>((resolve) => {
    let since: number | undefined;
    const onSignal = (name: NodeJS.Signals) => {
      if (since === undefined) {
        since = Date.now();
        first(name);
        stopping.abort();
        resolve();
      } else if (Date.now() - since > SAME_SIGNAL_MS) {
        again();
        process.exit(EXIT.interrupted);
      }
    };
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, onSignal);
    watchNpm(() => onSignal('SIGTERM'));
  });
  return { signal: stopping.signal, ended };
}

/** npm and npx pass a SIGTERM on to their shell only, which ends without a word to us. Then our parent changes. */
function watchNpm(gone: () => void): void {
  if (process.env.npm_execpath === undefined) return;
  const { ppid } = process;
  const timer = setInterval(() => {
    if (process.ppid === ppid) return;
    clearInterval(timer);
    gone();
  }, 500);
  timer.unref();
}
