// Prints 'N passed, N failed' from the reports of vitest's JSON reporter, one file for each run. A test file that could
// not be run counts as failed. Fails if anything failed, or if a run ran nothing.
import { readFileSync } from 'node:fs';

let [passed, failed, empty] = [0, 0, 0];
for (const path of process.argv.slice(2)) {
  const report = readFileSync(path, 'utf8');
  const {
    numPassedTests = 0,
    numFailedTests = 0,
    testResults = [],
  } = report === '' ? {} : JSON.parse(report);
  const broken = testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((result) => result.status === 'failed'),
  ).length;
  passed += numPassedTests;
  failed += numFailedTests + broken;
  if (numPassedTests === 0) empty++;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || empty > 0 ? 1 : 0;
