// Hosts: list, change, forget. Scope admin, of all domains. Hosts come into being by registering themselves.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { NAME_PATTERN } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import { changeHost, removeHost, setZone } from '../cluster/machines.ts';
import type { ClusterState, HostState } from '../cluster/state.ts';
import { demandFullScan } from '../replication/scan.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { DeviceUse } from './devices.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
export const Host = Type.Object(
  {
    name: Type.String(),
    url: Type.String(),
    zone: Type.String(),
    state: Type.Union([Type.Literal('up'), Type.Literal('down')]),
    seen: Type.String({ format: 'date-time', description: "its last heartbeat, by the database's clock" }),
    clockOffset: Type.Integer({ description: "its clock minus the database's, in milliseconds" }),
    devices: Type.Array(Type.Integer()),
  },
  strict,
);
const HostPath = Type.Object({ host: Type.String() }, strict);
const tags = ['administration'];

export function hostRoutes(server: Server, tracker: Tracker): void {
  const { state, db, config, replication } = tracker;

  server.get(
    '/v1/hosts',
    {
      schema: {
        tags,
        summary: 'List hosts',
        response: { 200: Type.Object({ hosts: Type.Array(Host) }, strict), ...problems() },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      await state.refresh();
      return { hosts: shownHosts(state) };
    },
  );

  server.patch(
    '/v1/hosts/:host',
    {
      schema: {
        tags,
        summary: 'Change a host',
        description: 'A state is given to all of its devices that are not dead, or to none.',
        params: HostPath,
        body: Type.Object(
          { zone: Type.Optional(Type.String({ pattern: NAME_PATTERN })), state: Type.Optional(DeviceUse) },
          strict,
        ),
        response: { 200: Host, ...problems('invalid-request', 'not-found', 'state-conflict') },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { host } = request.params;
      const { zone, state: use } = request.body;
      await state.refresh();
      if (state.host(host) === undefined) throw new Problem('not-found', `There is no host '${host}'.`);
      if (use !== undefined) await changeHost(db, host, use, config.CISTERN_DRAIN_GRACE_SECONDS);
      if (zone !== undefined) {
        await setZone(db, host, zone);
        // Files whose copies are spread over zones may be badly spread now, or well at last.
        await demandFullScan(db);
      }
      await state.refresh();
      replication.wake();
      return shownHost(state, state.host(host) as HostState);
    },
  );

  server.delete(
    '/v1/hosts/:host',
    {
      schema: {
        tags,
        summary: 'Forget a host that has no devices left',
        params: HostPath,
        response: {
          204: Type.Null({ description: 'Forgotten. A storage node that still runs registers again' }),
          ...problems('not-found', 'state-conflict'),
        },
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      await removeHost(db, request.params.host);
      await state.refresh();
      return reply.code(204).send(null);
    },
  );
}

/** All hosts as the API shows them, by name. */
export function shownHosts(state: ClusterState) {
  return state.hosts().map((host) => shownHost(state, host));
}

function shownHost(state: ClusterState, host: HostState) {
  const { name, url, zone, up, seen, clockOffsetMs } = host;
  return {
    name,
    url,
    zone,
    state: up ? ('up' as const) : ('down' as const),
    seen: seen.toISOString(),
    clockOffset: clockOffsetMs,
    devices: state.devices().flatMap((device) => (device.host.id === host.id ? [device.id] : [])),
  };
}
