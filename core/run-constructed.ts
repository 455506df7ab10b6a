/**
 * A run as construction has made it, every field filled in: what `mcli run --dry-run` prints. The YAML is a run file
 * again, and reads back as the same run.
 */
import { TRACKERS } from './run-file-integrations.ts';
import { readParameters } from './run-parameters.ts';
import type { Integration, JsonValue, ResourceRequest, RunSpec } from './run-spec.ts';
import { jsonYaml } from './run-yaml-text.ts';

type JsonObject = { readonly [key: string]: JsonValue };

/** Ends with a newline. */
export function renderConstructed(spec: RunSpec, resources: ResourceRequest): string {
  // Their text stands for them.
  const parameters = null;
  return Object.entries(fieldsOf(spec, resources, parameters))
    .map(([key, value]) => {
      if (key === 'parameters') return `parameters:${indented(spec.parametersYaml)}`;
      return jsonYaml({ [snakeCase(key)]: OWN_KEYS.includes(key) ? value : withSnakeKeys(value) });
    })
    .join('');
}

/** The same for programs, with camelCase keys; the user's own keys stay as they are. */
export function constructedAsJson(spec: RunSpec, resources: ResourceRequest): JsonObject {
  return fieldsOf(spec, resources, readParameters(spec.parametersYaml) ?? null);
}

function fieldsOf(spec: RunSpec, resources: ResourceRequest, parameters: JsonValue): JsonObject {
  const { maxDurationHours, gracePeriodSeconds, ...scheduling } = spec.scheduling;
  return {
    name: spec.name,
    ...(spec.parentName === undefined ? {} : { parentName: spec.parentName }),
    image: spec.image,
    scheduling: {
      ...scheduling,
      ...(maxDurationHours === undefined ? {} : { maxDuration: maxDurationHours }),
      ...(gracePeriodSeconds === undefined ? {} : { gracePeriod: gracePeriodSeconds }),
    },
    compute: {
      cluster: resources.cluster,
      gpuType: resources.gpuType ?? 'none',
      gpus: resources.gpus,
      nodes: resources.nodes,
      ...(resources.nodeNames.length === 0 ? {} : { nodeNames: resources.nodeNames }),
    },
    parameters,
    integrations: spec.integrations.map(integrationAsJson),
    envVariables: spec.envVariables,
    metadata: spec.metadata,
    command: spec.command,
  };
}

/** Mappings whose keys are the user's. */
const OWN_KEYS: readonly string[] = ['envVariables', 'metadata'];

function integrationAsJson(integration: Integration): JsonObject {
  if (!('environment' in integration)) {
    const { type, ...fields } = integration;
    if (!('recursive' in fields)) return { integrationType: type, ...fields };
    const { recursive, ...repo } = fields;
    return { integrationType: type, ...repo, gitCloneRecursive: recursive };
  }
  const { type, environment } = integration;
  const fields = TRACKERS[type].flatMap(({ names, variable }) => {
    const value = environment[variable];
    return value === undefined ? [] : [[camelCase(names[0]), value] as const];
  });
  return { integrationType: type, ...Object.fromEntries(fields) };
}

function withSnakeKeys(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return (value as readonly JsonValue[]).map(withSnakeKeys);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [snakeCase(key), withSnakeKeys(each)]),
  );
}

function snakeCase(text: string): string {
  return text.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function camelCase(text: string): string {
  return text.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function indented(yaml: string): string {
  if (yaml === '{}\n') return ` ${yaml}`;
  return `\n${yaml.replaceAll(/^(?=.)/gm, '  ')}`;
}
