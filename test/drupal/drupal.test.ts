// Real Drupal with its files in a real cluster, on two web heads, behind each web server.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { lacksWebServers } from '../support/web-head.ts';
import { lacksBrowser, startBrowser } from './browser.ts';
import { findCodeBase } from './code-base.ts';
import { editing } from './editing.ts';
import { SERVERS } from './head.ts';
import { Rig } from './rig.ts';
import { takeOver } from './take-over.ts';

const code = await findCodeBase();
const lack = lacksWebServers() ?? lacksBrowser();
let rig: Rig;
let browser: Browser;

beforeAll(async () => {
  if (typeof code === 'string' || lack !== undefined) return;
  browser = await startBrowser();
  rig = await Rig.build({ code, takeOver: true });
});
beforeEach((context) => {
  // Also in CI, where a mirror of Packagist may lack Drupal.
  if (typeof code === 'string') context.skip(code);
  needs(context, lack);
});
afterAll(async () => {
  await browser?.close();
  await rig?.stop();
});

it.each(SERVERS)('is up on both heads behind %s', async (server) => {
  for (const head of rig.heads) expect((await fetch(`${head.url(server)}/user/login`)).status).toBe(200);
});

for (const server of SERVERS) {
  editing(
    server,
    () => rig,
    () => browser,
  );
}
takeOver(() => rig);
