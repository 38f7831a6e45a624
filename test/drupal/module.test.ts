// The Drupal module itself, on real Drupal and a real cluster: how files are served, what it costs, what happens
// without trackers, what operators see.
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { needs } from '../support/needs.ts';
import { lacksWebServers } from '../support/web-head.ts';
import { findCodeBase } from './code-base.ts';
import { operators } from './operators.ts';
import { outage } from './outage.ts';
import { Rig } from './rig.ts';
import { roundTrips } from './round-trips.ts';
import { serving } from './serving.ts';

const code = await findCodeBase();
const lack = lacksWebServers();
let rig: Rig;

beforeAll(async () => {
  if (typeof code !== 'string' && lack === undefined) rig = await Rig.build({ code, takeOver: true });
});
beforeEach((context) => {
  if (typeof code === 'string') context.skip(code);
  needs(context, lack);
});
afterAll(() => rig?.stop());

serving(() => rig);
roundTrips(() => rig);
operators(() => rig);
outage(() => rig);
