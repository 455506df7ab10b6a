/** Folders in a container where secrets may be mounted. */

/**
 * Folders and files that the container needs for itself, or that mcli uses. Docker refuses to start a container, or the
 * container cannot start anything, when something else stands there, or around them, or in them.
 */
const RESERVED = [
  '/proc',
  '/sys',
  '/dev',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
  '/usr/bin',
  '/usr/sbin',
  '/usr/lib',
  '/usr/lib32',
  '/usr/lib64',
  '/usr/libx32',
  '/usr/local/bin',
  '/etc/hostname',
  '/etc/hosts',
  '/etc/mtab',
  '/etc/resolv.conf',
  '/.dockerenv',
  '/mnt/config',
  '/mnt/mcli-progress',
  '/mnt/mcli-secrets',
];

/** What every image has in them would vanish; a folder in them is all right. */
const SYSTEM_FOLDERS = [
  '/boot',
  '/home',
  '/media',
  '/opt',
  '/root',
  '/run',
  '/srv',
  '/tmp',
  '/usr/local/lib',
  '/usr/share',
  '/var',
  '/var/lib',
  '/var/run',
  '/var/tmp',
];

/** Linux takes no longer names. */
const MAX_PART_BYTES = 255;
/** Of the 4,096 that Linux takes, Docker needs some for its own folders. */
const MAX_PATH_BYTES = 1_024;

/** What is wrong with a folder in the container, as the end of a sentence about it; undefined for a good one. */
export function mountPathFault(path: string): string | undefined {
  if (!path.startsWith('/')) return 'it must begin with /';
  if (/[\p{Cc}:]/u.test(path) || !path.isWellFormed()) {
    return 'it has a character that a path of a container cannot have';
  }
  const parts = path.split('/');
  if (parts.some((part) => part === '..' || part === '.')) return 'it must not have . or .. in it';
  if (bytesOf(path) > MAX_PATH_BYTES) return `it is longer than ${MAX_PATH_BYTES} bytes`;
  if (parts.some((part) => bytesOf(part) > MAX_PART_BYTES)) {
    return `a part of it is longer than ${MAX_PART_BYTES} bytes`;
  }
  const plain = plainPath(path);
  if (plain === '/') return 'the whole container cannot be a secret';
  if (plain.startsWith('/.mcli-')) return 'names that begin with .mcli- are for mcli';
  const reserved = RESERVED.find((other) => foldersOverlap(plain, other));
  if (reserved !== undefined) return `${reserved} is the container's own`;
  return SYSTEM_FOLDERS.includes(plain) ? 'what the image has there would be hidden' : undefined;
}

/** Without doubled slashes, and without one at the end. */
export const plainPath = (path: string): string => `/${path.split('/').filter(Boolean).join('/')}`;

/** Of two folders of which one is in the other, only one could be mounted read-only. */
export function foldersOverlap(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
}

export const defaultMountPath = (name: string): string => `/secrets/${name}`;

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;
