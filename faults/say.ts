/** What the suite tells while it works. */
export function say(line: string): void {
  console.error(`${new Date().toISOString().slice(11, 23)} ${line}`);
}
