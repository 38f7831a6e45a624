// The Drupal module itself, on real Drupal and a real cluster: how files are served, what it costs, what happens
// without trackers, what operators see.
import { afterAll, beforeAll } from 'vitest';
import { lacksWebServers } from '../support/web-head.ts';
import { contract } from './contract.ts';
import { contributed } from './contributed.ts';
import { extras } from './extras.ts';
import { onDrupal } from './on-drupal.ts';
import { operators } from './operators.ts';
import { outage } from './outage.ts';
import { privateFiles } from './private.ts';
import { Rig } from './rig.ts';
import { roundTrips } from './round-trips.ts';
import { serving } from './serving.ts';
import { subDirectory } from './sub-directory.ts';
import { troubles } from './troubles.ts';

await onDrupal(lacksWebServers(), (code) => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.build({ code, takeOver: true });
  });
  afterAll(() => rig?.stop());

  serving(() => rig);
  privateFiles(() => rig);
  roundTrips(() => rig);
  operators(() => rig);
  troubles(() => rig);
  contract(() => rig);
  extras(() => rig);
  subDirectory(() => rig);
  outage(() => rig);
  contributed(() => rig);
});
