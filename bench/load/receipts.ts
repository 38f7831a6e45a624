// Receipts as storage nodes sign them, for bytes that no node holds: so that commits can be measured by themselves.
import { Keyring, type Receipt, signPart } from '../../services/tickets.ts';
import type { ReceiptMaker } from './jobs.ts';

/** A receipt for blob `fid` of made-up bytes, signed for each of the job's devices. */
export function makeReceipt(
  job: { domain: string; size: number; receipts: ReceiptMaker },
  key: string,
  fid: number,
): Receipt {
  const sha256 = fid.toString(16).padStart(64, '0');
  const bound = { fid, size: job.size, sha256, domain: job.domain, key, class: 'default' };
  const keyring = new Keyring(job.receipts.clusterKey);
  const parts = job.receipts.signers.map(({ host, session, device }) => {
    const [nodeKey] = keyring.nodeKeys(host, session);
    if (nodeKey === undefined) throw new Error('there is no cluster key');
    return signPart(nodeKey, { ...bound, dev: device, host, session, at: Date.now() });
  });
  return { ...bound, parts };
}
