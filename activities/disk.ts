/**
 * Keeps Docker's disk from filling up: above a mark, images that mcli brought for earlier runs go, least recently used
 * first, until there is some room again. Containers of runs that have ended are gone within seconds anyway
 * (`orphans.ts`).
 */
import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import type { DiskHealth } from '../core/node-health.ts';
import type { Docker } from './docker.ts';
import type { ImageLedger } from './image-ledger.ts';
import { repeatedly } from './repeatedly.ts';

export type DiskMeter = () => Promise<DiskHealth | undefined>;

/**
 * Measures the file system of Docker's data, where this process can see it. In a container of the same Docker, that is
 * the file system of the container itself.
 * @param options.dockerHost as in DOCKER_HOST
 */
export function createDiskMeter(options: {
  readonly docker: Pick<Docker, 'machine'>;
  readonly dockerHost: string | undefined;
  readonly highPercent: number;
}): DiskMeter {
  const { docker, dockerHost, highPercent } = options;
  const isLocal = dockerHost === undefined || dockerHost.startsWith('unix://');
  return async () => {
    if (!isLocal) return undefined;
    const { dataRoot } = await docker.machine();
    const place = [dataRoot, ...(existsSync('/.dockerenv') ? ['/'] : [])].find((path) => existsSync(path));
    if (place === undefined) return undefined;
    const { blocks, bfree, bavail, bsize } = await statfs(place);
    // As `df` counts: blocks that are reserved for root are neither used nor free.
    const used = blocks - bfree;
    return {
      usedPercent: (100 * used) / (used + bavail),
      freeBytes: bavail * bsize,
      totalBytes: blocks * bsize,
      highPercent,
    };
  };
}

export interface DiskKeeper {
  /** Looks at once and every 30 s, until `signal`. */
  watch(signal: AbortSignal): Promise<void>;
  /** One look, with all that follows from it. */
  look(): Promise<void>;
}

interface Dependencies {
  readonly ledger: Pick<ImageLedger, 'removeOldest'>;
  readonly measure: DiskMeter;
}

const LOOK_INTERVAL_MS = 30_000;
/** How far below the mark there is room again: not every run shall need a removal. */
const ROOM_PERCENT = 10;

export function createDiskKeeper({ ledger, measure }: Dependencies): DiskKeeper {
  let saidFull = false;
  return {
    look,
    watch: (signal) =>
      repeatedly(LOOK_INTERVAL_MS, signal, () =>
        look().catch((error: unknown) => console.error(`Could not look after the disk: ${String(error)}`)),
      ),
  };

  async function look(): Promise<void> {
    const disk = await measure();
    const isFull = disk !== undefined && disk.usedPercent >= disk.highPercent;
    const madeRoom = isFull && (await makeRoom(disk));
    if (isFull && !madeRoom && !saidFull) {
      console.error(
        `Docker's disk is ${percent(disk)} full (MCLI_NODE_DISK_HIGH_PERCENT is ${disk.highPercent}), and no image is ` +
          'left that mcli brought and no run needs: make room by hand, or raise the mark.',
      );
    }
    saidFull = isFull && !madeRoom;
  }

  /** @returns false when nothing is left to remove */
  async function makeRoom(before: DiskHealth): Promise<boolean> {
    const resisting = new Set<string>();
    for (let disk = before; disk.usedPercent >= before.highPercent - ROOM_PERCENT;) {
      const removal = await ledger.removeOldest(resisting);
      if (removal === undefined) return disk.usedPercent < disk.highPercent;
      const name = removal.image.names[0] ?? removal.image.id;
      if (removal.error !== undefined) {
        console.error(`Could not remove image ${name}: ${removal.error}`);
        resisting.add(removal.image.id);
        continue;
      }
      const megabytes = Math.round(removal.image.bytes / 1_000_000);
      console.error(
        `Removed image ${name} (${megabytes} MB with what it shares, last used by a run at ` +
          `${new Date(removal.lastUsedAt).toISOString()}): Docker's disk was ${percent(disk)} full, the mark is ` +
          `${disk.highPercent} %.`,
      );
      disk = (await measure()) ?? disk;
    }
    return true;
  }
}

function percent({ usedPercent }: DiskHealth): string {
  return `${Math.floor(usedPercent)} %`;
}
