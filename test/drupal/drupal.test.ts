// Real Drupal with its files in a real cluster, on two web heads, behind each web server.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { lacksWebServers } from '../support/web-head.ts';
import { lacksBrowser, startBrowser } from './browser.ts';
import { editing } from './editing.ts';
import { SERVERS } from './head.ts';
import { onDrupal } from './on-drupal.ts';
import { Rig } from './rig.ts';
import { takeOver } from './take-over.ts';

await onDrupal(lacksWebServers() ?? lacksBrowser(), (code) => {
  let rig: Rig;
  let browser: Browser;

  beforeAll(async () => {
    browser = await startBrowser();
    rig = await Rig.build({ code, takeOver: true });
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
});
