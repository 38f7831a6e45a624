// How a command fails: one line on stderr, `cistern: what: why; what to do`, and an exit code that a script can trust.
import { CommanderError } from 'commander';
import { Problem, type ProblemName } from '../../services/problems.ts';
import { escapeControls } from './format.ts';

/** Exit codes, the same for every command. 130 is what shells expect of a command that Ctrl-C ended. */
export const EXIT = { ok: 0, failed: 1, couldNotLook: 2, interrupted: 130 } as const;

/** The exit codes, for help texts. */
export const EXIT_HELP = `
Exit codes:
  0  done, and as it should be
  1  it failed, was not found, or is not healthy
  2  could not look: wrong use, no permission, or no tracker could be reached`;

/** A command's failure in an operator's words. `what` failed, `why`, and what `todo` about it. */
export class Failure extends Error {
  override name = 'Failure';
  readonly exit: number;
  readonly what: string | undefined;
  readonly todo: string | undefined;

  constructor(why: string, more: { what?: string; todo?: string; exit?: number; cause?: unknown } = {}) {
    super(why, { cause: more.cause });
    this.what = more.what;
    this.todo = more.todo;
    this.exit = more.exit ?? EXIT.failed;
  }

  /** The same failure with another exit code. */
  withExit(exit: number): Failure {
    return new Failure(this.message, {
      ...(this.what !== undefined && { what: this.what }),
      ...(this.todo !== undefined && { todo: this.todo }),
      exit,
      cause: this.cause,
    });
  }

  /** The line for stderr, without its line end. */
  get line(): string {
    const what = this.what === undefined ? '' : `${this.what}: `;
    const todo = this.todo === undefined ? '' : `; ${this.todo}`;
    return `cistern: ${escapeControls(`${what}${sentence(this.message)}${todo}`)}`;
  }
}

/** Wrong use of the command: exit code 2. */
export function usage(why: string, todo?: string): Failure {
  return new Failure(why, { exit: EXIT.couldNotLook, ...(todo === undefined ? {} : { todo }) });
}

/** Turns whatever was thrown into a Failure; `what` says what could not be done, unless the error knows better. */
export function failureOf(error: unknown, what?: string): Failure {
  const named = what === undefined ? {} : { what };
  if (error instanceof Failure) {
    if (error.what !== undefined || what === undefined) return error;
    const todo = error.todo === undefined ? {} : { todo: error.todo };
    return new Failure(error.message, { ...named, ...todo, exit: error.exit, cause: error.cause });
  }
  if (error instanceof Problem) {
    const todo = hints[error.problem];
    return new Failure(error.message, {
      ...named,
      ...(todo === undefined ? {} : { todo }),
      exit: exitOf(error),
      cause: error,
    });
  }
  if (error instanceof CommanderError) {
    return new Failure(error.message.replace(/^error: /, ''), {
      todo: `see 'cistern --help'`,
      exit: EXIT.couldNotLook,
    });
  }
  if (isAbort(error)) return new Failure('interrupted', { exit: EXIT.interrupted });
  const system = error as NodeJS.ErrnoException;
  const why = (system.code && systemErrors[system.code]) ?? system.message ?? String(error);
  return new Failure(system.path === undefined ? why : `'${system.path}': ${why}`, {
    ...named,
    cause: error,
  });
}

/** Runs `work`; if it fails, the failure says that `what` could not be done. */
export async function attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw failureOf(error, what);
  }
}

/** True if `error` is, or was caused by, this problem of the tracker's. */
export function isProblem(error: unknown, ...names: ProblemName[]): boolean {
  if (error instanceof Problem) return names.includes(error.problem);
  return error instanceof Failure && error.cause !== undefined && isProblem(error.cause, ...names);
}

function isAbort(error: unknown): boolean {
  const { name, code } = error as NodeJS.ErrnoException;
  return name === 'AbortError' || code === 'UND_ERR_ABORTED' || code === 'ABORT_ERR';
}

// Requests that the tracker could not look into. Every other problem is an answer about the files: exit code 1.
const couldNotLook: ReadonlySet<ProblemName> = new Set<ProblemName>([
  'invalid-request',
  'invalid-key',
  'invalid-json',
  'invalid-cursor',
  'not-authenticated',
  'not-permitted',
  'request-timeout',
  'unsupported-media-type',
  'internal',
  'database-unavailable',
  'shutting-down',
]);

function exitOf(problem: Problem): number {
  return couldNotLook.has(problem.problem) ? EXIT.couldNotLook : EXIT.failed;
}

// What to do about a problem, where the command knows it better than the tracker.
const hints: Partial<Record<ProblemName, string>> = {
  'not-authenticated': 'give a token that is valid: --token, CISTERN_TOKEN or a profile',
  'not-permitted': "use a token with the scope that this needs (see 'cistern token list')",
  'domain-not-found': "see 'cistern domain list', or name another with --domain",
  'class-not-found': "see 'cistern class list'",
  'file-not-found': "look with 'cistern ls'",
  'directory-not-found': "look with 'cistern ls'",
  'is-a-directory': "end the name with '/' to put something into it; add -r to read or remove all of it",
  'directory-not-empty': 'remove what is in it first, or all of it with -r',
  'no-good-replica': "see 'cistern status'",
  'too-few-devices': "see 'cistern status'",
  'insufficient-storage': "see 'cistern device list', and add devices or delete files",
  internal: "the trackers' logs tell more, under the request's id",
};

const systemErrors: Record<string, string> = {
  EACCES: 'permission denied',
  EDQUOT: 'your disk quota is used up',
  EISDIR: 'is a directory',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the name is too long for this file system',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on the disk',
  ENOTDIR: 'a part of the path is not a directory',
  EPERM: 'not permitted',
  EROFS: 'the file system is read-only',
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: 'it changed while it was being sent',
};

/** Details end with a full stop when they come from the tracker; in the middle of our line they must not. */
function sentence(text: string): string {
  return text.trim().replace(/\.$/, '');
}
