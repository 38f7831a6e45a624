// Prints 'N passed, N failed' from the report of vitest's JSON reporter, and before it what was skipped and why. A file
// that could not be run counts as failed.
// Fails if anything failed, or if nothing ran.
import { readFileSync } from 'node:fs';

const report = readFileSync(process.argv[2], 'utf8');
const { numPassedTests = 0, numFailedTests = 0, testResults = [] } = report === '' ? {} : JSON.parse(report);
const broken = testResults.filter(
  ({ status, assertionResults }) =>
    status === 'failed' && !assertionResults.some((result) => result.status === 'failed'),
).length;
const failed = numFailedTests + broken;
const skipped = testResults
  .flatMap(({ assertionResults }) => assertionResults)
  .filter(({ status }) => status === 'skipped' || status === 'pending' || status === 'todo');
for (const { fullName, meta } of skipped) {
  console.log(`skipped: ${fullName}: ${meta?.skipped ?? 'no reason given'}`);
}
if (skipped.length > 0) console.log(`${skipped.length} skipped`);
console.log(`${numPassedTests} passed, ${failed} failed`);
process.exitCode = failed > 0 || numPassedTests === 0 ? 1 : 0;
