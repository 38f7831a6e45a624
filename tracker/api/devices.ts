// Devices: list, change state and weight, forget. Scope admin, of all domains. Devices come into being when their
// storage node registers them.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import { ScrubReport } from '../../services/protocol.ts';
import { changeDevice, removeDevice } from '../cluster/machines.ts';
import type { ClusterState, DeviceState } from '../cluster/state.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
const State = Type.Union(
  [Type.Literal('alive'), Type.Literal('readonly'), Type.Literal('drain'), Type.Literal('dead')],
  { description: 'what the operator wants of it; dead is final: its replicas are given up and made again' },
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
    state: State,
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
  },
  strict,
);
const DevicePath = Type.Object({ id: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }) }, strict);
const tags = ['administration'];

export function deviceRoutes(server: Server, tracker: Tracker): void {
  const { state, db } = tracker;

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
      return { devices: shownDevices(state) };
    },
  );

  server.patch(
    '/v1/devices/:id',
    {
      schema: {
        tags,
        summary: "Change a device's state or weight",
        params: DevicePath,
        body: Type.Object({ state: Type.Optional(State), weight: Type.Optional(Weight) }, strict),
        response: { 200: Device, ...problems('invalid-request', 'not-found', 'state-conflict') },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { id } = request.params;
      await changeDevice(db, id, request.body);
      await state.refresh();
      if (request.body.state === 'dead') tracker.replication.wake();
      const device = state.device(id);
      if (device === undefined) throw new Problem('not-found', `Device ${id} was removed meanwhile.`);
      return shownDevice(device);
    },
  );

  server.delete(
    '/v1/devices/:id',
    {
      schema: {
        tags,
        summary: 'Forget a dead device, once no replica is on record on it',
        params: DevicePath,
        response: {
          204: Type.Null({ description: 'Forgotten' }),
          ...problems('not-found', 'state-conflict'),
        },
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      await removeDevice(db, request.params.id);
      await state.refresh();
      return reply.code(204).send(null);
    },
  );
}

/** All devices as the API shows them, by id. */
export function shownDevices(state: ClusterState) {
  return state.devices().map(shownDevice);
}

function shownDevice({ host, up, readable: _readable, writable: _writable, ...device }: DeviceState) {
  return { ...device, host: host.name, observed: up ? ('up' as const) : ('down' as const) };
}
