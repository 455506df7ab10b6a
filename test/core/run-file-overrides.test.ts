import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { constructedAsJson, renderConstructed } from '../../core/run-constructed.ts';
import { readRunFile } from '../../core/run-file.ts';
import type { RunOverrides } from '../../core/run-overrides.ts';
import type { RunSpec } from '../../core/run-spec.ts';

const CORPUS = join(import.meta.dirname, '../../../shared/corpus');
const HEAD = 'name: a\nimage: bash\ncommand: echo\n';
const GANG = { cluster: 'c', gpuType: 'a100', gpus: 16, nodes: 2, gpusPerNode: 8, nodeNames: ['n'] };

describe('overrides are written into the file', () => {
  test('in place, with comments and layout kept', () => {
    const text = `# my run
name: x # the name
image:   'bash'   # the image
gpu_num: 1 # legacy
compute:
    cluster: old # here

    node_names:
    - a
    - b
command: >-
  echo
`;
    const overrides = {
      name: 'y',
      image: 'a/b:c',
      gpus: 8,
      cluster: 'new',
      nodeNames: ['z1', 'z2'],
      gpuType: 'a100_80gb',
    };
    expect(submitted(text, overrides)).toBe(`# my run
name: y # the name
image:   a/b:c   # the image
gpu_num: 8 # legacy
compute:
    gpu_type: a100_80gb
    cluster: new # here

    node_names: [z1, z2]
command: >-
  echo
`);
  });

  test('in new sections at the end', () => {
    expect(submitted(HEAD, { gpus: 8, nodes: 2, priority: 'low', maxDuration: 1.5 })).toBe(
      `${HEAD}compute:\n  nodes: 2\n  gpus: 8\nscheduling:\n  priority: low\n  max_duration: 1.5\n`,
    );
  });

  test.each<[string, string, RunOverrides, Partial<RunSpec>]>([
    ['an empty section', 'compute:\n', { gpus: 2, nodes: 1 }, { compute: { nodes: 1, gpus: 2 } }],
    ['an empty section with a comment', 'compute: # none\n', { gpus: 2 }, { compute: { gpus: 2 } }],
    ['an empty value', 'compute:\n  gpus: # fill in\n', { gpus: 2 }, { compute: { gpus: 2 } }],
    ['a legacy name without a value', 'platform:\n', { cluster: 'c' }, { compute: { cluster: 'c' } }],
    ['a section in braces', 'compute: {gpus: 1}\n', { cluster: 'c' }, { compute: { cluster: 'c', gpus: 1 } }],
    ['an empty section in braces', 'compute: {}\n', { cluster: 'c' }, { compute: { cluster: 'c' } }],
    ['an alias', 'x: &x {gpus: 1}\ncompute: *x\n', { nodes: 2, gpus: 4 }, { compute: { nodes: 2, gpus: 4 } }],
    [
      'a list in brackets',
      'compute: {node_names: [a]}\n',
      { nodeNames: ['b'] },
      { compute: { nodeNames: ['b'] } },
    ],
    ['a document end', 'compute: {gpus: 1}\n...\n', { priority: 'high' }, { compute: { gpus: 1 } }],
    [
      'a file without a last newline',
      'parameters:\n  a: |\n    text',
      { gpus: 1 },
      { parametersYaml: 'a: "text"\n', compute: { gpus: 1 } },
    ],
    ['a name that YAML would misread', '', { name: '012' }, { name: '012' }],
  ])('of %s', (_, rest, overrides, expected) => {
    expect(read(`${HEAD}${rest}`, overrides).spec).toMatchObject(expected);
  });

  test('of a file that is JSON', () => {
    const text = '{"name": "a", "image": "b", "command": "c", "compute": {"gpus": 1}}';
    expect(read(text, { gpus: 8, cluster: 'c', name: 'n' }).spec).toMatchObject({
      name: 'n',
      compute: { gpus: 8, cluster: 'c' },
    });
  });

  test('twice, as a clone with flags does', () => {
    const once = submitted(HEAD, { gpus: 8, preemptible: true });
    expect(submitted(once, { gpus: 8, preemptible: true })).toBe(once);
    expect(submitted(once, { gpus: 4, preemptible: false })).toBe(
      once.replace('8', '4').replace('true', 'false'),
    );
  });

  test.skipIf(!existsSync(CORPUS))('of the corpus (in ../shared), and nothing else changes', () => {
    const overrides = {
      name: 'flagged',
      image: 'other/image:tag',
      cluster: 'c9',
      gpuType: 'b200',
      gpus: 16,
      nodes: 2,
      nodeNames: ['n1', 'n2'],
      priority: 'lowest',
      preemptible: true,
      maxRetries: 7,
      maxDuration: 0.5,
    };
    for (const name of readdirSync(CORPUS)) {
      const text = readFileSync(join(CORPUS, name), 'utf8');
      const { spec, submittedYaml } = read(text, overrides);
      expect(spec, name).toEqual({
        ...read(text, {}).spec,
        name: 'flagged',
        image: 'other/image:tag',
        compute: { cluster: 'c9', gpuType: 'b200', gpus: 16, nodes: 2, nodeNames: ['n1', 'n2'] },
        scheduling: {
          priority: 'lowest',
          preemptible: true,
          maxRetries: 7,
          retryOnSystemFailure: true,
          maxDurationHours: 0.5,
        },
      });
      expect(submittedYaml.length - text.length, name).toBeLessThan(300);
      const rendered = renderConstructed(spec, { ...GANG, nodeNames: [] });
      expect(read(rendered, {}).spec, name).toEqual({
        ...spec,
        compute: { cluster: 'c', gpuType: 'a100', gpus: 16, nodes: 2 },
      });
    }
  });

  test('and what is missing in the file may come from a flag', () => {
    expect(read('image: bash\ncommand: echo\n', { name: 'flagged' }).spec.name).toBe('flagged');
  });
});

describe('problems', () => {
  test('of a flag name the flag, and those of the file keep their lines', () => {
    const text = '# a comment\nname: a\nimage: bash\nscheduling: {max_retries: x}\ncommand: echo\n';
    const result = readRunFile(text, { overrides: { gpus: -1, image: 'Not Valid', priority: 'hgh' } });
    expect(result.ok ? [] : result.problems.map(({ path, line, message }) => [path, line, message])).toEqual([
      ['--image', undefined, '--image: The image name Not Valid is not valid'],
      ['--gpus', undefined, '--gpus must be 0 or more, not -1'],
      ['--priority', undefined, '--priority hgh is not known (did you mean high?)'],
      ['scheduling.max_retries', 4, 'scheduling.max_retries must be a whole number, not "x"'],
    ]);
  });

  test('of a value that other places use say so', () => {
    const result = readRunFile(`${HEAD}compute: {gpus: &n 8}\nparameters: {n: *n}\n`, {
      overrides: { gpus: 1 },
    });
    expect(result.ok ? '' : result.problems[0]?.why).toBe(
      'the value carries the anchor &n, which other places use',
    );
  });
});

describe('what construction makes of a file', () => {
  const text = `${HEAD}parent_name: parent
scheduling: {priority: high, max_duration: 2, max_retries: 3, preemptible: true, grace_period: 90}
env_variables: {A: 'on', B: "x\\ny"}
metadata: {camelKey: {snake_key: [1, '2']}}
parameters:
  lr: 1e-4
  text: |
    one

      two
  when: 2020-01-01
  list: [012, on]
integrations:
- {integration_type: git_repo, git_repo: a/b, path: p}
- {integration_type: wandb, project: p, tags: [a, b]}
- {integration_type: comet_ml, project: p}
- {integration_type: pip_packages, packages: [x]}
`;

  test('reads back as the same run, with resources filled in', () => {
    const { spec } = read(text, {});
    const rendered = renderConstructed(spec, GANG);
    const { spec: again, warnings } = read(rendered, {});
    expect(warnings).toEqual([]);
    expect(again).toEqual({
      ...spec,
      compute: { cluster: 'c', gpuType: 'a100', gpus: 16, nodes: 2, nodeNames: ['n'] },
    });
  });

  test('has the fields in the order of the reference', () => {
    const json = constructedAsJson(read(text, {}).spec, GANG);
    expect(Object.keys(json)).toEqual([
      'name',
      'parentName',
      'image',
      'scheduling',
      'compute',
      'parameters',
      'integrations',
      'envVariables',
      'metadata',
      'command',
    ]);
    expect(json['parameters']).toEqual({
      lr: '1e-4',
      text: 'one\n\n  two\n',
      when: '2020-01-01',
      list: [10, true],
    });
    expect(json['metadata']).toEqual({ camelKey: { snake_key: [1, '2'] } });
  });

  test('has all that a file can hold in its parameters', () => {
    const { spec } = read(`${HEAD}parameters: {ids: [${'1,'.repeat(250_000)}]}\n`, {});
    const { parameters } = constructedAsJson(spec, GANG) as { parameters: { ids: number[] } };
    expect(parameters.ids).toHaveLength(250_000);
  });

  test('of a run whose parameters have no end in JSON has them in YAML only', () => {
    const { spec } = read(`${HEAD}parameters: {a: &a [1, *a]}\n`, {});
    expect(read(renderConstructed(spec, GANG), {}).spec.parametersYaml).toBe(spec.parametersYaml);
    expect(constructedAsJson(spec, GANG)['parameters']).toBeNull();
  });

  test('of a run without GPUs says none and 0', () => {
    const cpu = { cluster: 'c', gpuType: null, gpus: 0, nodes: 1, gpusPerNode: 0, nodeNames: [] };
    expect(renderConstructed(read(HEAD, {}).spec, cpu)).toBe(`name: a
image: bash
scheduling:
  priority: medium
  preemptible: false
  max_retries: 0
  retry_on_system_failure: true
compute:
  cluster: c
  gpu_type: none
  gpus: 0
  nodes: 1
parameters: {}
integrations: []
env_variables: {}
metadata: {}
command: echo
`);
  });
});

function read(
  text: string,
  overrides: RunOverrides,
): { spec: RunSpec; submittedYaml: string; warnings: unknown } {
  const result = readRunFile(text, { overrides });
  if (!result.ok) throw new Error(`${JSON.stringify(result.problems)}\n${text}`);
  return result;
}

function submitted(text: string, overrides: RunOverrides): string {
  return read(text, overrides).submittedYaml;
}
