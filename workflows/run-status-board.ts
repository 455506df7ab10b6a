/** Makes a run's status visible: search attributes for lists and for `describe`, current details for the Web UI. */
import { setCurrentDetails, upsertMemo, upsertSearchAttributes } from '@temporalio/workflow';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import type { SearchAttributePair } from '@temporalio/common';
import type { Lease } from '../core/cluster.ts';
import { metadataKeywords } from '../core/metadata-keywords.ts';
import type { Priority } from '../core/priority.ts';
import { displayStatus } from '../core/run-status.ts';
import type { RunStatus } from '../core/run-status.ts';
import type { RunInput } from '../core/run.ts';
import type { ResourceRequest } from '../core/run-spec.ts';

const keyword = (name: string) => defineSearchAttributeKey(name, SearchAttributeType.KEYWORD);
const int = (name: string) => defineSearchAttributeKey(name, SearchAttributeType.INT);
const datetime = (name: string) => defineSearchAttributeKey(name, SearchAttributeType.DATETIME);
const metadata = defineSearchAttributeKey('Metadata', SearchAttributeType.KEYWORD_LIST);
const nodeNames = defineSearchAttributeKey('NodeNames', SearchAttributeType.KEYWORD_LIST);

/** SQL visibility refuses longer keywords. */
const MAX_KEYWORD_LENGTH = 255;

export function showConstructed(
  { user, spec }: Pick<RunInput, 'user' | 'spec'>,
  resources: ResourceRequest,
): SearchAttributePair[] {
  const keywords = metadataKeywords(spec.metadata);
  return [
    { key: keyword('RunUser'), value: user.slice(0, MAX_KEYWORD_LENGTH) },
    { key: keyword('Cluster'), value: resources.cluster },
    { key: keyword('Priority'), value: spec.scheduling.priority },
    { key: keyword('GpuType'), value: resources.gpuType ?? 'none' },
    { key: int('Gpus'), value: resources.gpus },
    { key: int('Nodes'), value: resources.nodes },
    // A namespace of an earlier version may lack the attribute: runs that do not need it must not fail there.
    ...(keywords.length > 0 ? [{ key: metadata, value: keywords }] : []),
  ];
}

export function showPriority(priority: Priority): void {
  upsertSearchAttributes([{ key: keyword('Priority'), value: priority }]);
}

export interface StatusChange {
  readonly run: string;
  readonly status: RunStatus;
  readonly resumption: number;
  /** One word; empty when there is nothing to explain. */
  readonly reason: string;
  /** One sentence. */
  readonly message: string;
  readonly lease?: Lease | undefined;
  readonly startedAt?: Date | undefined;
  readonly endedAt?: Date | undefined;
}

export function showStatus(change: StatusChange, extra: readonly SearchAttributePair[] = []): void {
  const nodes = change.lease?.ranks.map(({ node }) => node) ?? [];
  const pairs: SearchAttributePair[] = [
    ...extra,
    { key: keyword('RunStatus'), value: change.status },
    { key: keyword('RunReason'), value: change.reason },
    { key: int('Resumption'), value: change.resumption },
  ];
  if (change.lease) pairs.push({ key: nodeNames, value: [...new Set(nodes)] });
  if (change.startedAt) pairs.push({ key: datetime('RunStarted'), value: change.startedAt });
  if (change.endedAt) pairs.push({ key: datetime('RunEnded'), value: change.endedAt });
  upsertSearchAttributes(pairs);
  // The sentence behind the reason: `describe` reads it from the history, lists from the memo.
  if (change.reason) upsertMemo({ message: change.message });
  setCurrentDetails(
    [
      `### ${displayStatus(change.status)}${change.reason ? ` (${change.reason})` : ''}`,
      change.message,
      `Resumption ${change.resumption} on ${gpusOf(change.lease)}`,
      `Logs: \`mcli logs ${change.run}\` · Details: \`mcli describe run ${change.run}\` · Stop: \`mcli stop run ${change.run}\``,
    ].join('\n\n'),
  );
}

function gpusOf(lease: Lease | undefined): string {
  if (!lease) return 'no node yet';
  return lease.ranks
    .map(({ node, gpuIds }) =>
      gpuIds.length > 0 ? `${node} (GPUs ${gpuIds.join(', ')})` : `${node} (CPU slot)`,
    )
    .join(', ');
}
