// Prints 'N passed, N failed' from the reports of vitest's JSON reporter, a file for each run, and before it what was
// skipped and why. A test file that could not be run counts as failed. Fails if anything failed, or if a run ran nothing.
import { readFileSync } from 'node:fs';

let [passed, failed, skipped, empty] = [0, 0, 0, 0];
for (const path of process.argv.slice(2)) {
  const text = readFileSync(path, 'utf8');
  const report = text === '' ? {} : JSON.parse(text);
  const { numPassedTests = 0, numFailedTests = 0, testResults = [] } = report;
  passed += numPassedTests;
  failed += numFailedTests;
  if (numPassedTests === 0) empty++;
  for (const { status, assertionResults } of testResults) {
    if (status === 'failed' && !assertionResults.some((result) => result.status === 'failed')) failed++;
    for (const { status: how, fullName, meta } of assertionResults) {
      if (!['skipped', 'pending', 'todo'].includes(how)) continue;
      skipped++;
      console.log(`skipped: ${fullName}: ${meta?.skipped ?? 'no reason given'}`);
    }
  }
}
if (skipped > 0) console.log(`${skipped} skipped`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || empty > 0 ? 1 : 0;
