// What an operator says of a disk that was looked at: it is well again, or it is to be used though it was set back. Scope
// admin, of all domains.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import { acceptDevice } from '../cluster/sequences.ts';
import type { Tracker } from '../tracker.ts';
import { NodeUnreachable } from '../transfer/node-client.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const DevicePath = Type.Object(
  { id: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }) },
  { additionalProperties: false },
);
const tags = ['administration'];

export function deviceCareRoutes(server: Server, tracker: Tracker): void {
  const { state, db, nodes } = tracker;

  server.post(
    '/v1/devices/:id/check',
    {
      schema: {
        tags,
        summary: 'Have a disk that failed a write tried again; it takes writes if it is well',
        params: DevicePath,
        response: {
          204: Type.Null({ description: 'It is well' }),
          ...problems('not-found', 'device-unavailable'),
        },
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { id } = request.params;
      await state.refresh();
      const device = state.device(id);
      if (device === undefined) throw new Problem('not-found', `There is no device ${id}.`);
      try {
        await nodes.check(device);
      } catch (error) {
        if (error instanceof NodeUnreachable)
          throw new Problem('device-unavailable', `The ${error.message}.`);
        throw error;
      }
      return reply.code(204).send(null);
    },
  );

  server.post(
    '/v1/devices/:id/accept',
    {
      schema: {
        tags,
        summary: 'Use a disk though it was set back to an earlier state; what it lacks is repaired',
        params: DevicePath,
        response: { 204: Type.Null({ description: 'It is taken as it is' }), ...problems('not-found') },
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      await acceptDevice(db, request.params.id);
      return reply.code(204).send(null);
    },
  );
}
