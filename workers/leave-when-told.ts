/**
 * The SDK takes SIGTERM and SIGINT over as soon as it is there, and tells workers only: a process that has none yet, since
 * it waits for its servers, would sit them out until it is killed.
 */
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/** Ends the process on a signal. @returns to be called when a worker runs, which leaves in good order */
export function leaveWhenTold(): () => void {
  const leave = (): void => process.exit();
  for (const name of SIGNALS) process.on(name, leave);
  return () => {
    for (const name of SIGNALS) process.off(name, leave);
  };
}
