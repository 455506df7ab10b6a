/**
 * The node's lease, as agent and guard share it: a small file that says when the control plane has last heard of the
 * node. Times are of a clock that all processes of the machine share, nobody sets, and a suspended machine does not stop.
 * It begins anew when the machine starts, so the file says of which start it is.
 */
import { constants, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { uptime } from 'node:os';
import path from 'node:path';
import type { NodePlace } from '../core/naming.ts';

/** More than any lease needs. */
const LEASE_FILE_BYTES = 2_048;

/** What the guard needs to know; written by the agent. */
export interface NodeLease {
  /** When the last heartbeat that was acknowledged left the node, by `uptimeMs`. */
  readonly renewedAt: number;
  /** Names the start of the machine. */
  readonly boot: string;
  readonly leaseMs: number;
  /** Whose containers the lease covers. */
  readonly place: NodePlace;
  readonly dockerHost?: string;
}

export const uptimeMs = (): number => Math.round(uptime() * 1_000);

const BOOT = bootId();

const leaseFile = (stateDirectory: string): string => path.join(stateDirectory, 'lease.json');

/** Whether containers of this node may have to be ended at some time. */
export const hasLease = (stateDirectory: string): boolean => existsSync(leaseFile(stateDirectory));

/** From now on nothing ends. */
export const dropLease = (stateDirectory: string): void => rmSync(leaseFile(stateDirectory), { force: true });

/** `undefined` before the first heartbeat that was acknowledged. */
export function readLease(stateDirectory: string): NodeLease | undefined {
  try {
    const lease = JSON.parse(readFileSync(leaseFile(stateDirectory), 'utf8')) as Partial<NodeLease>;
    // Earlier versions wrote another clock's time.
    return lease.boot === undefined ? undefined : (lease as NodeLease);
  } catch {
    return undefined;
  }
}

/**
 * A function that writes the lease into one and the same file, always as many bytes: that works on a full disk, too,
 * which must not look like a control plane that is away.
 */
export function leaseWriter(stateDirectory: string): (lease: Omit<NodeLease, 'boot'>) => void {
  mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
  const file = openSync(leaseFile(stateDirectory), constants.O_CREAT | constants.O_RDWR, 0o600);
  return (lease) =>
    void writeSync(file, JSON.stringify({ ...lease, boot: BOOT }).padEnd(LEASE_FILE_BYTES), 0);
}

/** Milliseconds since the control plane has last heard of the node; without end when that was before its last start. */
export function leaseAgeMs({ renewedAt, boot }: NodeLease): number {
  const ageMs = uptimeMs() - renewedAt;
  return boot === BOOT && ageMs >= 0 ? ageMs : Infinity;
}

/** When the containers of a node that is cut off are told to stop, and when they are killed: ages of its lease. */
export function fencingTimes(leaseMs: number): { readonly stopAtMs: number; readonly killAtMs: number } {
  return {
    stopAtMs: leaseMs - Math.min(30_000, leaseMs / 3),
    killAtMs: leaseMs - Math.min(5_000, leaseMs / 10),
  };
}

/** Empty on other systems than Linux. */
function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}
