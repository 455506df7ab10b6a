/** `env_variables` and `metadata`: mappings whose keys are the user's own. */
import type { JsonValue } from './run-spec.ts';
import {
  type Field,
  FieldReader,
  type Findings,
  listItems,
  mapFields,
  shown,
  toJson,
  unknownField,
  wrongType,
} from './run-file-fields.ts';
import { pythonText } from './run-yaml-scalars.ts';
import { MAX_VARIABLE_BYTES } from './secret.ts';

/**
 * Environment variables as a mapping, or as the older list of `key` and `value`. A value that is no text becomes the
 * text that Python's `str()` makes of it (`1` → 1, `true` → True); where that is not what the file shows, a warning
 * says so.
 */
export function readEnvironment(
  findings: Findings,
  field: Field | undefined,
): Readonly<Record<string, string>> {
  if (field === undefined) return {};
  if (field.node.type === 'scalar') {
    findings.refuse(field, wrongType(field, 'a mapping', 'env_variables: {KEY: value}'));
    return {};
  }
  const pairs =
    field.node.type === 'map'
      ? mapFields(field.path, field.node).map((value) => ({ name: value.name, value }))
      : readList(findings, field);
  const environment: Record<string, string> = {};
  for (const { name, value } of pairs) {
    const text = readValue(findings, name, value);
    if (text !== undefined) environment[name] = text;
  }
  const bytes = Object.entries(environment).reduce((sum, [name, text]) => sum + variableBytes(name, text), 0);
  if (bytes > MAX_ENVIRONMENT_BYTES) {
    findings.refuse(field, {
      message: `env_variables have ${bytes} bytes together; ${MAX_ENVIRONMENT_BYTES} are allowed`,
      why: 'Linux starts no program with many more',
      fix: 'put large values into parameters, or into a file',
    });
  }
  return environment;
}

/**
 * Linux takes 2 MiB of variables and arguments: this leaves as much for trackers, secrets and the image. No file holds
 * more without multiplying itself through aliases.
 */
const MAX_ENVIRONMENT_BYTES = 512 * 1024;

/** True, unless Linux would start no program with it. */
export function isStartable(
  findings: Findings,
  field: Field,
  variable: { name: string; text: string },
): boolean {
  const bytes = variableBytes(variable.name, variable.text);
  if (bytes <= MAX_VARIABLE_BYTES) return true;
  findings.refuse(field, {
    message: `${field.path} is too long`,
    why: `it becomes a variable: Linux takes ${MAX_VARIABLE_BYTES} bytes with the name, and this has ${bytes}`,
    fix: 'put large values into parameters, or into a file',
  });
  return false;
}

function variableBytes(name: string, text: string): number {
  return new TextEncoder().encode(`${name}=${text}`).length;
}

const MAX_METADATA_KEYS = 200;
const MAX_METADATA_KEY_LENGTH = 200;
const MAX_METADATA_VALUE_BYTES = 100_000;

export function readMetadata(
  findings: Findings,
  field: Field | undefined,
): Readonly<Record<string, JsonValue>> {
  if (field === undefined) return {};
  if (field.node.type !== 'map') {
    findings.refuse(field, wrongType(field, 'a mapping', 'metadata: {key: value}'));
    return {};
  }
  const entries = mapFields(field.path, field.node);
  if (entries.length > MAX_METADATA_KEYS) {
    findings.refuse(field, {
      message: `metadata has ${entries.length} keys; ${MAX_METADATA_KEYS} are allowed`,
      fix: 'put what belongs together into one mapping or list',
    });
  }
  return Object.fromEntries(entries.map((entry) => [entry.name, readMetadataValue(findings, entry)]));
}

function readMetadataValue(findings: Findings, entry: ReturnType<typeof mapFields>[number]): JsonValue {
  if (entry.name.length > MAX_METADATA_KEY_LENGTH) {
    findings.refuse(
      { path: entry.path, offset: entry.keyOffset },
      {
        message: `This metadata key has ${entry.name.length} characters; ${MAX_METADATA_KEY_LENGTH} are allowed`,
      },
    );
  }
  const tooLarge = {
    message: `${entry.path} is larger than ${MAX_METADATA_VALUE_BYTES / 1000} KB`,
    why: 'metadata is shown and searched, not a store',
    fix: 'put large values into parameters, or into a file',
  };
  try {
    const value = toJson(entry.node);
    if (JSON.stringify(value).length > MAX_METADATA_VALUE_BYTES) findings.refuse(entry, tooLarge);
    return value;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    findings.refuse(entry, tooLarge);
    return null;
  }
}

function readList(findings: Findings, field: Field): { readonly name: string; readonly value: Field }[] {
  findings.warn(field, 'env_variables as a list is deprecated: write a mapping, KEY: value');
  const seen = new Set<string>();
  return listItems(field).flatMap((item) => {
    if (item.node.type !== 'map') {
      findings.refuse(item, wrongType(item, 'a mapping', '- {key: KEY, value: text}'));
      return [];
    }
    const reader = new FieldReader(findings, item, item.node);
    const name = reader.text('key');
    // Older files give each variable a name beside its key; it never had a meaning.
    reader.get('name');
    const value = reader.evenNull('value');
    reader.warnUnknown(unknownField);
    if (name === undefined || value === undefined) {
      if (name === undefined && reader.get('key') !== undefined) return [];
      findings.refuse(item, {
        message: `${item.path} has no ${name === undefined ? 'key' : 'value'}`,
        fix: 'give it both, or write the mapping KEY: value',
      });
      return [];
    }
    if (seen.has(name)) findings.warn(item, `${name} is set twice in env_variables: the last value is used`);
    seen.add(name);
    return [{ name, value }];
  });
}

function readValue(findings: Findings, name: string, field: Field): string | undefined {
  const path = `env_variables.${name}`;
  if (name === '' || /[=\0]/.test(name)) {
    return findings.refuse(field, {
      message: `${JSON.stringify(name)} is not a name of an environment variable`,
      fix: 'use letters, digits and _',
    });
  }
  if (field.node.type !== 'scalar') {
    return findings.refuse(field, {
      message: `${path} must be text, not ${shown(field.node)}`,
      fix: 'put quotes around it if this is a text, for instance JSON',
    });
  }
  if (name === 'NVIDIA_VISIBLE_DEVICES') {
    findings.warn(field, `${path} is ignored: a run sees the GPUs that it holds, and no others`);
    return undefined;
  }
  const text = pythonText(field.node.value, field.node.text);
  if (text.includes('\0')) {
    return findings.refuse(field, {
      message: `${path} has a NUL character in it`,
      why: 'the environment of a process ends there',
    });
  }
  if (field.node.value.kind !== 'null' && text !== field.node.text) {
    findings.warn(
      field,
      `${path} is set to ${text}: that is how YAML reads ${field.node.text}; put quotes around it to keep the text`,
    );
  }
  return isStartable(findings, { ...field, path }, { name, text }) ? text : undefined;
}
