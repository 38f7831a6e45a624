// Receipts of direct uploads: whether they prove what they say.
import { Problem } from '../../services/problems.ts';
import { CLOCK_TOLERANCE_MS, type Keyring, partIsGenuine, type Receipt } from '../../services/tickets.ts';
import type { ClusterState, DeviceState } from '../cluster/state.ts';

/** Older receipts are refused: their blobs may have been swept. */
export const RECEIPT_LIFE_MS = 3_600_000;

/**
 * The devices that the receipt proves to hold the blob. Each part must be signed by a present or the former run of the
 * device's own host, and be young enough.
 * @throws Problem receipt-refused
 */
export async function provenDevices(
  state: ClusterState,
  keyring: Keyring,
  receipt: Receipt,
): Promise<DeviceState[]> {
  const signed = () => receipt.parts.every((part) => isSigned(state, keyring, receipt, part));
  if (!signed()) {
    // A node that has just been started may be unknown to this tracker's snapshot.
    await state.refresh();
    if (!signed()) {
      throw new Problem('receipt-refused', 'The receipt is not signed by storage nodes of this cluster.');
    }
  }
  const devices = new Map<number, DeviceState>();
  for (const part of receipt.parts) {
    const age = state.now() - part.at;
    if (age > RECEIPT_LIFE_MS + CLOCK_TOLERANCE_MS || age < -CLOCK_TOLERANCE_MS) {
      throw new Problem('receipt-refused', 'The receipt is older than an hour. Upload the file again.');
    }
    const device = state.device(part.dev);
    // What a disk held before it was given up for dead is only known when it was looked at again.
    if (device !== undefined && part.at > (device.revivedMs ?? 0)) devices.set(part.dev, device);
  }
  return [...devices.values()];
}

function isSigned(
  state: ClusterState,
  keyring: Keyring,
  receipt: Receipt,
  part: Receipt['parts'][number],
): boolean {
  const host = state.device(part.dev)?.host;
  if (host === undefined || host.name !== part.host) return false;
  const known = part.session === host.session || part.session === host.previousSession;
  return known && partIsGenuine(keyring.nodeKeys(part.host, part.session), receipt, part);
}
