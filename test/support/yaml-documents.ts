/** Generated YAML in every style that a person or a program might write it. */
import * as fc from 'fast-check';

/** The text of a file's `parameters` field, now and then with fields before it that carry anchors. */
export function yamlDocument(): fc.Arbitrary<string> {
  return fc
    .record({ tree: fc.oneof(blockMap(3), blockMap(2)), before: fc.option(blockMap(1), { freq: 3 }) })
    .map(({ tree, before }) => {
      const writer = new Writer();
      const earlier = before === null ? '' : `x-shared:\n${writer.block(before, 2)}\n`;
      return `${earlier}parameters:\n${writer.block(tree, 2)}\n`;
    });
}

type Node =
  | { readonly type: 'plain' | 'single' | 'double'; readonly text: string; readonly tag?: string }
  | { readonly type: 'literal' | 'folded'; readonly lines: readonly string[]; readonly chomping: string }
  | { readonly type: 'flow'; readonly items: readonly Node[] }
  | { readonly type: 'flowMap'; readonly entries: readonly (readonly [Node, Node])[] }
  | { readonly type: 'seq'; readonly items: readonly Node[] }
  | Map
  | { readonly type: 'anchor'; readonly name: string; readonly node: Node }
  | { readonly type: 'alias'; readonly index: number };

interface Map {
  readonly type: 'map';
  readonly entries: readonly (readonly [Node, Node])[];
  readonly comment: boolean;
}

const PLAIN = [
  '1e-4', '1.0e-4', '012', '0o17', '1:30', '190:20:30', 'on', 'off', 'Yes', 'n', '~', 'null', '', '.inf', '-.INF',
  '.nan', '2020-01-01', '2001-12-14 21:59:43.1 -5', '1_000', '0x1F', '0b11', '123456789012345678901', 'a b  c',
  's3://b/k', '${x}', 'a#b', "it's", 'x"y', '-1', '+1.5', '1.', '.5', '1.10', 'é 日本', '😀', 'None', 'True', '-x',
  'a:b', 'x, y', '[', '0', '00', '09', '1e5', 'word', '8 GPUs', '50%', 'a=b', 'C:\\dir', '.', '..', '<<x', '~x',
]; // prettier-ignore

/** In brackets, fewer characters are free. */
const FLOW_PLAIN = PLAIN.filter((text) => !/[,[\]{}?]|^$/.test(text));

function scalar(): fc.Arbitrary<Node> {
  const line = fc.oneof(
    fc.constantFrom(...PLAIN, 'a: b', '# c', ' lead', 'trail ', '\t', '', '- x', "''", '\\'),
    fc.string({ maxLength: 12 }),
    fc.string({ unit: 'grapheme', maxLength: 6 }),
  );
  const lines = fc.array(line, { minLength: 1, maxLength: 5 });
  return fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom(...PLAIN.filter((text) => text !== '[')).map(plain) },
    { weight: 1, arbitrary: fc.constantFrom(['!!str', '012'], ['!!int', '7'], ['!!float', '1'], ['!!str', 'on'], ['!!binary', 'aGk=']).map(([tag = '', text = '']) => ({ type: 'plain' as const, text, tag })) },
    { weight: 2, arbitrary: line.map((text) => ({ type: 'single' as const, text })) },
    { weight: 2, arbitrary: lines.map((each) => ({ type: 'double' as const, text: each.join('\n') })) },
    { weight: 2, arbitrary: block('literal', lines) },
    { weight: 2, arbitrary: block('folded', lines) },
  ); // prettier-ignore
}

function block(type: 'literal' | 'folded', lines: fc.Arbitrary<string[]>): fc.Arbitrary<Node> {
  return fc.record({ type: fc.constant(type), lines, chomping: fc.constantFrom('', '-', '+') });
}

function plain(text: string): Node {
  return { type: 'plain', text };
}

function key(): fc.Arbitrary<Node> {
  return fc.oneof(
    { weight: 6, arbitrary: fc.stringMatching(/^[a-z_]{1,6}$/).map(plain) },
    {
      weight: 1,
      arbitrary: fc.constantFrom('012', 'on', '1.5', '2020-01-01', 'null', '1:30', 'a b', '-k').map(plain),
    },
    { weight: 1, arbitrary: fc.string({ maxLength: 8 }).map((text) => ({ type: 'double' as const, text })) },
  );
}

function blockMap(depth: number): fc.Arbitrary<Map> {
  return fc
    .record({
      entries: fc.uniqueArray(fc.tuple(key(), node(depth)), {
        minLength: 1,
        maxLength: 5,
        selector: ([name]) => JSON.stringify('text' in name ? name.text : name),
      }),
      comment: fc.boolean(),
    })
    .map((map) => ({ type: 'map' as const, ...map }));
}

function node(depth: number): fc.Arbitrary<Node> {
  if (depth === 0) return scalar();
  const flowScalar = fc.oneof(
    fc.constantFrom(...FLOW_PLAIN).map(plain),
    fc.string({ maxLength: 8 }).map((text) => ({ type: 'double' as const, text })),
  );
  const flow = fc.array(flowScalar, { maxLength: 4 }).map((items) => ({ type: 'flow' as const, items }));
  const flowMap = fc
    .uniqueArray(fc.tuple(fc.stringMatching(/^[a-z]{1,4}$/).map(plain), fc.oneof(flowScalar, flow)), {
      maxLength: 3,
      selector: ([each]) => JSON.stringify(each),
    })
    .map((entries) => ({ type: 'flowMap' as const, entries }));
  return fc.oneof(
    { weight: 5, arbitrary: scalar() },
    { weight: 1, arbitrary: flow },
    { weight: 1, arbitrary: flowMap },
    { weight: 2, arbitrary: blockMap(depth - 1) },
    { weight: 2, arbitrary: fc.array(node(depth - 1), { minLength: 1, maxLength: 4 }).map((items) => ({ type: 'seq' as const, items })) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('anchor' as const), name: fc.constantFrom('a', 'b', 'c'), node: fc.oneof(scalar(), flowMap, blockMap(depth - 1)) }) },
    { weight: 1, arbitrary: fc.nat({ max: 5 }).map((index) => ({ type: 'alias' as const, index })) },
  ); // prettier-ignore
}

/** Knows which anchors are there, so that every alias has one. */
class Writer {
  private readonly anchors: { readonly name: string; readonly isMap: boolean }[] = [];

  block(map: Map, indent: number): string {
    const pad = ' '.repeat(indent);
    return map.entries
      .map(([name, value]) => `${pad}${this.inline(name)}:${this.after(value, indent)}`)
      .join(map.comment ? `\n${pad}# a comment\n` : '\n');
  }

  /** What follows a key or a dash. */
  private after(value: Node, indent: number, properties = ''): string {
    const space = properties === '' ? ' ' : ` ${properties} `;
    const pad = ' '.repeat(indent + 2);
    switch (value.type) {
      case 'map':
        return `${space.trimEnd()}\n${this.block(value, indent + 2)}`;
      case 'seq':
        return `${space.trimEnd()}\n${value.items.map((item) => `${pad}-${this.after(item, indent + 2)}`).join('\n')}`;
      case 'literal':
      case 'folded':
        return `${space}${value.type === 'literal' ? '|' : '>'}2${value.chomping}\n${this.lines(value.lines, pad)}`;
      case 'anchor': {
        const text = this.after(value.node, indent, `&${value.name}`);
        this.anchors.push({
          name: value.name,
          isMap: value.node.type === 'map' || value.node.type === 'flowMap',
        });
        return text;
      }
      default:
        return `${space}${this.inline(value)}`;
    }
  }

  private lines(lines: readonly string[], pad: string): string {
    const printable = lines.flatMap((line) => line.replaceAll(UNPRINTABLE, '.').split('\n'));
    return printable.map((line) => (line === '' ? '' : `${pad}${line}`)).join('\n');
  }

  private inline(value: Node): string {
    switch (value.type) {
      case 'plain':
        return `${value.tag === undefined ? '' : `${value.tag} `}${value.text}`;
      case 'single':
        return `'${value.text.replaceAll(UNPRINTABLE, '.').replaceAll("'", "''").replaceAll('\n', ' ')}'`;
      case 'double':
        return JSON.stringify(value.text).replaceAll(UNPRINTABLE, '.');
      case 'flow':
        return `[${value.items.map((item) => this.inline(item)).join(', ')}]`;
      case 'flowMap':
        return `{${value.entries.map(([name, item]) => `${this.inline(name)}: ${this.inline(item)}`).join(', ')}}`;
      case 'alias': {
        const anchor = this.anchors[value.index % Math.max(1, this.anchors.length)];
        // A later anchor of the same name hides the earlier one: either way the alias is defined.
        return anchor === undefined ? 'no-anchor-yet' : `*${anchor.name}`;
      }
      default:
        return 'not-inline';
    }
  }
}

// oxlint-disable-next-line no-control-regex -- control characters are what this looks for
const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]/g;
