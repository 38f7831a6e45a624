// What each command has in common: the options that name the cluster, a client, output, Ctrl-C, and how it ends.
import { createInterface } from 'node:readline/promises';
import { type Command, CommanderError } from 'commander';
import { Api } from './api.ts';
import { EXIT, EXIT_HELP, Failure, failureOf, isProblem } from './failure.ts';
import { Output } from './output.ts';
import { domainOf, resolveTarget, type Target, type TargetFlags } from './target.ts';

export interface Session {
  target: Target;
  /** The client of the files' owner. */
  api: Api;
  /** The client of the operator: the same, unless a `cistern up` runs here. */
  admin: Api;
  out: Output;
  /** Aborted by Ctrl-C. */
  signal: AbortSignal;
  /** The domain, or a Failure that says how to name one. */
  domain(): string;
}

/** Makes a verb: `--json`, the options that name the cluster, examples and exit codes in its help. */
export function verb(
  program: Command,
  usage: string,
  about: string,
  more: { domain?: boolean; examples: string[] },
): Command {
  const command = program
    .command(usage)
    .description(about)
    .optionsGroup('Options:')
    .option('--json', 'print JSON, one object a line');
  command
    .optionsGroup('Which cluster (see also: CISTERN_URL, CISTERN_DOMAIN, CISTERN_TOKEN, docs/cli.md):')
    .option('--url <urls>', 'trackers, separated by commas; the next is asked when one is away')
    .option('--token <token>', 'access token')
    .option('--environment <name>', 'environment of the site that writes: prod, stage (CISTERN_ENVIRONMENT)')
    .option('--profile <name>', "profile in the configuration file (default: 'default')")
    .option(
      '--config <path>',
      'configuration file (default: $XDG_CONFIG_HOME or ~/.config, then cistern/config.json)',
    );
  if (more.domain !== false) command.option('--domain <name>', 'domain whose files are meant');
  const examples = more.examples.map((line) => `  $ cistern ${line}`).join('\n');
  command.addHelpText('after', `\nExamples:\n${examples}\n${EXIT_HELP}`);
  return command.optionsGroup('Options:');
}

type Work<A extends unknown[]> = (session: Session, ...args: A) => Promise<number | undefined>;

/**
 * The action of a verb: opens a session from the command's options, runs `work` with the command's arguments and
 * options, and closes it. What `work` returns is the exit code (none: 0).
 */
export function run<A extends unknown[]>(work: Work<A>): (...args: unknown[]) => Promise<void> {
  return async (...args) => {
    const command = args.at(-1) as Command;
    const options = command.opts<TargetFlags & { json?: boolean }>();
    const target = resolveTarget(options);
    const interrupt = new AbortController();
    // A second Ctrl-C ends the process at once: the listener is gone by then.
    const onSignal = () => interrupt.abort();
    process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
    const { signal } = interrupt;
    const api = new Api(target.urls, target.token, signal, target.environment);
    const admin = new Api(target.urls, target.adminToken, signal);
    const out = new Output(options.json ?? false);
    try {
      const session: Session = { target, api, admin, out, signal, domain: () => domainOf(target) };
      process.exitCode = (await work(session, ...(args.slice(0, -1) as A))) ?? EXIT.ok;
    } catch (error) {
      throw signal.aborted ? new Failure('interrupted', { exit: EXIT.interrupted, cause: error }) : error;
    } finally {
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
      await Promise.all([api.close(), admin.close()]);
    }
  };
}

/** Runs the work for each item and reports each failure, going on with the next. Returns the worst exit code. */
export async function forEach<T>(
  session: Session,
  items: Iterable<T>,
  what: (item: T) => string,
  work: (item: T) => Promise<void>,
): Promise<number> {
  let exit: number = EXIT.ok;
  for (const item of items) {
    try {
      await work(item);
    } catch (error) {
      exit = Math.max(exit, report(session, error, what(item)));
    }
  }
  return exit;
}

/**
 * Prints the line of one failure of several, and returns its exit code.
 * @throws the failure if the next item would fare no better: nobody answers, the token is refused, Ctrl-C
 */
export function report(session: Session, error: unknown, what: string): number {
  const failure = failureOf(error, what);
  const onlyThis = isProblem(error, 'invalid-key', 'invalid-request', 'not-permitted');
  if (session.signal.aborted || (failure.exit >= EXIT.couldNotLook && !onlyThis)) throw failure;
  session.out.note(failure.line);
  return failure.exit;
}

/**
 * Asks before something that cannot be taken back. `yes` (from --yes) answers for scripts.
 * @throws Failure (exit 2) if the answer is no, or nobody can be asked
 */
export async function confirm(question: string, yes: boolean | undefined): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new Failure(`${question} Nobody can be asked here`, { todo: 'add --yes', exit: EXIT.couldNotLook });
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} Type 'yes' to go on: `);
    if (answer.trim().toLowerCase() === 'yes') return;
  } finally {
    terminal.close();
  }
  throw new Failure('not confirmed, nothing was changed', { exit: EXIT.couldNotLook });
}

/**
 * Runs the program. Whatever goes wrong is one line on stderr and an exit code; see EXIT.
 * @param argv the arguments after the command's name
 */
export async function runProgram(program: Command, argv: string[]): Promise<void> {
  // `cistern ls | head` ends when head does.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failed);
  });
  for (const command of withSubcommands(program)) {
    command.exitOverride().configureOutput({ outputError: () => {} });
  }
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    // Help and version end like this too.
    if (error instanceof CommanderError && error.exitCode === 0) return;
    if (error instanceof CommanderError && error.code === 'commander.help') {
      process.exitCode = EXIT.couldNotLook;
      return;
    }
    const failure = failureOf(error);
    process.stderr.write(`${failure.line}\n`);
    process.exitCode = failure.exit;
  }
}

function* withSubcommands(command: Command): Generator<Command> {
  yield command;
  for (const sub of command.commands) yield* withSubcommands(sub);
}
