// What is under way when a process dies at a fail point, and what must be seen of it afterwards.
import { rmSync } from 'node:fs';
import type pg from 'pg';
import { replicaPath } from '../chaos/disks.ts';
import { Random } from '../chaos/random.ts';
import type { Cluster } from '../support/cluster.ts';
import { filesOf, sha256 } from '../support/files.ts';
import { waitFor } from '../support/wait.ts';

export interface Stage {
  cluster: Cluster;
  db: pg.Pool;
  /** Differs from row to row, so that no row meets the files of another. */
  key: string;
}

/** What a key may hold: digests of files, null for none. */
export type May = (string | null)[];

export interface Operation {
  /** Makes what the operation needs, and waits until nothing of that is under way any more. */
  prepare?: (stage: Stage) => Promise<void>;
  /** Sets it going. Answers, when that is decided, with what the key may hold: the old or the new, if nobody was told. */
  run: (stage: Stage) => Promise<May>;
  /** Lets the cluster be as it was. */
  undo?: (stage: Stage) => Promise<void>;
}

const random = new Random('crash');
const bytesOf = (size: number) => random.bytes(size);
const acknowledged = (answer: Response) => answer.status === 200 || answer.status === 201;

/** A tracker that stood still a moment ago may refuse for a moment: to it, all nodes are down. */
async function putFile({ cluster }: Stage, key: string, body: Uint8Array): Promise<void> {
  await waitFor(async () => acknowledged(await filesOf(() => cluster).put(key, body)), {
    what: `${key} to be stored`,
  });
}

/** A request whose answer may be lost. */
const sent = (answer: Promise<Response>) => answer.catch(() => undefined);

/** Replaces a file of 3 kB by one of `size` bytes. */
function replace(size: number, headers: Record<string, string> = {}): Operation {
  const old = bytesOf(3_000);
  return {
    prepare: (stage) => putFile(stage, stage.key, old),
    async run({ cluster, key }) {
      const body = bytesOf(size);
      const answer = await sent(filesOf(() => cluster).put(key, body, headers));
      return answer && acknowledged(answer) ? [sha256(body)] : [sha256(old), sha256(body)];
    },
  };
}

/** Creates a file in a directory that is not there yet. */
const create: Operation = {
  async run({ cluster, key }) {
    const body = bytesOf(5_000);
    const answer = await sent(filesOf(() => cluster).put(key, body));
    return answer && acknowledged(answer) ? [sha256(body)] : [null, sha256(body)];
  },
};

/** An upload whose bytes go from the client to a node, and from there to the next. */
function direct(size: number): Operation {
  return {
    async run(stage) {
      const { cluster, key } = stage;
      const body = bytesOf(size);
      const receipt = await receiptFor(stage, body);
      if (receipt === undefined) return [null];
      const path = `/v1/domains/demo/uploads/${receipt.fid}/commit`;
      const commit = () => sent(cluster.request('POST', path, { body: { receipt: receipt.receipt } }));
      // A client that lost the answer asks again, until it has one: a commit can be repeated. The node may have
      // been started again since; it then signs with another key, and its receipts are refused after a second start.
      const answer = await waitFor(commit, { what: `an answer to the commit of ${key}`, timeout: 60_000 });
      return acknowledged(answer) ? [sha256(body)] : [null];
    },
  };
}

async function receiptFor({ cluster, key }: Stage, body: Uint8Array) {
  const opened = await cluster.request('POST', '/v1/domains/demo/uploads', {
    body: { key, size: body.length },
  });
  const { fid, url } = (await opened.json()) as { fid: number; url: string };
  const stored = await sent(fetch(url, { method: 'PUT', body: body as NonNullable<RequestInit['body']> }));
  return stored?.status === 201 ? { fid, receipt: (await stored.json()) as object } : undefined;
}

/** An upload that nobody commits: the sweep burns it and removes what is on the disks. */
const abandon: Operation = {
  async run(stage) {
    await receiptFor(stage, bytesOf(2_000));
    return [null];
  },
};

/** A file that loses a replica behind its node's back; of a size that is a file of its own there. */
function lose(size: number): Operation {
  const body = bytesOf(size);
  return {
    prepare: (stage) => putFile(stage, stage.key, body),
    async run({ cluster, db, key }) {
      const { rows } = await db.query<{ fid: number; device: number }>(
        `SELECT l.fid::float8 AS fid, l.device_id AS device FROM names n JOIN locations l ON l.fid = n.fid
          WHERE n.name = $1 AND l.state = 'good' ORDER BY l.device_id LIMIT 1`,
        [key],
      );
      const [{ fid, device }] = rows as [{ fid: number; device: number }];
      rmSync(replicaPath(cluster, fid, device));
      // The sweep leaves what is young alone.
      await db.query(`UPDATE locations SET at = at - interval '1 hour' WHERE fid = $1`, [fid]);
      return [sha256(body)];
    },
  };
}

/** Deletes a file for which there is no trash. */
const remove: Operation = {
  prepare: (stage) => putFile(stage, stage.key, bytesOf(2_000)),
  async run({ cluster, key }) {
    const answer = await filesOf(() => cluster).remove(key);
    if (answer.status !== 204) throw new Error(`the delete of ${key} was answered ${answer.status}`);
    return [null];
  },
};

/** The device of a file's first replica. */
async function firstDevice({ db, key }: Stage): Promise<number> {
  const { rows } = await db.query<{ device: number }>(
    `SELECT min(l.device_id) AS device FROM names n JOIN locations l ON l.fid = n.fid
      WHERE n.name = $1 AND l.state = 'good'`,
    [key],
  );
  return (rows[0] as { device: number }).device;
}

/** An operator gives a device a state, as soon as a tracker takes the order. */
async function setState({ cluster }: Stage, device: number, state: string): Promise<void> {
  const order = { token: cluster.adminToken, body: { state } };
  const taken = async () => (await cluster.request('PATCH', `/v1/devices/${device}`, order)).ok;
  await waitFor(taken, { what: `device ${device} to be ${state}` });
}

/** A device with a file is drained: its replicas are copied elsewhere, and then they are too many. */
const drain: Operation = {
  prepare: (stage) => putFile(stage, stage.key, Buffer.from('moves on')),
  async run(stage) {
    await setState(stage, await firstDevice(stage), 'drain');
    return [sha256('moves on')];
  },
  async undo(stage) {
    const { rows } = await stage.db.query<{ id: number; held: boolean }>(
      `SELECT id, EXISTS (SELECT FROM locations WHERE device_id = devices.id) AS held FROM devices WHERE state = 'drain'`,
    );
    for (const { id, held } of rows) {
      if (held) throw new Error(`device ${id} was drained and is not empty`);
      await setState(stage, id, 'alive');
    }
  },
};

/** The device of a file's first replica is declared dead. */
const bury: Operation = {
  prepare: (stage) => putFile(stage, stage.key, Buffer.from('outlives a device')),
  async run(stage) {
    const device = await firstDevice(stage);
    const { nodes } = stage.cluster;
    await nodes.find(({ devices }) => devices.some(({ id }) => id === device))?.kill();
    await setState(stage, device, 'dead');
    return [sha256('outlives a device')];
  },
};

export const operations = {
  'replacing a file': replace(5_000),
  'replacing a file by a large one': replace(700_000),
  'replacing a file by a request that can be repeated': replace(4_000, { 'idempotency-key': 'crash' }),
  'creating a file in a new directory': create,
  'a direct upload': direct(6_000),
  'a large direct upload': direct(600_000),
  'an upload that nobody commits': abandon,
  'copying what lost a replica': lose(300_000),
  'copying a large file that lost a replica': lose(900_000),
  'removing a deleted file': remove,
  'draining a device': drain,
  'a device that is declared dead': bury,
};
