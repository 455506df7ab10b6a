/** Stands where a run would: remembers what its cluster tells it. */
import { condition, defineQuery, setHandler } from '@temporalio/workflow';
import { leaseGrantedSignal, leaseRevokedSignal } from '../../workflows/messages.ts';
import type { GrantedLease, Revocation } from '../../workflows/messages.ts';

export interface Heard {
  readonly grants: readonly GrantedLease[];
  readonly revocations: readonly Revocation[];
}

export const heardQuery = defineQuery<Heard>('heard');

export async function probe(): Promise<void> {
  const grants: GrantedLease[] = [];
  const revocations: Revocation[] = [];
  setHandler(leaseGrantedSignal, (grant) => void grants.push(grant));
  setHandler(leaseRevokedSignal, (revocation) => void revocations.push(revocation));
  setHandler(heardQuery, () => ({ grants, revocations }));
  await condition(() => false);
}
