import { afterAll, beforeAll, expect, it } from 'vitest';
import { findCodeBase } from './code-base.ts';
import { Rig, SERVERS } from './rig.ts';

let rig: Rig;
beforeAll(async () => {
  const code = await findCodeBase();
  if (typeof code === 'string') throw new Error(code);
  rig = await Rig.build({ code });
});
afterAll(() => rig?.stop());

it.each(SERVERS)('%s answers', async (server) => {
  for (const head of rig.heads) {
    const answer = await fetch(`${head.url(server)}/user/login`);
    expect(answer.status).toBe(200);
  }
});
