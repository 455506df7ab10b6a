/**
 * `node scripts/picture-mlflow.ts ADDRESS FILE`: pictures of a run's entry in MLflow, at the address that
 * `mcli describe run` shows, for the documents. Needs a Chromium, named by CHROMIUM_BIN or installed from the
 * distribution.
 */
import { chromium } from 'playwright-core';

const SETTLE_MS = 4_000;

const [address, file] = process.argv.slice(2);
if (address === undefined || file === undefined) {
  console.error('✗ usage: node scripts/picture-mlflow.ts ADDRESS FILE');
  process.exit(2);
}
const browser = await chromium.launch({
  executablePath: process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
});
try {
  const page = await browser.newPage({ viewport: { width: 1400, height: 1100 } });
  await page.goto(address);
  await page.getByText('Model training').first().click();
  await page.getByText('Run Name').first().waitFor();
  await page.goto(address);
  await page.getByText('Parameters').first().waitFor();
  // Tables and curves are drawn last.
  await page.waitForTimeout(SETTLE_MS);
  await page.screenshot({ path: file });
  await page.goto(`${address}/model-metrics`);
  await page.waitForTimeout(SETTLE_MS);
  await page.screenshot({ path: file.replace(/\.png$/, '-metrics.png') });
} finally {
  await browser.close();
}
