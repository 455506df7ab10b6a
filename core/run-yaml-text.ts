/**
 * YAML text that PyYAML reads as it reads the node in its own file. Scalars keep the text they had wherever that fits
 * on a line, since only that says for certain what PyYAML makes of them; all else is written in double quotes, where
 * nothing is left to interpretation. Comments are not kept. Aliases into other parts of the file are carried along.
 */
import type { JsonValue } from './run-spec.ts';
import { type ContentNode, deref, type MapNode, type ScalarNode, type YamlNode } from './run-yaml.ts';
import { resolvePlain } from './run-yaml-scalars.ts';

/** Ends with a newline. @throws RangeError when the nesting is too deep to write down. */
export function yamlText(node: MapNode): string {
  if (node.entries.length === 0) return '{}\n';
  const writer = new Writer(node);
  return `${writer.block(node, '')}\n`;
}

/** A mapping of JSON as YAML that PyYAML reads as the same. Ends with a newline. */
export function jsonYaml(value: { readonly [key: string]: JsonValue }): string {
  return yamlText(mapNode(value));
}

function mapNode(value: { readonly [key: string]: JsonValue }): MapNode {
  const entries = Object.entries(value).map(([key, each]) => ({ key: nodeOf(key), value: nodeOf(each) }));
  return { ...NOWHERE, type: 'map', flow: false, entries };
}

/** As if it had been read. */
function nodeOf(value: JsonValue): ContentNode {
  if (isList(value)) return { ...NOWHERE, type: 'seq', items: value.map(nodeOf) };
  if (typeof value === 'object' && value !== null) return mapNode(value);
  if (typeof value === 'string') {
    const style = resolvePlain(value).kind === 'str' ? 'plain' : 'quoted';
    return { ...NOWHERE, type: 'scalar', style, text: value, value: { kind: 'str', value } };
  }
  const text = typeof value === 'number' ? numberText(value) : String(value);
  return { ...NOWHERE, type: 'scalar', style: 'plain', text, value: resolvePlain(text) };
}

const NOWHERE = { start: 0, end: 0, depth: 0 };

const isList = (value: JsonValue): value is readonly JsonValue[] => Array.isArray(value);

/** `1e-7` and `1e+21` are texts in YAML 1.1. */
function numberText(value: number): string {
  return Number.isInteger(value) ? String(BigInt(value)) : String(value).replace(/^(-?\d+)e/, '$1.0e');
}

/** A text as a YAML scalar on one line, with quotes only where they are needed. */
export function yamlString(text: string): string {
  return isSafePlain(text) && resolvePlain(text).kind === 'str' ? text : doubleQuoted(text);
}

class Writer {
  private readonly names = new Map<ContentNode, string>();
  private readonly written = new Set<ContentNode>();

  constructor(root: ContentNode) {
    const uses = new Map<ContentNode, number>();
    countUses(root, uses);
    const taken = new Set<string>();
    for (const [node, count] of uses) {
      if (count > 1) this.names.set(node, uniqueName(node.anchor ?? 'shared', taken));
    }
  }

  /** The lines of a collection, the first without its indentation. */
  block(node: MapNode | Extract<ContentNode, { type: 'seq' }>, indent: string): string {
    const lines =
      node.type === 'map'
        ? node.entries.map(({ key, value }) => this.entry(key, value, indent))
        : node.items.map((item) => `-${this.after(item, indent, true)}`);
    return lines.join(`\n${indent}`);
  }

  private entry(key: YamlNode, value: YamlNode, indent: string): string {
    const content = deref(key);
    const text = content.type === 'scalar' ? scalarText(content, undefined) : '""';
    const alias = this.aliasOf(key);
    const head = alias === undefined ? `${this.properties(content)}${text}` : `${alias} `;
    const colon = `:${this.after(value, indent, false)}`;
    return head.length > MAX_SIMPLE_KEY ? `? ${head}\n${indent}${colon}` : `${head}${colon}`;
  }

  /** What comes after `key:` or `-`, with the white space in front. */
  private after(node: YamlNode, indent: string, inList: boolean): string {
    const alias = this.aliasOf(node);
    if (alias !== undefined) return ` ${alias}`;
    const content = deref(node);
    const properties = this.properties(content);
    const inner = `${indent}  `;
    if (content.type === 'scalar') return ` ${properties}${scalarText(content, inner)}`;
    if (content.type === 'map' && content.entries.length === 0) return ` ${properties}{}`;
    if (content.type === 'seq' && content.items.length === 0) return ` ${properties}[]`;
    const block = this.block(content, inner);
    return inList && properties === ''
      ? ` ${block}`
      : `${properties === '' ? '' : ` ${properties.trimEnd()}`}\n${inner}${block}`;
  }

  /** The second and every later use of a node. */
  private aliasOf(node: YamlNode): string | undefined {
    const content = deref(node);
    const name = this.names.get(content);
    return name !== undefined && this.written.has(content) ? `*${name}` : undefined;
  }

  private properties(node: ContentNode): string {
    const name = this.names.get(node);
    this.written.add(node);
    return `${name === undefined ? '' : `&${name} `}${node.tag === undefined ? '' : `!!${node.tag} `}`;
  }
}

/** Python reads a key without `?` up to 1,024 characters; anchor, tag and quotes count. */
const MAX_SIMPLE_KEY = 900;

function countUses(node: YamlNode, uses: Map<ContentNode, number>): void {
  const content = deref(node);
  const count = (uses.get(content) ?? 0) + 1;
  uses.set(content, count);
  if (count > 1) return;
  if (content.type === 'seq') for (const item of content.items) countUses(item, uses);
  if (content.type === 'map') {
    for (const { key, value } of content.entries) {
      countUses(key, uses);
      countUses(value, uses);
    }
  }
}

/** PyYAML's anchors are ASCII letters, digits, - and _. */
function uniqueName(wanted: string, taken: Set<string>): string {
  const name = /^[A-Za-z0-9_-]+$/.test(wanted) ? wanted : 'shared';
  let unique = name;
  for (let counter = 2; taken.has(unique); counter += 1) unique = `${name}_${counter}`;
  taken.add(unique);
  return unique;
}

/** `indent` of undefined asks for a single line. */
function scalarText(node: ScalarNode, indent: string | undefined): string {
  if (node.value.kind === 'null') return 'null';
  if (node.source !== undefined) return node.source;
  if (node.style === 'plain' && (node.value.kind !== 'str' || isSafePlain(node.text))) return node.text;
  if (indent !== undefined && isSafeLiteral(node.text)) return literal(node.text, indent);
  return doubleQuoted(node.text);
}

/** Letters, digits and marks that have no meaning inside a plain scalar, and none that has one at its start. */
function isSafePlain(text: string): boolean {
  return (
    text.length <= 400 &&
    /^[\p{L}\p{N}_$./(+~^;<=-][\p{L}\p{N} _$./()+~^;<=>@%&*!?"'[\]{}|,\\:#-]*$/u.test(text) &&
    !/: | #|[: ]$|^[-.]{1,3}(?: |$)|^(?:---|\.\.\.)/.test(text)
  );
}

/** Several lines of printable text whose first line shows the indentation. */
function isSafeLiteral(text: string): boolean {
  return (
    text.includes('\n') &&
    /^[^\s]/.test(text) &&
    /^[\n\u0020-\u007e\u00a0-\u2027\u2030-\ud7ff\ue000-\ufefe]*$/.test(text)
  );
}

function literal(text: string, indent: string): string {
  const body = text.replace(/\n+$/, '');
  const end = text.slice(body.length);
  const chomping = end === '' ? '-' : end === '\n' ? '' : '+';
  const lines = body.split('\n').map((line) => (line === '' ? '' : `${indent}${line}`));
  // `+` keeps every line end: the writer adds the last one itself.
  return [`|${chomping}`, ...lines, ...Array<string>(Math.max(0, end.length - 1)).fill('')].join('\n');
}

/** JSON's escapes are YAML's too, all but surrogate pairs, which PyYAML would read as two characters. */
function doubleQuoted(text: string): string {
  return JSON.stringify(text).replaceAll(
    /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
