/** Which registry an image comes from, and which secret is for it. */
import type { Secret } from './secret.ts';

/** What to show a registry. */
export interface RegistryCredentials {
  /** Name of the secret that this is from. */
  readonly secret: string;
  /** The registry that the secret is for; Docker wants it as in `docker login`. */
  readonly server: string;
  readonly username: string;
  readonly password: string;
}

/** The credentials for the registry of an image; undefined when the user has none for it. */
export function registryCredentials(
  image: string,
  secrets: readonly Secret[],
): RegistryCredentials | undefined {
  const registry = registryOfImage(image);
  for (const { name, content } of secrets.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (content.type !== 'docker_registry' || registryHost(content.server) !== registry) continue;
    const { username, password } = content;
    return { secret: name, server: registry, username, password };
  }
  return undefined;
}

const DOCKER_HUB = 'docker.io';
const DOCKER_HUB_NAMES = ['docker.io', 'index.docker.io', 'registry-1.docker.io', 'hub.docker.com'];

/**
 * `docker.io` for `bash` and `user/image`; a first part is a host when it has a dot or a port, or is `localhost`. One with
 * upper case is a host to newer Dockers: the password for Docker Hub must not go there.
 */
export function registryOfImage(image: string): string {
  const [first = '', ...rest] = image.split('/');
  const isHost = rest.length > 0 && (/[.:A-Z]/.test(first) || first === 'localhost');
  return isHost ? registryHost(first) : DOCKER_HUB;
}

/** The host, with its port if it has one, of what people write: `https://index.docker.io/v1/` → `docker.io`. */
export function registryHost(server: string): string {
  const host = server
    .trim()
    .toLowerCase()
    .replace(/^[a-z]+:\/\//, '')
    .replace(/\/.*$/, '');
  return DOCKER_HUB_NAMES.includes(host) ? DOCKER_HUB : host;
}
