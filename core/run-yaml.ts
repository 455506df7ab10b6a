/**
 * YAML text as a tree of typed nodes that know where they stand. The `yaml` library reads the structure; what a scalar
 * means is PyYAML's rule (`run-yaml-scalars.ts`), and what PyYAML refuses is a problem here too, because the training
 * code could not read it either. Keys that occur twice are refused as well: PyYAML would silently take the last.
 */
import {
  type Alias,
  isAlias,
  isMap,
  isSeq,
  type Node,
  parseDocument,
  type Scalar,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import type { Problem } from './run-problem.ts';
import { resolvePlain, resolveTagged, type ScalarValue } from './run-yaml-scalars.ts';

interface NodeBase {
  /** Where the value starts and ends in the text; an empty value has no length. */
  readonly start: number;
  readonly end: number;
  readonly anchor?: string;
  /** One of YAML's own tags, without `!!`. */
  readonly tag?: string;
  /** How deep the tree below is, aliases followed. */
  depth: number;
}

export interface ScalarNode extends NodeBase {
  readonly type: 'scalar';
  readonly style: 'plain' | 'quoted' | 'block';
  /** The value as text, before it gets a type. */
  readonly text: string;
  /** A quoted scalar on a single line, as it is in the file, with its quotes. */
  readonly source?: string;
  readonly value: ScalarValue;
}

export interface MapEntry {
  readonly key: YamlNode;
  readonly value: YamlNode;
}

export interface MapNode extends NodeBase {
  readonly type: 'map';
  readonly flow: boolean;
  readonly entries: MapEntry[];
}

interface SeqNode extends NodeBase {
  readonly type: 'seq';
  readonly items: YamlNode[];
}

interface AliasNode extends NodeBase {
  readonly type: 'alias';
  readonly target: ContentNode;
}

export type ContentNode = ScalarNode | MapNode | SeqNode;
export type YamlNode = ContentNode | AliasNode;

/** A problem at an offset of the text. */
export interface YamlProblem extends Problem {
  readonly offset: number;
  /** Present where two places are to blame: the other one. */
  readonly otherOffset?: number;
}

export interface YamlFile {
  /** Undefined for a text without content. */
  readonly root: ContentNode | undefined;
  /** What is not YAML at all: the tree behind the first of these can't be trusted. */
  readonly syntaxProblems: readonly YamlProblem[];
  readonly problems: readonly YamlProblem[];
}

/** PyYAML, a recursive reader, gives up a few hundred levels down. */
const MAX_DEPTH = 100;

export function readYaml(text: string): YamlFile {
  const document = parseDocument(normaliseBreaks(text), {
    version: '1.1',
    schema: 'failsafe',
    resolveKnownTags: false,
    uniqueKeys: false,
    keepSourceTokens: true,
    prettyErrors: false,
  });
  const syntaxProblems = [
    ...unreadableCharacters(text),
    ...document.errors.map((error) => syntaxProblem(text, error)),
  ];
  const composer = new Composer();
  const root = document.contents === null ? undefined : composer.compose(document.contents, false);
  return {
    root: root === undefined ? undefined : deref(root),
    syntaxProblems: firstPerLine(text, syntaxProblems),
    problems: composer.problems,
  };
}

export function deref(node: YamlNode): ContentNode {
  return node.type === 'alias' ? node.target : node;
}

/** Whether a node is there and says nothing: `key:`, `key: null`, `key: ~`. */
export function isNull(node: YamlNode): boolean {
  const content = deref(node);
  return content.type === 'scalar' && content.value.kind === 'null';
}

/** The text of a key; undefined for keys that are no text. */
export function keyText(entry: MapEntry): string | undefined {
  const key = deref(entry.key);
  return key.type === 'scalar' && key.value.kind === 'str' ? key.value.value : undefined;
}

/**
 * The entries of a mapping with its merge keys (`<<`) carried out: own entries win, then the last `<<`, and within a
 * list of mappings the first. They are gone through in this order, and each mapping once: what it has is there by then,
 * however often it is merged again, be it into itself.
 */
export function mergedEntries(map: MapNode): MapEntry[] {
  const merged = new Map<string, MapEntry>();
  const visited = new Set<MapNode>();
  const waiting = [map];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (visited.has(next)) continue;
    visited.add(next);
    for (const [id, entry] of ownEntries(next)) if (!merged.has(id)) merged.set(id, entry);
    const sources = next.entries.filter(isMerge).flatMap((entry) => mergeSources(entry).toReversed());
    for (const source of sources) if (source.type === 'map') waiting.push(source);
  }
  return [...merged.values()];
}

/** Of equal keys, which are refused, the last. */
function ownEntries({ entries }: MapNode): Map<string, MapEntry> {
  return new Map(entries.filter((entry) => !isMerge(entry)).map((entry) => [identity(entry.key), entry]));
}

/** What stands behind a merge key. */
function mergeSources({ value }: MapEntry): ContentNode[] {
  const source = deref(value);
  return source.type === 'seq' ? source.items.map(deref) : [source];
}

class Composer {
  readonly problems: YamlProblem[] = [];
  private readonly anchors = new Map<string, ContentNode>();
  private level = 0;

  compose(node: Node, inFlow: boolean): YamlNode {
    if (isAlias(node)) return this.alias(node);
    if (!isMap(node) && !isSeq(node)) return this.scalar(node, inFlow);
    if (this.level > MAX_DEPTH) return emptyScalar(node.range?.[0] ?? 0);
    this.level += 1;
    const collection = isMap(node) ? this.map(node) : this.seq(node);
    this.level -= 1;
    return collection;
  }

  private alias(node: Alias.Parsed | Alias): YamlNode {
    const [start = 0, end = start] = node.range ?? [];
    const target = this.anchors.get(node.source);
    if (target !== undefined) return { type: 'alias', start, end, target, depth: target.depth };
    this.problems.push({
      offset: start,
      message: `*${node.source} stands for nothing`,
      why: `no &${node.source} comes before it in the file`,
      fix: `put quotes around it if it is text: "*${node.source}"`,
    });
    return emptyScalar(start);
  }

  private map(node: YAMLMap): MapNode {
    const flow = node.flow === true;
    const map: MapNode = { type: 'map', flow, entries: [], ...this.base(node, ['map', 'set']) };
    this.announce(map);
    const seen = new Map<string, YamlNode>();
    for (const item of node.items) {
      const key = this.compose((item.key ?? emptyAt(node)) as Node, flow);
      const value = this.compose((item.value ?? emptyAt(item.key as Node)) as Node, flow);
      const entry = { key, value };
      map.entries.push(entry);
      if (this.checkKey(entry)) this.checkTwice(entry, seen);
      map.depth = Math.max(map.depth, key.depth + 1, value.depth + 1);
    }
    this.checkDepth(map);
    return map;
  }

  private seq(node: YAMLSeq): SeqNode {
    const seq: SeqNode = { type: 'seq', items: [], ...this.base(node, ['seq', 'omap', 'pairs']) };
    this.announce(seq);
    for (const item of node.items) {
      const composed = this.compose((item ?? emptyAt(node)) as Node, node.flow === true);
      this.checkValue(composed);
      seq.items.push(composed);
      seq.depth = Math.max(seq.depth, composed.depth + 1);
    }
    if (seq.tag === 'omap' || seq.tag === 'pairs') this.checkPairs(seq);
    this.checkDepth(seq);
    return seq;
  }

  private scalar(node: Scalar, inFlow: boolean): ScalarNode {
    // PyYAML takes a scalar with the tag ! alone as if it stood there plain, quotes or not.
    const style = node.tag === '!' ? 'plain' : styleOf(node);
    const token = node.srcToken;
    const source = token !== undefined && 'source' in token ? token.source : '';
    const text = textOf(node);
    const tagName = node.tag === '!' ? undefined : node.tag;
    const scalar: ScalarNode = {
      type: 'scalar',
      style,
      text,
      ...(style === 'quoted' && !/[\r\n\u0085]/.test(source) ? { source } : {}),
      ...this.base(node, undefined),
      value: this.typed(tagName, style, text),
    };
    this.announce(scalar);
    if (scalar.value.kind === 'invalid') {
      this.problems.push({
        offset: scalar.start,
        message: `PyYAML cannot read ${tagName === undefined ? '' : `${shortTag(tagName)} `}${shorten(text)}`,
        why: scalar.value.why,
        fix: `if it is text, put quotes around it: ${JSON.stringify(shorten(text))}`,
      });
    }
    if (inFlow && style === 'plain' && /^[:?]/.test(text)) {
      this.problems.push({
        offset: scalar.start,
        message: `Inside [ ] and { }, ${shorten(text)} needs quotes`,
        why: `PyYAML takes the ${text.charAt(0)} for the mark of a key or a value`,
        fix: `write ${JSON.stringify(shorten(text))}`,
      });
    }
    return scalar;
  }

  private typed(tag: string | undefined, style: ScalarNode['style'], text: string): ScalarValue {
    if (tag === undefined) return style === 'plain' ? resolvePlain(text) : { kind: 'str', value: text };
    const own = ownTag(tag);
    return own === undefined
      ? { kind: 'invalid', why: `safe_load does not know the tag ${shortTag(tag)}` }
      : resolveTagged(own, text);
  }

  private base(node: Node, tags: readonly string[] | undefined): NodeBase {
    const [start = 0, end = start] = node.range ?? [];
    const name = node.tag === '!' ? undefined : node.tag;
    const anchor = 'anchor' in node ? node.anchor : undefined;
    const tag = name === undefined ? undefined : ownTag(name);
    if (name !== undefined && tags !== undefined && !tags.includes(tag ?? '')) {
      this.problems.push({
        offset: start,
        message: `PyYAML cannot read a ${tags[0] === 'map' ? 'mapping' : 'list'} with the tag ${shortTag(name)}`,
        why: 'safe_load builds plain values only',
        fix: 'leave the tag out',
      });
    }
    return {
      start,
      end,
      depth: 0,
      ...(anchor === undefined ? {} : { anchor }),
      ...(tag === undefined ? {} : { tag }),
    };
  }

  /** Before the children, because a child may point back to its parent. */
  private announce(node: ContentNode): void {
    if (node.anchor !== undefined) this.anchors.set(node.anchor, node);
  }

  /** Answers whether the key can occur twice. */
  private checkKey(entry: MapEntry): boolean {
    if (isMerge(entry)) {
      if (mergeSources(entry).every((each) => each.type === 'map')) return false;
      this.problems.push({
        offset: entry.value.start,
        message: '<< takes a mapping, or a list of mappings',
        fix: 'point it to one, as in <<: *defaults; put quotes around << if it is meant as text',
      });
      return false;
    }
    this.checkValue(entry.value);
    const key = deref(entry.key);
    if (key.type === 'scalar') return true;
    this.problems.push({
      offset: entry.key.start,
      message: `A ${key.type === 'map' ? 'mapping' : 'list'} cannot be a key`,
      why: 'Python cannot hash it',
      fix: 'if this is a template like {{name}}, fill it in or put quotes around it',
    });
    return false;
  }

  private checkValue(node: YamlNode): void {
    if (node.type !== 'scalar' || node.value.kind !== 'merge') return;
    this.problems.push({
      offset: node.start,
      message: 'A plain << is a merge key, and cannot be a value',
      fix: 'put quotes around it: "<<"',
    });
  }

  private checkTwice(entry: MapEntry, seen: Map<string, YamlNode>): void {
    const id = identity(entry.key);
    const first = seen.get(id);
    if (first === undefined) {
      seen.set(id, entry.key);
      return;
    }
    const key = deref(entry.key);
    this.problems.push({
      offset: entry.key.start,
      otherOffset: first.start,
      message: `${key.type === 'scalar' ? shorten(key.text) : 'This key'} occurs twice in the same mapping`,
      why: 'only one of the two values could be used',
      fix: 'remove one of them',
    });
  }

  private checkPairs(seq: SeqNode): void {
    for (const item of seq.items.map(deref)) {
      if (item.type === 'map' && item.entries.length === 1) continue;
      this.problems.push({
        offset: item.start,
        message: `An item of !!${seq.tag} must be a mapping with one key`,
        fix: 'leave the tag out, or give every item one key',
      });
    }
  }

  private checkDepth(node: ContentNode): void {
    if (node.depth !== MAX_DEPTH) return;
    this.problems.push({
      offset: node.start,
      message: `The file is nested more than ${MAX_DEPTH} levels deep`,
      fix: 'check its brackets and its indentation',
    });
  }
}

function isMerge(entry: MapEntry): boolean {
  return entry.key.type === 'scalar' && entry.key.value.kind === 'merge';
}

/** Equal for keys that are equal in Python, where 1, 1.0 and True are one key. */
function identity(node: YamlNode): string {
  const key = deref(node);
  if (key.type !== 'scalar') return `node:${key.start}`;
  switch (key.value.kind) {
    case 'bool':
      return key.value.value ? 'number:1' : 'number:0';
    case 'int':
      return `number:${key.value.value}`;
    case 'float':
      return Number.isInteger(key.value.value)
        ? `number:${BigInt(key.value.value)}`
        : `float:${key.value.value}:${Number.isNaN(key.value.value) ? key.start : ''}`;
    case 'null':
      return 'null';
    case 'str':
      return `str:${key.value.value}`;
    default:
      return `${key.value.kind}:${key.text}`;
  }
}

function styleOf(node: Scalar): ScalarNode['style'] {
  if (node.type === 'QUOTE_DOUBLE' || node.type === 'QUOTE_SINGLE') return 'quoted';
  return node.type === 'BLOCK_FOLDED' || node.type === 'BLOCK_LITERAL' ? 'block' : 'plain';
}

function textOf(node: Scalar): string {
  const token = node.srcToken;
  const header =
    token?.type === 'block-scalar'
      ? token.props.find(({ type }) => type === 'block-scalar-header')
      : undefined;
  if (token?.type !== 'block-scalar' || header === undefined || !('source' in header))
    return node.source ?? '';
  return blockText(header.source, token.source, token.indent);
}

/**
 * The text of a `|` or `>` block by PyYAML's rules, which differ from the library's at the edges: a line of nothing
 * but spaces is text where it is longer than the indentation, and a last line without an end gets none.
 */
function blockText(header: string, source: string, parentIndent: number): string {
  const lines = source.split(/\r?\n/);
  const explicit = /[1-9]/.exec(header)?.[0];
  const indent =
    explicit === undefined ? blockIndent(lines, parentIndent) : Math.max(parentIndent, 0) + Number(explicit);
  const stripped = lines.map((line) => line.replace(new RegExp(`^ {0,${indent}}`), ''));
  const endsOpen = stripped.at(-1) !== '';
  if (!endsOpen) stripped.pop();
  const trailing = stripped.length - 1 - stripped.findLastIndex((line) => line !== '');
  const content = stripped.slice(0, stripped.length - trailing);
  const body = header.startsWith('>') ? fold(content) : content.join('\n');
  if (content.length === 0) return header.includes('+') ? '\n'.repeat(trailing) : '';
  if (header.includes('-') || endsOpen) return body;
  return `${body}\n${header.includes('+') ? '\n'.repeat(trailing) : ''}`;
}

/** The column of the first text; lines of spaces before it count too. */
function blockIndent(lines: readonly string[], parentIndent: number): number {
  const first = lines.findIndex((line) => line.trimStart() !== '');
  const head = first === -1 ? lines : lines.slice(0, first + 1);
  return Math.max(parentIndent + 1, 1, ...head.map((line) => line.length - line.replace(/^ +/, '').length));
}

/** Single line ends become spaces, except next to lines that are indented further. */
function fold(lines: readonly string[]): string {
  const isText = (line: string): boolean => line !== '' && !/^[ \t]/.test(line);
  let text = lines[0] ?? '';
  let previous = lines[0] ?? '';
  let breaks = 0;
  for (const line of lines.slice(1)) {
    if (line === '') {
      breaks += 1;
      continue;
    }
    // Empty lines ahead of the first text are kept as they are.
    const started = previous !== '';
    const folds = started && isText(previous) && isText(line);
    text += folds ? (breaks === 0 ? ' ' : '\n'.repeat(breaks)) : '\n'.repeat(breaks + 1);
    text += line;
    previous = line;
    breaks = 0;
  }
  return text;
}

function emptyAt(node: Node | null | undefined): { range: [number, number, number] } {
  const at = node?.range?.[1] ?? 0;
  return { range: [at, at, at] };
}

function emptyScalar(offset: number): ScalarNode {
  return {
    type: 'scalar',
    style: 'plain',
    text: '',
    value: { kind: 'null' },
    start: offset,
    end: offset,
    depth: 0,
  };
}

const OWN_TAG = 'tag:yaml.org,2002:';
const OWN_TAGS = [
  'null',
  'bool',
  'int',
  'float',
  'binary',
  'timestamp',
  'omap',
  'pairs',
  'set',
  'str',
  'seq',
  'map',
];

function ownTag(tag: string): string | undefined {
  const name = tag.startsWith(OWN_TAG) ? tag.slice(OWN_TAG.length) : '';
  return OWN_TAGS.includes(name) ? name : undefined;
}

function shortTag(tag: string): string {
  return tag.startsWith(OWN_TAG) ? `!!${tag.slice(OWN_TAG.length)}` : tag;
}

export function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** YAML 1.1 breaks lines at a carriage return and at NEL too. The same length, so that offsets stay true. */
function normaliseBreaks(text: string): string {
  return text.replaceAll(/\r(?!\n)|\u0085/g, '\n');
}

// What PyYAML's reader refuses, and two line breaks of YAML 1.1 that the library does not know.
// oxlint-disable-next-line no-control-regex -- control characters are what this looks for
const UNREADABLE =
  /[^\t\n\r\u0020-\u007e\u0085\u00a0-\u2027\u202a-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;

function unreadableCharacters(text: string): YamlProblem[] {
  return [...text.matchAll(UNREADABLE)].slice(0, 3).map((match) => {
    const code = `U+${(match[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
    return /[\u2028\u2029]/.test(match[0])
      ? {
          offset: match.index,
          message: `The file has an invisible line separator (${code}) here`,
          why: 'YAML 1.1 takes it for the end of the line',
          fix: `remove it, or write it as \\u${code.slice(2).toLowerCase()} in double quotes`,
        }
      : {
          offset: match.index,
          message: `The file has a control character (${code}) here`,
          why: 'YAML is printable text',
          fix: `remove it, or write it as \\u${code.slice(2).toLowerCase()} in double quotes`,
        };
  });
}

interface LibraryError {
  readonly code: string;
  readonly message: string;
  readonly pos: readonly [number, number];
}

/** The library's words, or plainer ones where people meet the error often. */
function syntaxProblem(text: string, { code, message, pos }: LibraryError): YamlProblem {
  const quote = /^Missing closing (["'])/.exec(message)?.[1];
  if (quote !== undefined) {
    // The library notices at the end of the file; what has to be mended is where the quote opens.
    const offset = Math.max(0, text.lastIndexOf(quote, pos[0] - 1));
    return { offset, message: `This ${quote} is never closed`, fix: `close it with another ${quote}` };
  }
  if (code === 'BAD_INDENT' && message.startsWith('Flow')) {
    return {
      offset: pos[0],
      message: 'The bracket ahead of this place is not closed, or its lines are not indented',
      fix: 'close it, and indent its lines further than its key',
    };
  }
  return { offset: pos[0], ...(PLAINER[code] ?? { message }) };
}

const PLAINER: Readonly<Record<string, Problem>> = {
  TAB_AS_INDENT: {
    message: 'This line is indented with a tab',
    why: 'YAML is indented with spaces',
    fix: 'replace the tab by spaces',
  },
  BLOCK_AS_IMPLICIT_KEY: {
    message: 'A second "key:" stands here, where a value was expected',
    fix: 'put quotes around a value that has ": " in it, and give the keys of one mapping the same indentation',
  },
  MULTILINE_IMPLICIT_KEY: {
    message: 'This key goes over several lines',
    fix: 'give the keys of one mapping the same indentation, and close every quote and bracket',
  },
  MULTIPLE_DOCS: {
    message: 'A second document starts here',
    why: 'a run file describes one run',
    fix: 'remove the --- line, or put the rest into a file of its own',
  },
  RESOURCE_EXHAUSTION: {
    message: `The file is nested more than ${MAX_DEPTH} levels deep`,
    fix: 'check its brackets and its indentation',
  },
};

/** One mistake makes the library report several errors around it; the first of a line tells the most. */
function firstPerLine(text: string, problems: readonly YamlProblem[]): YamlProblem[] {
  const lines = new Set<number>();
  return problems
    .toSorted((a, b) => a.offset - b.offset)
    .filter(({ offset }) => {
      const lineStart = text.lastIndexOf('\n', offset - 1);
      const isFirst = !lines.has(lineStart);
      lines.add(lineStart);
      return isFirst;
    })
    .slice(0, 10);
}
