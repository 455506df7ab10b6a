/**
 * What is wrong with a secret. Asked before it is sealed, and again on the node that has opened it: whoever may write
 * into the bucket can seal what he likes, and what no container could be made with must fail his runs, not the node.
 */
import { mountPathFault } from './mount-path.ts';
import { MAX_VARIABLE_BYTES, secretNameFault, variableNameFault } from './secret.ts';
import type { SecretContent, SecretType } from './secret.ts';
import { secretVariables } from './secret-delivery.ts';

/** The end of a sentence about the secret, without anything of its values; undefined for a good one. */
export function secretFault(name: string, content: unknown): string | undefined {
  const nameFault = secretNameFault(name);
  if (nameFault !== undefined) return `it cannot have this name: ${nameFault}`;
  if (!isContent(content)) return 'it lacks a part, or is of no known type';
  if ('fileBase64' in content && !isBase64(content.fileBase64)) return 'its file is not in base64';
  if ('mountPath' in content) {
    const fault = mountPathFault(content.mountPath);
    if (fault !== undefined) return `its folder ${shown(content.mountPath)} cannot be mounted: ${fault}`;
  }
  for (const [variable, value] of Object.entries(secretVariables(name, content))) {
    const fault = variableFault(variable, value);
    if (fault !== undefined) return `the variable ${shown(variable)} cannot be set: ${fault}`;
  }
  return undefined;
}

const FILE = ['mountPath', 'fileBase64'];
/** All are texts; those with a question mark may be left out. */
const FIELDS: Readonly<Record<SecretType, readonly string[]>> = {
  docker_registry: ['server', 'username', 'password'],
  environment: ['key', 'value'],
  mounted: FILE,
  ssh: FILE,
  git: FILE,
  sftp: [...FILE, 'knownHosts?'],
  s3: ['mountPath', 'config?', 'credentials', 'profile?'],
  gcp: FILE,
  oci: ['mountPath', 'config', 'keyFile'],
  databricks: ['host', 'token'],
  hugging_face: ['token'],
  wandb: ['apiKey'],
};

function isContent(content: unknown): content is SecretContent {
  if (typeof content !== 'object' || content === null) return false;
  const values = content as Readonly<Record<string, unknown>>;
  const { type } = values;
  if (typeof type !== 'string' || !Object.hasOwn(FIELDS, type)) return false;
  return FIELDS[type as SecretType].every((field) => {
    const value = values[field.replace('?', '')];
    return typeof value === 'string' || (value === undefined && field.endsWith('?'));
  });
}

function isBase64(text: string): boolean {
  try {
    atob(text);
    return true;
  } catch {
    return false;
  }
}

function variableFault(name: string, value: string): string | undefined {
  const bytes = new TextEncoder().encode(`${name}=${value}`).length;
  if (bytes > MAX_VARIABLE_BYTES)
    return `Linux takes ${MAX_VARIABLE_BYTES} bytes with the name; this has ${bytes}`;
  return value.includes('\0') ? 'it has a NUL character in it' : variableNameFault(name);
}

/** It may be of any length, and have any characters. */
const shown = (text: string): string => JSON.stringify(text.slice(0, 60));
