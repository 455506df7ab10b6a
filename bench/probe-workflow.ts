/** Stands where a run would, and takes no time: gives its capacity back as soon as it has it. */
import {
  condition,
  getExternalWorkflowHandle,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import { clusterWorkflowId } from '../core/naming.ts';
import { leaseGrantedSignal, releaseCapacitySignal } from '../workflows/messages.ts';

export async function probe(cluster: string): Promise<void> {
  let granted = false;
  setHandler(leaseGrantedSignal, () => void (granted = true));
  await condition(() => granted);
  const release = { run: workflowInfo().workflowId, resumption: 0, ranToEnd: true };
  await getExternalWorkflowHandle(clusterWorkflowId(cluster)).signal(releaseCapacitySignal, release);
}

/** What the server does at best: an empty workflow with one activity. */
export async function oneActivity(): Promise<void> {
  await proxyActivities<{ nothing(): Promise<void> }>({ startToCloseTimeout: '1m' }).nothing();
}
