/** Tables as mcli prints them: no borders, upper-case heads, two spaces between columns. */
import { printableLine } from './printable.ts';

export interface Column<Row> {
  readonly head: string;
  readonly value: (row: Row) => string;
}

export function renderTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const lines = [
    columns.map(({ head }) => head),
    ...rows.map((row) => columns.map(({ value }) => value(row))),
  ];
  return alignColumns(lines);
}

/** Columns as wide as their widest cell; nothing behind the last one. */
export function alignColumns(cells: readonly (readonly string[])[]): string {
  const lines = cells.map((line) => line.map(printableLine));
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(...lines.map((line) => (line[column] ?? '').length)),
  );
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
