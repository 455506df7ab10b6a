/**
 * The flags of `mcli run` written into the run file, so that what was run is a file too. Only the values concerned
 * change; comments and layout stay. Every piece of new text knows its flag, so that a problem in it can name the flag.
 */
import type { LocatedProblem } from './run-problem.ts';
import { keyText, type MapEntry, type MapNode } from './run-yaml.ts';
import { yamlString } from './run-yaml-text.ts';

export interface RunOverrides {
  readonly cluster?: string;
  readonly gpuType?: string;
  readonly gpus?: number;
  readonly instance?: string;
  readonly nodes?: number;
  readonly nodeNames?: readonly string[];
  readonly priority?: string;
  readonly preemptible?: boolean;
  readonly maxRetries?: number;
  /** Hours. */
  readonly maxDuration?: number;
  readonly image?: string;
  readonly name?: string;
}

export interface OverriddenText {
  readonly text: string;
  readonly problems: readonly LocatedProblem[];
  /** Where a place of the new text comes from: the flag, or the place in the old text. */
  locate(offset: number): { readonly flag: string } | { readonly offset: number };
}

export function applyOverrides(text: string, root: MapNode, overrides: RunOverrides): OverriddenText {
  const planner = new Planner(text, root);
  for (const target of TARGETS) {
    const value = overrides[target.override];
    if (value !== undefined) planner.set(target, valueText(value));
  }
  return { ...splice(text, planner.edits()), problems: planner.problems };
}

interface Target {
  readonly override: keyof RunOverrides;
  readonly flag: string;
  readonly section?: 'compute' | 'scheduling';
  readonly key: string;
  /** Names at the top level that mean the same. */
  readonly legacy?: readonly string[];
}

const TARGETS: readonly Target[] = [
  { override: 'name', flag: '--name', key: 'name', legacy: ['run_name'] },
  { override: 'image', flag: '--image', key: 'image' },
  {
    override: 'cluster',
    flag: '--cluster',
    section: 'compute',
    key: 'cluster',
    legacy: ['cluster', 'platform'],
  },
  { override: 'instance', flag: '--instance', section: 'compute', key: 'instance' },
  { override: 'nodes', flag: '--nodes', section: 'compute', key: 'nodes' },
  { override: 'nodeNames', flag: '--node-names', section: 'compute', key: 'node_names' },
  { override: 'gpuType', flag: '--gpu-type', section: 'compute', key: 'gpu_type', legacy: ['gpu_type'] },
  { override: 'gpus', flag: '--gpus', section: 'compute', key: 'gpus', legacy: ['gpu_num'] },
  { override: 'priority', flag: '--priority', section: 'scheduling', key: 'priority' },
  { override: 'preemptible', flag: '--preemptible', section: 'scheduling', key: 'preemptible' },
  { override: 'maxRetries', flag: '--max-retries', section: 'scheduling', key: 'max_retries' },
  { override: 'maxDuration', flag: '--max-duration', section: 'scheduling', key: 'max_duration' },
];

/** New text; `flag` is absent for what only holds the pieces together. */
interface Piece {
  readonly text: string;
  readonly flag?: string;
}

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly pieces: Piece[];
}

class Planner {
  readonly problems: LocatedProblem[] = [];
  private readonly text: string;
  private readonly root: MapNode;
  private readonly replacements: Edit[] = [];
  /** Entries to add, by section; the top level is `''`. */
  private readonly additions = new Map<string, Piece[]>();

  constructor(text: string, root: MapNode) {
    this.text = text;
    this.root = root;
  }

  set({ flag, section, key, legacy }: Target, value: string): void {
    const home = section === undefined ? this.root : this.ownMap(section);
    const entry =
      own(home, key) ?? (legacy ?? []).map((name) => own(this.root, name)).find((each) => each !== undefined);
    if (entry !== undefined) return this.replace(entry, value, flag);
    const pieces = this.additions.get(section ?? '') ?? [];
    this.additions.set(section ?? '', [...pieces, { text: `${key}: ${value}`, flag }]);
  }

  edits(): Edit[] {
    const additions = [...this.additions].flatMap(([section, pieces]) =>
      section === '' ? this.addTo(this.root, pieces) : this.addToSection(section, pieces),
    );
    return [...this.replacements, ...additions].toSorted((a, b) => a.start - b.start);
  }

  private replace(entry: MapEntry, value: string, flag: string): void {
    const { value: node } = entry;
    if (node.type !== 'alias' && node.anchor !== undefined && this.text.includes(`*${node.anchor}`)) {
      return this.giveUp(flag, `the value carries the anchor &${node.anchor}, which other places use`);
    }
    const [start, end] = this.extent(entry);
    this.replacements.push({ start, end, pieces: this.spaced(start, end, [{ text: value, flag }]) });
  }

  /** A block list starts below its key, and its replacement stands beside it. */
  private extent({ key, value }: MapEntry): [number, number] {
    if (value.type !== 'seq' && value.type !== 'map') return [value.start, value.end];
    if (this.text.startsWith('[', value.start) || this.text.startsWith('{', value.start)) {
      return [value.start, value.end];
    }
    const colon = this.text.indexOf(':', key.end);
    return [colon + 1, value.start + this.text.slice(value.start, value.end).trimEnd().length];
  }

  private addToSection(section: string, pieces: readonly Piece[]): Edit[] {
    const entry = own(this.root, section);
    if (entry === undefined) {
      const flow = this.root.flow ? braced(pieces) : undefined;
      const step = `${indentOf(this.text, this.root)}  `;
      const block = [
        { text: `${section}:` },
        ...pieces.map((piece) => ({ ...piece, text: `\n${step}${piece.text}` })),
      ];
      return this.addTo(this.root, [], flow === undefined ? block : [{ text: `${section}: ` }, ...flow]);
    }
    const { value } = entry;
    if (value.type === 'alias') {
      const pieceOfAlias = { text: `<<: ${this.text.slice(value.start, value.end)}` };
      return [{ start: value.start, end: value.end, pieces: braced([pieceOfAlias, ...pieces]) }];
    }
    if (value.type === 'map') return this.addTo(value, pieces);
    // An empty value is filled in; what is of another type is refused when the file is read.
    if (value.type !== 'scalar' || value.value.kind !== 'null') return [];
    return [
      { start: value.start, end: value.end, pieces: this.spaced(value.start, value.end, braced(pieces)) },
    ];
  }

  /** Between a colon and a comment, with the white space that an empty value did not need. */
  private spaced(start: number, end: number, pieces: readonly Piece[]): Piece[] {
    const before = this.text.slice(start - 1, start) === ':' ? ' ' : '';
    const lineEnd = this.text.slice(start, end).endsWith('\n') ? '\n' : '';
    const after = this.text.slice(end, end + 1) === '#' && lineEnd === '' ? ' ' : lineEnd;
    return [{ text: before }, ...pieces, { text: after }];
  }

  /** Entries for a mapping that is there; `whole` are pieces that make up one entry. */
  private addTo(map: MapNode, entries: readonly Piece[], whole: readonly Piece[] = []): Edit[] {
    const all = whole.length === 0 ? entries.map((piece) => [piece]) : [whole];
    const [first] = map.entries;
    if (map.flow) {
      const pieces = all.flatMap((entry) => [...entry, { text: ', ' }]);
      if (first === undefined) pieces.pop();
      return [{ start: map.start + 1, end: map.start + 1, pieces }];
    }
    const at = first?.key.start ?? map.start;
    const indent = indentOf(this.text, map);
    const endsClean = this.text.endsWith('\n') && !/^(?:\.\.\.|---)/m.test(this.text.slice(map.end));
    if (map === this.root && endsClean) {
      const pieces = all.flatMap((entry) => [{ text: indent }, ...entry, { text: '\n' }]);
      return [{ start: this.text.length, end: this.text.length, pieces }];
    }
    return [{ start: at, end: at, pieces: all.flatMap((entry) => [...entry, { text: `\n${indent}` }]) }];
  }

  private ownMap(section: string): MapNode | undefined {
    const value = own(this.root, section)?.value;
    return value?.type === 'map' ? value : undefined;
  }

  private giveUp(flag: string, why: string): void {
    this.problems.push({
      path: flag,
      message: `${flag} cannot be applied to this file`,
      why,
      fix: 'change the file',
    });
  }
}

function own(map: MapNode | undefined, key: string): MapEntry | undefined {
  return map?.entries.find((entry) => keyText(entry) === key);
}

function braced(pieces: readonly Piece[]): Piece[] {
  const separated = pieces.flatMap((piece, index) => (index === 0 ? [piece] : [{ text: ', ' }, piece]));
  return [{ text: '{' }, ...separated, { text: '}' }];
}

/** The white space in front of the first key of a block mapping. */
function indentOf(text: string, map: MapNode): string {
  const at = map.entries[0]?.key.start ?? map.start;
  return ' '.repeat(at - (text.lastIndexOf('\n', at - 1) + 1));
}

function valueText(value: NonNullable<RunOverrides[keyof RunOverrides]>): string {
  if (typeof value === 'string') return flowString(value);
  if (typeof value === 'object') return `[${value.map(flowString).join(', ')}]`;
  return String(value);
}

/** Safe inside braces too, where commas and brackets have a meaning. */
function flowString(text: string): string {
  return /^[\w./:@+-]*$/.test(text) && !text.includes(': ') ? yamlString(text) : JSON.stringify(text);
}

function splice(text: string, edits: readonly Edit[]): Pick<OverriddenText, 'text' | 'locate'> {
  const spans: {
    readonly start: number;
    readonly end: number;
    readonly from: number;
    readonly flag?: string;
  }[] = [];
  let result = '';
  let at = 0;
  const add = (piece: string, from: number, flag?: string): void => {
    const start = result.length;
    result += piece;
    spans.push({ start, end: result.length, from, ...(flag === undefined ? {} : { flag }) });
  };
  for (const { start, end, pieces } of edits) {
    add(text.slice(at, start), at);
    for (const { text: piece, flag } of pieces)
      add(piece, start, flag ?? pieces.find((each) => each.flag)?.flag);
    at = end;
  }
  add(text.slice(at), at);
  return {
    text: result,
    locate: (offset) => {
      const span = spans.find(({ end }) => offset < end) ?? spans.at(-1);
      if (span?.flag !== undefined) return { flag: span.flag };
      return { offset: (span?.from ?? 0) + offset - (span?.start ?? 0) };
    },
  };
}
