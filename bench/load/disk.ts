// What the disk itself can do: the calls that a durable small file takes, in a thread for each worker, and no HTTP.
import { once } from 'node:events';
import { closeSync, fdatasyncSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker as Thread, threadId, workerData } from 'node:worker_threads';

interface Data {
  directory: string;
  bytes: Uint8Array;
}

/** Starts a thread that writes files in `directory`; the function that is returned has it write one. */
export async function diskWorker(directory: string, bytes: Buffer): Promise<(i: number) => Promise<void>> {
  const data: Data = { directory, bytes };
  const thread = new Thread(new URL(import.meta.url), { workerData: data });
  await once(thread, 'online');
  return async (i) => {
    const done = once(thread, 'message');
    thread.postMessage(i);
    await done;
  };
}

if (!isMainThread) {
  const { directory, bytes } = workerData as Data;
  const folder = openSync(directory, 'r');
  parentPort?.on('message', (i: number) => {
    const temporary = join(directory, `tmp.${threadId}`);
    const fd = openSync(temporary, 'wx');
    writeSync(fd, bytes);
    fdatasyncSync(fd);
    closeSync(fd);
    renameSync(temporary, join(directory, `${i}`));
    fsyncSync(folder);
    parentPort?.postMessage(null);
  });
}
