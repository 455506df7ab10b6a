/**
 * Which images this node has brought for runs, when a run used each last, and which are needed now: kept in a file, so
 * that an agent that starts again still knows what it may remove. An image that was on the machine before the first
 * pull is somebody else's, and never in here.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RankRef } from '../core/naming.ts';
import { containerName } from '../core/naming.ts';
import type { Docker, StoredImage } from './docker.ts';

export interface ImageLedger {
  /** To be called before a pull: from now on the rank needs the image. */
  expect(ref: RankRef, image: string): Promise<void>;
  /** To be called after the pull. */
  arrived(ref: RankRef, image: string, id: string): Promise<void>;
  /** The rank's container is gone, or will never be. */
  released(ref: RankRef): Promise<void>;
  /**
   * Removes the image that runs have not used for longest, of those that nobody needs and nobody else has named. No
   * pull begins meanwhile.
   * @param passedOver ids of images that could not be removed
   * @returns undefined when there is none
   */
  removeOldest(passedOver: ReadonlySet<string>): Promise<Removal | undefined>;
}

export interface Removal {
  readonly image: StoredImage;
  /** Epoch milliseconds. */
  readonly lastUsedAt: number;
  /** Why it is still there. */
  readonly error?: string;
}

interface Ledger {
  readonly images: Record<string, { readonly names: readonly string[]; readonly lastUsedAt: number }>;
  /** By container name. */
  readonly needs: Record<string, Need>;
}

interface Need {
  readonly name: string;
  readonly since: number;
  /** What was on the machine before the pull; absent when it is over. */
  readonly imagesBefore?: readonly string[];
}

/** A rank whose end nobody told, because its node was given up, needs nothing after this. */
const NEED_ENDS_MS = 24 * 3_600_000;

export function createImageLedger({
  docker,
  stateDirectory,
}: {
  readonly docker: Pick<Docker, 'image' | 'images' | 'imagesInUse' | 'removeImage'>;
  readonly stateDirectory: string;
}): ImageLedger {
  const file = join(stateDirectory, 'images.json');
  let ledger: Ledger | undefined;
  /** One change after the other. */
  let changes: Promise<unknown> = Promise.resolve();

  return {
    expect: (ref, image) =>
      change(async ({ images, needs }) => {
        const name = familiarName(image);
        const known = needs[containerName(ref)];
        // A pull that another agent began has brought what it has brought.
        const imagesBefore =
          known?.name === name && known.imagesBefore
            ? known.imagesBefore
            : (await docker.images()).map(({ id }) => id);
        needs[containerName(ref)] = { name, since: Date.now(), imagesBefore };
        return { images, needs };
      }),

    arrived: (ref, image, id) =>
      change(async ({ images, needs }) => {
        const name = familiarName(image);
        const known = withImage(images, id, { ...needs[containerName(ref)], name });
        needs[containerName(ref)] = { name, since: Date.now() };
        return { images: known, needs };
      }),

    released: (ref) =>
      change(async ({ images, needs }) => {
        const { [containerName(ref)]: ended, ...rest } = needs;
        if (ended === undefined) return { images, needs };
        // A pull that nobody has seen the end of may have brought it all the same.
        const brought = ended.imagesBefore && (await docker.image(ended.name).catch(() => undefined));
        const known = brought ? withImage(images, brought.id, ended) : images;
        const used = Object.entries(known).map(([id, image]) => [
          id,
          image.names.includes(ended.name) ? { ...image, lastUsedAt: Date.now() } : image,
        ]);
        return { images: Object.fromEntries(used) as Ledger['images'], needs: rest };
      }),

    async removeOldest(passedOver) {
      let removal: Removal | undefined;
      await change(async ({ images, needs }) => {
        const stored = await docker.images();
        const inUse = await docker.imagesInUse();
        const present = stored.filter(({ id }) => images[id]);
        const current = Object.entries(needs).filter(([, { since }]) => since > Date.now() - NEED_ENDS_MS);
        const needed = new Set(current.map(([, { name }]) => name));
        const [oldest] = present
          .filter(({ id, names }) => {
            const ours = images[id]?.names ?? [];
            const isOurs = names.every((name) => ours.includes(name));
            return isOurs && !inUse.has(id) && !passedOver.has(id) && !ours.some((name) => needed.has(name));
          })
          .sort((a, b) => lastUse(images, a) - lastUse(images, b));
        if (oldest)
          removal = { image: oldest, lastUsedAt: lastUse(images, oldest), ...(await remove(oldest)) };
        // Images that are gone are forgotten.
        return {
          images: Object.fromEntries(
            Object.entries(images).filter(([id]) => present.some((image) => image.id === id)),
          ),
          needs: Object.fromEntries(current),
        };
      });
      return removal;
    },
  };

  async function remove({ names, id }: StoredImage): Promise<Pick<Removal, 'error'>> {
    try {
      for (const name of names) await docker.removeImage(name);
      // Gone with its last name, unless it never had one.
      await docker.removeImage(id);
      return {};
    } catch (error) {
      return { error: String(error) };
    }
  }

  function change(step: (ledger: Ledger) => Promise<Ledger>): Promise<void> {
    const changed = changes.then(() => apply(step));
    changes = changed.catch(() => undefined);
    return changed;
  }

  async function apply(step: (ledger: Ledger) => Promise<Ledger>): Promise<void> {
    ledger ??= await readLedger(file);
    ledger = await step({ images: { ...ledger.images }, needs: { ...ledger.needs } });
    try {
      await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
      await writeFile(`${file}.new`, JSON.stringify(ledger), { mode: 0o600 });
      await rename(`${file}.new`, file);
    } catch (error) {
      // The disk may be full, which must keep nobody from making room.
      console.error(`Could not write down which images are needed: ${String(error)}`);
    }
  }
}

/** With one that a pull has brought; what was there before it is somebody else's. */
function withImage(
  images: Ledger['images'],
  id: string,
  { name, imagesBefore }: Pick<Need, 'name' | 'imagesBefore'>,
): Ledger['images'] {
  const known = images[id];
  if (!known && imagesBefore?.includes(id) !== false) return images;
  return {
    ...images,
    [id]: { names: [...new Set([...(known?.names ?? []), name])], lastUsedAt: Date.now() },
  };
}

function lastUse(images: Ledger['images'], { id }: StoredImage): number {
  return images[id]?.lastUsedAt ?? 0;
}

/** What can't be read is begun anew: images that are forgotten are kept for good. */
async function readLedger(file: string): Promise<Ledger> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Ledger;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      console.error(
        `${file} can't be read, so that the images in it will never be removed: ${String(error)}`,
      );
    }
    return { images: {}, needs: {} };
  }
}

/** As Docker lists it: `docker.io/library/bash` is `bash:latest`. One with a digest has no name in Docker's list. */
function familiarName(image: string): string {
  const short = image.replace(/^(?:index\.)?docker\.io\//, '').replace(/^library\//, '');
  return /[:@]/.test(short.slice(short.lastIndexOf('/') + 1)) ? short : `${short}:latest`;
}
