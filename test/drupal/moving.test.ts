// A live site moves from an old directory that its heads share into the store, and back, by the switch.
import { afterAll, beforeAll } from 'vitest';
import { lacksWebServers } from '../support/web-head.ts';
import { movingByDrush } from './moving-commands.ts';
import { movingUnderLoad, readingAnOrigin, verifying } from './moving-load.ts';
import { movingFromRsync } from './moving-rsync.ts';
import { onDrupal } from './on-drupal.ts';
import { Rig } from './rig.ts';
import { switching } from './switching.ts';

await onDrupal(lacksWebServers(), (code) => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.build({ code, takeOver: true, switched: true });
  });
  afterAll(() => rig?.stop());

  switching(() => rig);
  movingByDrush(() => rig);
  movingUnderLoad(() => rig);
  verifying(() => rig);
  readingAnOrigin(() => rig);
  movingFromRsync(() => rig);
});
