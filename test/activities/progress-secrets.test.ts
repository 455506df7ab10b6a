import { describe, expect, it } from 'vitest';
import { withoutSecrets } from '../../activities/progress-secrets.ts';
import { parseReport } from '../../core/progress.ts';
import type { ProgressLines } from '../../core/progress.ts';
import { createSecretMask } from '../../core/secret-mask.ts';

const mask = createSecretMask(['hunter2-hunter2']);
const lines = (report: object, problem?: string): ProgressLines => {
  const parsed = parseReport(JSON.stringify(report)).report;
  return { reports: parsed ? [parsed] : [], at: 1, ...(problem !== undefined && { problem }) };
};

describe('reports of a run', () => {
  it('are left as they are where no secret is in them', () => {
    const harmless = lines({ step: 3, metrics: { loss: 1 }, links: { docs: 'https://d.example' } });
    expect(withoutSecrets(harmless, mask)).toBe(harmless);
  });

  it('lose links that hold one, in whatever form, and say so', () => {
    const links = {
      plain: 'https://ann:hunter2-hunter2@m.example',
      encoded: `https://m.example?token=${Buffer.from('hunter2-hunter2').toString('base64')}`,
      docs: 'https://d.example',
    };
    expect(withoutSecrets(lines({ step: 3, links }), mask)).toMatchObject({
      reports: [{ step: 3, links: { docs: 'https://d.example' } }],
      problem: 'The link encoded is not shown, since it holds the value of a secret.',
    });
  });

  it('show stars in names and in what was wrong', () => {
    const named = lines({ metrics: { 'loss of hunter2-hunter2': 1 } }, '"hunter2-hunter2" is no number.');
    expect(withoutSecrets(named, mask)).toMatchObject({
      reports: [{ metrics: { 'loss of ***': 1 } }],
      problem: '"***" is no number.',
    });
  });
});
