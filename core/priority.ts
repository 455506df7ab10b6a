/** Priority classes, highest first. `auto` and `standard` of older files mean `medium`. */
export const PRIORITIES = ['highest', 'high', 'medium', 'low', 'lowest'] as const;
export type Priority = (typeof PRIORITIES)[number];

const ALIASES: Readonly<Record<string, Priority>> = { auto: 'medium', default: 'medium', standard: 'medium' };

export function parsePriority(text: string): Priority | undefined {
  const word = text.toLowerCase();
  return PRIORITIES.find((priority) => priority === word) ?? ALIASES[word];
}

/** 0 is the most urgent: a sort key. */
export function priorityRank(priority: Priority): number {
  return PRIORITIES.indexOf(priority);
}
