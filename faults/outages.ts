/** When nothing was heard of a node, and when its Docker was hurt. */
import type { ContainerLife, Evidence, Fault, Silence } from './evidence.ts';
import { faultFacts } from './fault-kinds.ts';

/** The server hears of a node every second; after so long without, it may count as lost. */
export const SILENT_MS = 5_000;
/** What a killed daemon had under way, it had a moment before; what it finds when it is back, it finds a moment after. */
const MOMENT_MS = 1_000;

/**
 * @param beats when the server has heard of the node, in epoch milliseconds
 * @param until when the watching ended
 */
export function silencesOf(node: string, beats: readonly number[], until: number): Silence[] {
  const heard = [...beats.toSorted((a, b) => a - b), until];
  return heard.flatMap((to, index) => {
    const from = heard[index - 1];
    return from !== undefined && to - from > SILENT_MS ? [{ node, from, to }] : [];
  });
}

/** Whether a container's node could not be reached at a time of its life, or when it ended. */
export function wasOutOfReach(
  { silences }: Pick<Evidence, 'silences'>,
  { node, startedAt, aliveUntil }: ContainerLife,
): boolean {
  return silences.some(
    (silence) => silence.node === node && silence.from <= aliveUntil + SILENT_MS && silence.to >= startedAt,
  );
}

/** Faults that hurt the Docker of a node at a time between these. */
export function dockerFaults(
  { faults }: Pick<Evidence, 'faults'>,
  node: string,
  { from, to }: { readonly from: number; readonly to: number },
): Fault[] {
  return faults.filter((fault) => {
    const { hurtsDocker } = faultFacts(fault.kind);
    const isHere = hurtsDocker === 'all nodes' || (hurtsDocker === 'its node' && fault.target === node);
    return isHere && fault.at - MOMENT_MS <= to && dockerEnd(fault) + MOMENT_MS >= from;
  });
}

/** When all Dockers that a fault had hit did their work again. */
export const dockerEnd = ({ wellAt, dockerWellAt = wellAt ?? Infinity }: Fault): number => dockerWellAt;
