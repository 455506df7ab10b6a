/**
 * Names of container images: `[host[:port]/]path[:tag][@digest]`, as the distribution project writes the grammar down.
 */

/** What is wrong with an image name, as the end of a sentence about it; undefined for a good one. */
export function imageReferenceFault(image: string): string | undefined {
  if (REFERENCE.test(image)) return undefined;
  if (/\s/.test(image)) return 'it contains white space';
  if (/^[a-z]+:\/\//i.test(image)) return 'it is an address; leave out the part up to //';
  if (/[<>{}$]/.test(image)) return 'it has a place in it that was not filled in';
  const path = image.replace(/@.*$/, '').replace(/:[^/]*$/, '');
  if (/[A-Z]/.test(path.replace(HOST, ''))) return 'upper case is allowed in the tag only';
  if (image.endsWith(':')) return 'the tag after : is missing';
  if (image.includes('@')) return 'after @ comes a digest, like sha256: and 64 hexadecimal digits';
  return 'it must look like host:port/path/name:tag, where all but path or name may be left out';
}

const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const LABEL = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const DOMAIN = `(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
/** A first part is a host when it has a dot or a port, or is `localhost`; else it is part of a Docker Hub path. */
const HOST = new RegExp(`^(?=[^/]*[.:]|localhost/)${DOMAIN}/`);
const TAG = '[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}';
const DIGEST = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const REFERENCE = new RegExp(`^(?:${DOMAIN}/)?${COMPONENT}(?:/${COMPONENT})*(?::${TAG})?(?:@${DIGEST})?$`);
