/** `parameters` of a run as data, for whoever is no program of the run. */
import { toJson } from './run-file-fields.ts';
import type { JsonValue } from './run-spec.ts';
import { readYaml } from './run-yaml.ts';

/**
 * @param parametersYaml as a run's specification has it
 * @returns undefined where aliases make them endless or huge: YAML says so in a few lines, and JSON cannot.
 */
export function readParameters(parametersYaml: string): JsonValue | undefined {
  const { root } = readYaml(parametersYaml);
  try {
    return root === undefined ? {} : toJson(root);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
