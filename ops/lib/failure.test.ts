import { expect, test } from 'vitest';
import { allProblems, Problem, type ProblemName } from '../../services/problems.ts';
import { attempt, Failure, failureOf, isProblem } from './failure.ts';

test('a failure is one line: what, why, what to do; whatever the names in it', () => {
  const failure = new Failure('No such file.', { what: "cannot read 'a\nb\u001b[2J'", todo: 'look again' });
  expect(failure.line).toBe("cistern: cannot read 'a\\nb\\e[2J': No such file; look again");
});

test('what the tracker refuses keeps its words, and gets an exit code that tells an answer from no answer', async () => {
  const exits = Object.fromEntries(
    allProblems().map(({ name }) => [name, failureOf(new Problem(name)).exit]),
  ) as Record<ProblemName, number>;
  for (const name of [
    'file-not-found',
    'precondition-failed',
    'too-few-devices',
    'digest-mismatch',
  ] as const) {
    expect(exits[name], name).toBe(1);
  }
  for (const name of ['not-authenticated', 'not-permitted', 'invalid-key', 'database-unavailable'] as const) {
    expect(exits[name], name).toBe(2);
  }
  const failed = await attempt("cannot read 'x'", async () => {
    throw new Problem('file-not-found', "There is no file 'x' in 'demo'.");
  }).catch((error: Failure) => error);
  expect(failed.line).toBe(
    "cistern: cannot read 'x': There is no file 'x' in 'demo'; look with 'cistern ls'",
  );
  expect(isProblem(failed, 'file-not-found')).toBe(true);
});

test('errors of the system are said in words', () => {
  const error = Object.assign(new Error('EACCES: permission denied, open'), { code: 'EACCES', path: '/x' });
  expect(failureOf(error, 'cannot read').line).toBe("cistern: cannot read: '/x': permission denied");
});
