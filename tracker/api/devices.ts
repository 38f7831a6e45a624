// Devices: list, change state and weight, revive, forget. Scope admin, of all domains. Devices come into being when their
// storage node registers them.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import { ScrubReport } from '../../services/protocol.ts';
import { changeDevice, removeDevice, reviveDevice } from '../cluster/machines.ts';
import type { DeviceState } from '../cluster/state.ts';
import { type Drain, drainsOf } from '../replication/drain.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
export const DeviceUse = Type.Union(
  [Type.Literal('alive'), Type.Literal('readonly'), Type.Literal('drain'), Type.Literal('dead')],
  { description: 'what the operator wants of it; dead: its replicas are given up and made again' },
);
const Weight = Type.Integer({
  minimum: 0,
  maximum: 1000,
  description: 'its share of new replicas, relative to others of its size; 0: none',
});
export const Device = Type.Object(
  {
    id: Type.Integer(),
    host: Type.String(),
    uuid: Type.String(),
    state: DeviceUse,
    observed: Type.Union([Type.Literal('up'), Type.Literal('down')]),
    condition: Type.Union([Type.Literal('ok'), Type.Literal('readonly'), Type.Literal('out')], {
      description: 'what its storage node says of it',
    }),
    why: Type.Optional(Type.String({ description: 'why the condition is not ok' })),
    weight: Weight,
    total: Type.Integer({ description: 'bytes' }),
    free: Type.Integer({ description: 'bytes that uploads may still fill' }),
    blobs: Type.Integer(),
    errors: Type.Integer({ description: 'read and write errors since its storage node started' }),
    highestFid: Type.Integer(),
    quarantined: Type.Integer({ description: 'bad replicas that are kept aside on its disk' }),
    scrub: Type.Optional(ScrubReport),
    reviving: Type.Boolean({
      description: 'it was dead, and its inventory is compared before it is alive again',
    }),
    missed: Type.Boolean({ description: 'down for so long that copies of what it holds are made elsewhere' }),
    drain: Type.Optional(
      Type.Object(
        {
          empty: Type.Boolean({ description: 'no file needs it any more, and nothing can come' }),
          replicas: Type.Optional(Type.Integer({ description: 'left on it, as of the last walk' })),
          bytes: Type.Optional(Type.Integer()),
          acceptsUntil: Type.Optional(
            Type.String({
              format: 'date-time',
              description: 'uploads that began before may arrive until then',
            }),
          ),
          rate: Type.Optional(Type.Integer({ description: 'bytes a second since the drain began' })),
          secondsLeft: Type.Optional(Type.Integer({ description: 'by that rate' })),
        },
        { ...strict, description: 'how far it is, while its state is drain' },
      ),
    ),
  },
  strict,
);
const DevicePath = Type.Object({ id: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }) }, strict);
const tags = ['administration'];

export function deviceRoutes(server: Server, tracker: Tracker): void {
  const { state, db, config, replication } = tracker;

  server.get(
    '/v1/devices',
    {
      schema: {
        tags,
        summary: 'List devices',
        response: { 200: Type.Object({ devices: Type.Array(Device) }, strict), ...problems() },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      await state.refresh();
      return { devices: await shownDevices(tracker) };
    },
  );

  server.patch(
    '/v1/devices/:id',
    {
      schema: {
        tags,
        summary: "Change a device's state or weight",
        params: DevicePath,
        body: Type.Object({ state: Type.Optional(DeviceUse), weight: Type.Optional(Weight) }, strict),
        response: { 200: Device, ...problems('invalid-request', 'not-found', 'state-conflict') },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { id } = request.params;
      await changeDevice(db, id, request.body, config.CISTERN_DRAIN_GRACE_SECONDS);
      await state.refresh();
      if (request.body.state !== undefined) replication.wake();
      return shownNow(tracker, id);
    },
  );

  server.post(
    '/v1/devices/:id/revive',
    {
      schema: {
        tags,
        summary:
          'Take a dead device back: what its disk holds is compared and verified before it is alive again',
        params: DevicePath,
        response: { 202: Device, ...problems('not-found', 'state-conflict') },
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { id } = request.params;
      await state.refresh();
      if (state.device(id)?.up === false) {
        throw new Problem(
          'state-conflict',
          `Device ${id} is down. Start its storage node with its disk first.`,
        );
      }
      await reviveDevice(db, id);
      await state.refresh();
      replication.wake();
      return reply.code(202).send(await shownNow(tracker, id));
    },
  );

  server.delete(
    '/v1/devices/:id',
    {
      schema: {
        tags,
        summary:
          'Forget a dead device, or one that was drained and is empty, once no replica is on record on it and its disk is not in use',
        params: DevicePath,
        response: {
          204: Type.Null({ description: 'Forgotten' }),
          ...problems('not-found', 'state-conflict'),
        },
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { id } = request.params;
      const isEmpty = async () => (await drainsOf(db)).get(id)?.empty ?? false;
      await removeDevice(db, id, isEmpty, config.CISTERN_DOWN_SECONDS);
      await state.refresh();
      return reply.code(204).send(null);
    },
  );
}

/** All devices as the API shows them, by id. */
export async function shownDevices({ state, db, replication }: Tracker) {
  const drains = state.devices().some((device) => device.state === 'drain') ? await drainsOf(db) : new Map();
  return state.devices().map((device) => shown(device, replication.missed, drains.get(device.id)));
}

async function shownNow(tracker: Tracker, id: number) {
  const device = (await shownDevices(tracker)).find((one) => one.id === id);
  if (device === undefined) throw new Problem('not-found', `Device ${id} was removed meanwhile.`);
  return device;
}

function shown(device: DeviceState, missed: ReadonlySet<number>, drain: Drain | undefined) {
  const { host, up, readable: _readable, writable: _writable, revivedMs: _revived, ...rest } = device;
  const { left, ...progress } = drain ?? { left: null };
  return {
    ...rest,
    host: host.name,
    observed: up ? ('up' as const) : ('down' as const),
    missed: missed.has(device.id),
    ...(drain === undefined ? {} : { drain: { empty: drain.empty, ...progress, ...left } }),
  };
}
