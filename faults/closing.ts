/** Takes down what was built, once, whoever asks for it: the end of the suite, a signal, an error somewhere. */
export class Closing {
  private readonly closers: (() => Promise<unknown>)[] = [];
  private underWay: Promise<void> | undefined;

  /** What was built later is taken down earlier. */
  add(close: () => Promise<unknown>): void {
    this.closers.push(close);
  }

  get hasBegun(): boolean {
    return this.underWay !== undefined;
  }

  /** Resolves when all is down, be it asked for once or twice. */
  all(): Promise<void> {
    this.underWay ??= this.closeEach();
    return this.underWay;
  }

  private async closeEach(): Promise<void> {
    for (let close = this.closers.pop(); close; close = this.closers.pop()) {
      await close().catch((error: unknown) => console.error(error));
    }
  }
}
