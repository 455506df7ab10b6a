/**
 * Fields of a run file, one typed value at a time. A wrong value becomes a problem that names the field and where it
 * stands, and reading goes on, so that all problems of a file come out at once.
 */
import type { JsonValue } from './run-spec.ts';
import type { Problem } from './run-problem.ts';
import { didYouMean } from './suggest.ts';
import {
  type ContentNode,
  deref,
  isNull,
  keyText,
  type MapNode,
  mergedEntries,
  type ScalarNode,
  shorten,
  type YamlNode,
  type YamlProblem,
} from './run-yaml.ts';
import { pythonText } from './run-yaml-scalars.ts';

export interface Finding extends YamlProblem {
  readonly path: string;
}

/** A field that is there and is not null. */
export interface Field {
  readonly path: string;
  /** Where its name stands. */
  readonly keyOffset: number;
  readonly node: ContentNode;
  /** Where its value stands: for an alias, the alias. */
  readonly offset: number;
}

/** Collects what is found while a file is read. */
export class Findings {
  readonly problems: Finding[] = [];
  readonly warnings: Finding[] = [];

  refuse(field: Pick<Field, 'path' | 'offset'>, problem: Problem): undefined {
    this.problems.push({ path: field.path, offset: field.offset, ...problem });
  }

  warn(field: Pick<Field, 'path' | 'offset'>, message: string): void {
    this.warnings.push({ path: field.path, offset: field.offset, message });
  }
}

/** The fields of one mapping, by name. Names that nobody asks for are unknown, and reported by `warnUnknown`. */
export class FieldReader {
  readonly findings: Findings;
  readonly path: string;
  readonly offset: number;
  private readonly fields = new Map<string, NamedField>();
  /** Keys that are no text, like `on:`, and so no name of ours. */
  private readonly strangers: NamedField[] = [];
  private readonly asked = new Set<string>();

  constructor(findings: Findings, at: Pick<Field, 'path' | 'offset'>, map: MapNode) {
    this.findings = findings;
    this.path = at.path;
    this.offset = at.offset;
    for (const field of mapFields(at.path, map)) {
      if (field.isText) this.fields.set(field.name, field);
      else this.strangers.push(field);
    }
  }

  /** The field if the mapping names it at all, with a value or without. */
  evenNull(name: string): Field | undefined {
    this.asked.add(name);
    return this.fields.get(name);
  }

  /** The field, unless it is missing or null. */
  get(name: string): Field | undefined {
    const field = this.evenNull(name);
    return field === undefined || isNull(field.node) ? undefined : field;
  }

  /** The first of several names that has a value. */
  first(...names: readonly string[]): Field | undefined {
    const found = names.map((name) => this.get(name));
    return found.find((field) => field !== undefined);
  }

  /** The names of the fields that nobody has asked for yet. */
  unasked(): string[] {
    return [...this.fields.keys()].filter((name) => !this.asked.has(name));
  }

  /** Warns of every field that nobody asked for: `describe` makes the sentence. */
  warnUnknown(describe: (name: string, path: string, asked: readonly string[]) => string): void {
    const unasked = this.unasked().flatMap((name) => this.fields.get(name) ?? []);
    for (const { name, path, keyOffset } of [...unasked, ...this.strangers]) {
      this.findings.warn({ path, offset: keyOffset }, describe(name, path, [...this.asked]));
    }
  }

  text(name: string): string | undefined {
    return readText(this.findings, this.get(name));
  }

  /** Blank text says as little as none. */
  filledText(name: string): string | undefined {
    const text = this.text(name);
    return text?.trim() === '' ? undefined : text;
  }

  boolean(name: string): boolean | undefined {
    return readBoolean(this.findings, this.get(name));
  }

  wholeNumber(name: string, least: number): number | undefined {
    return readWholeNumber(this.findings, this.get(name), least);
  }

  textList(name: string): readonly string[] | undefined {
    return readTextList(this.findings, this.get(name));
  }

  map(name: string): FieldReader | undefined {
    const field = this.get(name);
    if (field === undefined) return undefined;
    if (field.node.type === 'map') return new FieldReader(this.findings, field, field.node);
    return this.findings.refuse(field, wrongType(field, 'a mapping', `${name}: {key: value}`));
  }
}

export interface NamedField extends Field {
  readonly name: string;
  /** False for keys like `on` and `1`, which YAML reads as something else. */
  readonly isText: boolean;
}

/** The entries of a mapping, merge keys carried out. */
export function mapFields(path: string, map: MapNode): NamedField[] {
  return mergedEntries(map).map((entry) => {
    const key = deref(entry.key);
    const name = keyText(entry) ?? (key.type === 'scalar' ? key.text : '');
    return {
      name,
      isText: keyText(entry) !== undefined,
      path: path === '' ? name : `${path}.${name}`,
      keyOffset: entry.key.start,
      offset: entry.value.start,
      node: deref(entry.value),
    };
  });
}

/** What is said of a field that nobody knows, with the known one that comes nearest. */
export function unknownField(name: string, path: string, known: readonly string[]): string {
  return `Unknown field ${path} is not used${didYouMean(name, known)}`;
}

/** Text as the file has it: `git_branch: 1.10` is the branch 1.10, and says so. */
export function readText(findings: Findings, field: Field | undefined): string | undefined {
  if (field === undefined) return undefined;
  const { node } = field;
  if (node.type !== 'scalar') return findings.refuse(field, wrongType(field, 'text', undefined));
  if (node.text.includes('\0')) {
    return findings.refuse(field, {
      message: `${field.path} has a NUL character in it`,
      why: 'no program reads any further',
    });
  }
  if (node.value.kind !== 'str' && pythonText(node.value, node.text) !== node.text) {
    findings.warn(
      field,
      `${field.path} is taken as the text ${node.text}; YAML reads it as ${pythonText(node.value, node.text)}, so put quotes around it`,
    );
  }
  return node.text;
}

export function readWholeNumber(
  findings: Findings,
  field: Field | undefined,
  least: number,
): number | undefined {
  if (field === undefined) return undefined;
  const number = readNumber(findings, field, 'a whole number');
  if (number === undefined) return undefined;
  if (!Number.isSafeInteger(number)) {
    return findings.refuse(field, {
      message: `${field.path} must be a whole number, not ${shown(field.node)}`,
    });
  }
  if (number >= least) return number;
  return findings.refuse(field, {
    message: `${field.path} must be ${least} or more, not ${number}`,
  });
}

/** Also from text, because `"8"` leaves no doubt. */
export function readNumber(findings: Findings, field: Field, expected: string): number | undefined {
  const { node } = field;
  if (node.type === 'scalar') {
    if (node.value.kind === 'int' || node.value.kind === 'float') return Number(node.value.value);
    if (node.value.kind === 'str' && /^[-+]?\d+(?:\.\d+)?$/.test(node.text.trim())) return Number(node.text);
  }
  return findings.refuse(field, wrongType(field, expected, undefined));
}

/** Also from text: SDK users pass `'False'`. */
function readBoolean(findings: Findings, field: Field | undefined): boolean | undefined {
  if (field === undefined) return undefined;
  const { node } = field;
  if (node.type === 'scalar') {
    if (node.value.kind === 'bool') return node.value.value;
    if (node.value.kind === 'str' && /^(?:true|false)$/i.test(node.text)) return /^true$/i.test(node.text);
  }
  return findings.refuse(field, wrongType(field, 'true or false', undefined));
}

function readTextList(findings: Findings, field: Field | undefined): readonly string[] | undefined {
  if (field === undefined) return undefined;
  const { node } = field;
  if (node.type !== 'seq')
    return findings.refuse(
      field,
      wrongType(field, 'a list', `[${node.type === 'scalar' ? node.text : 'text'}]`),
    );
  return listItems(field).flatMap((item) => {
    if (!isNull(item.node)) return readText(findings, item) ?? [];
    findings.refuse(item, { message: `${item.path} is empty` });
    return [];
  });
}

/** The items of a list; none for anything else. */
export function listItems(field: Field): Field[] {
  if (field.node.type !== 'seq') return [];
  return field.node.items.map((item, index) => ({
    path: `${field.path}[${index}]`,
    keyOffset: item.start,
    offset: item.start,
    node: deref(item),
  }));
}

export function wrongType(field: Field, expected: string, example: string | undefined): Problem {
  return {
    message: `${field.path} must be ${expected}, not ${shown(field.node)}`,
    ...(example === undefined ? {} : { fix: `write: ${example}` }),
  };
}

/** A value in a few words, for messages. */
export function shown(node: ContentNode): string {
  if (node.type === 'map') return 'a mapping';
  if (node.type === 'seq') return 'a list';
  if (node.value.kind === 'null') return 'nothing';
  if (node.value.kind === 'bool') return `the boolean ${node.text}`;
  if (node.value.kind === 'str') return node.text === '' ? 'empty text' : JSON.stringify(shorten(node.text));
  return shorten(node.text);
}

/** More than a file of the permitted size holds, byte for byte, without multiplying itself through aliases. */
const MAX_JSON_NODES = 512 * 1024;

/**
 * A value as JSON, as Python's `json` would write it: keys become text; dates and what JSON has no number for, too.
 * @throws RangeError when aliases make it endless or huge.
 */
export function toJson(node: YamlNode): JsonValue {
  let nodes = 0;
  const convert = (each: YamlNode): JsonValue => {
    nodes += 1;
    if (nodes > MAX_JSON_NODES) throw new RangeError(`more than ${MAX_JSON_NODES} values`);
    const content = deref(each);
    if (content.type === 'seq') return content.items.map(convert);
    if (content.type === 'map') {
      return Object.fromEntries(
        mergedEntries(content).map(({ key, value }) => [jsonKey(deref(key)), convert(value)]),
      );
    }
    return scalarJson(content);
  };
  return convert(node);
}

function scalarJson(node: ScalarNode): JsonValue {
  switch (node.value.kind) {
    case 'null':
      return null;
    case 'bool':
    case 'str':
      return node.value.value;
    case 'int': {
      const number = Number(node.value.value);
      return Number.isSafeInteger(number) ? number : node.value.value.toString();
    }
    case 'float':
      return Number.isFinite(node.value.value) ? node.value.value : pythonText(node.value, node.text);
    default:
      return node.text;
  }
}

function jsonKey(key: ContentNode): string {
  if (key.type !== 'scalar') return '';
  if (key.value.kind === 'null') return 'null';
  if (key.value.kind === 'bool') return String(key.value.value);
  return pythonText(key.value, key.text);
}
