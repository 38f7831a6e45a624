import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ConfigError } from './config.ts';
import { enableFailPoints, failPoint } from './fail-points.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cistern-fail-points-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('a service that is no test refuses them, and without the setting they do nothing', () => {
  writeFileSync(join(directory, 'here'), 'EIO');
  for (const NODE_ENV of ['production', undefined]) {
    expect(() => enableFailPoints({ CISTERN_FAIL_POINTS: directory, NODE_ENV })).toThrow(ConfigError);
  }
  enableFailPoints({ NODE_ENV: 'test' });
  failPoint('here');
  expect(readdirSync(directory)).toEqual(['here']);
});

test('an armed point strikes once, and says in whom', () => {
  enableFailPoints({ CISTERN_FAIL_POINTS: directory, NODE_ENV: 'test' });
  failPoint('elsewhere');
  expect(() => failPoint('here')).toThrow(expect.objectContaining({ code: 'EIO' }));
  failPoint('here');
  expect(readdirSync(directory)).toEqual([`here.${process.pid}`]);
});
