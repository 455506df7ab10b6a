/** What a command answers with: its exit code. */
type Handler = () => Promise<number>;

/** How a command is run once its flags are read. */
export type Dispatch = (handler: Handler) => Promise<void>;
