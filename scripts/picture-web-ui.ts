/**
 * `node scripts/picture-web-ui.ts RUN FILE`: a picture of a run of the local stack in Temporal's Web UI, for the
 * documents. Needs a Chromium, named by CHROMIUM_BIN or installed from the distribution.
 */
import { chromium } from 'playwright-core';
import { NAMESPACE } from '../core/naming.ts';
import { ensureStack } from '../stack/local-stack.ts';

const SETTLE_MS = 4_000;

const [run, file] = process.argv.slice(2);
if (run === undefined || file === undefined) {
  console.error('✗ usage: node scripts/picture-web-ui.ts RUN FILE');
  process.exit(2);
}
const { webUiUrl } = await ensureStack({ env: process.env, say: console.error });
const browser = await chromium.launch({
  executablePath: process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
});
try {
  const page = await browser.newPage({ viewport: { width: 1400, height: 1100 } });
  await page.goto(`${webUiUrl}/namespaces/${NAMESPACE}/workflows/${run}`);
  // The timeline shows the summaries of the activities; it is drawn last.
  await page.getByText('wait-for-capacity').first().waitFor();
  await page.screenshot({ path: file });
  // A click that comes before the page is at rest is lost.
  await page.waitForTimeout(SETTLE_MS);
  await page.getByText('User Metadata').first().click();
  await page.waitForTimeout(SETTLE_MS);
  await page.screenshot({ path: file.replace(/\.png$/, '-details.png') });
} finally {
  await browser.close();
}
