// Rebalancing: what it does now, and whether it may. Scope admin.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { balanceOf, fillOf, levelsOf } from '../replication/balance.ts';
import { enableRebalance, readRebalance } from '../replication/rebalance.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
const DateTime = Type.Union([Type.String({ format: 'date-time' }), Type.Null()]);
const Part = Type.Number({ minimum: 0, maximum: 1 });
export const Progress = Type.Object(
  {
    enabled: Type.Boolean(),
    started: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
      description: 'since when data is being moved; null: it need not be',
    }),
    finished: DateTime,
    movedBlobs: Type.Integer({ description: 'since it last began' }),
    movedBytes: Type.Integer(),
    why: Type.Union([Type.String(), Type.Null()], {
      description: 'why nothing moves though some device is outside of the band',
    }),
  },
  strict,
);
const Rebalance = Type.Object(
  {
    ...Progress.properties,
    band: Type.Number({ description: 'how far from the mean a device may be' }),
    mean: Type.Number({ ...Part, description: 'the part of all space that is used' }),
    devices: Type.Array(Type.Object({ id: Type.Integer(), host: Type.String(), fill: Part }, strict), {
      description: 'those that take part: alive, up, and with a weight',
    }),
  },
  strict,
);
const Order = Type.Object({ enabled: Type.Boolean() }, strict);

/** What rebalancing does, as answers show it. */
export async function shownProgress({ db }: Pick<Tracker, 'db'>) {
  const { started, finished, ...progress } = await readRebalance(db);
  return {
    ...progress,
    started: started?.toISOString() ?? null,
    finished: finished?.toISOString() ?? null,
  };
}

async function shown(tracker: Tracker) {
  const { state, config } = tracker;
  const levels = levelsOf(state.devices());
  const band = config.CISTERN_REBALANCE_BAND;
  return {
    ...(await shownProgress(tracker)),
    band,
    mean: balanceOf(levels, band).mean,
    devices: levels.map((level) => ({
      id: level.id,
      host: state.device(level.id)?.host.name ?? '',
      fill: fillOf(level),
    })),
  };
}

export function rebalanceRoutes(server: Server, tracker: Tracker): void {
  server.get(
    '/v1/rebalance',
    {
      schema: {
        tags: ['operation'],
        summary: 'How evenly devices are filled, and what is moved for that',
        response: { 200: Rebalance, ...problems() },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      await tracker.state.refresh();
      return shown(tracker);
    },
  );

  server.patch(
    '/v1/rebalance',
    {
      schema: {
        tags: ['operation'],
        summary: 'Let data be moved, or stop that',
        body: Order,
        response: { 200: Rebalance, ...problems('invalid-request') },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      await enableRebalance(tracker.db, request.body.enabled);
      return shown(tracker);
    },
  );
}
