// An editor at work: a real browser, logged in, that fills in Drupal's forms.
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { findProgram } from '../support/daemon.ts';

const CHROMIUM = ['chromium', 'chromium-browser', 'google-chrome'];
// A browser under test has nobody to talk to but the site.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** For `needs`: no browser. */
export function lacksBrowser(): string | undefined {
  return findProgram(...CHROMIUM) === undefined ? 'Chromium is not installed' : undefined;
}

export function startBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: findProgram(...CHROMIUM) ?? 'chromium', args: FLAGS });
}

/** What an article is made of; files are paths on this machine. */
export interface Article {
  title: string;
  image?: string;
  /** Put into the text by the editor's button. */
  inline?: string;
  secret?: string;
  huge?: string;
  /** Put in by the media library. */
  media?: string;
  published?: boolean;
}

export class Editor {
  readonly page: Page;
  readonly #context: BrowserContext;

  private constructor(context: BrowserContext, page: Page) {
    this.#context = context;
    this.page = page;
  }

  /** Logs in; name and password are the same. */
  static async logIn(browser: Browser, site: string, name: string): Promise<Editor> {
    const context = await browser.newContext({ viewport: { width: 1400, height: 1400 } });
    context.setDefaultTimeout(60_000);
    const page = await context.newPage();
    await page.goto(`${site}/user/login`);
    await page.fill('#edit-name', name);
    await page.fill('#edit-pass', name);
    await page.click('#edit-submit');
    await page.waitForURL(/\/user\/\d+/);
    return new Editor(context, page);
  }

  /** Writes an article. Returns its path. Fails if the site shows an error. */
  async write(site: string, article: Article): Promise<string> {
    const { page } = this;
    await page.goto(`${site}/node/add/article`);
    await page.fill('[name="title[0][value]"]', article.title);
    if (article.image) await this.#addImage(article.image);
    if (article.inline) await this.#addInline(article.inline);
    if (article.secret) await this.#addFile('field_secret', article.secret);
    if (article.huge) await this.#addFile('field_huge', article.huge);
    if (article.media) await this.#addMedia(article.media);
    if (article.published === false) await page.uncheck('[name="status[value]"]');
    // By the keyboard: the editor's balloon closes under a mouse, and the button moves away from it.
    await page.press('#edit-submit', 'Enter');
    await page.waitForURL(/\/node\/\d+$/, { timeout: 120_000 });
    await this.#expectNoError();
    return new URL(page.url()).pathname;
  }

  async #addImage(file: string): Promise<void> {
    await this.page.setInputFiles('[name="files[field_image_0]"]', file);
    await this.page.fill('[name="field_image[0][alt]"]', 'What it shows');
  }

  async #addInline(file: string): Promise<void> {
    const choosing = this.page.waitForEvent('filechooser');
    await this.page.click('[data-cke-tooltip-text^="Upload image"]');
    await (await choosing).setFiles(file);
    // Until the upload has ended the image is shown from the browser's memory.
    await this.page.waitForSelector('.ck-content img[src*="/inline-images/"]');
  }

  async #addFile(field: string, file: string): Promise<void> {
    await this.page.setInputFiles(`[name="files[${field}_0][]"]`, file);
    await this.page.waitForSelector(`[name="${field}_0_remove_button"]`, { timeout: 300_000 });
  }

  async #addMedia(file: string): Promise<void> {
    const { page } = this;
    await page.click('[name="field_media-media-library-open-button"]');
    const dialog = page.locator('.ui-dialog');
    await dialog.locator('input[type=file]').setInputFiles(file);
    await dialog.locator('[name="media[0][fields][field_media_image][0][alt]"]').fill('What it shows');
    await dialog.locator('.ui-dialog-buttonpane button', { hasText: 'Save' }).first().click();
    await dialog.locator('.ui-dialog-buttonpane button', { hasText: 'Insert selected' }).click();
    await page.waitForSelector('[data-drupal-selector="edit-field-media"] .media-library-item img');
  }

  /** Deletes a file for good. */
  async deleteFile(site: string, fid: string): Promise<void> {
    await this.page.goto(`${site}/file/${fid}/delete?destination=/admin/content/files`);
    await this.page.click('#edit-submit');
    await this.page.waitForLoadState();
    await this.#expectNoError();
  }

  /** Opens a page; returns the addresses of its images, all of which must be shown. */
  async images(url: string): Promise<string[]> {
    await this.page.goto(url, { waitUntil: 'networkidle' });
    const images = await this.page.$$eval('main img', (all) =>
      (all as unknown as { currentSrc: string; naturalWidth: number; loading: string }[]).map((image) => ({
        url: image.currentSrc,
        shown: image.naturalWidth > 0,
      })),
    );
    const broken = images.filter(({ shown }) => !shown).map(({ url }) => url);
    if (broken.length > 0) throw new Error(`the page ${url} has broken images: ${broken.join(', ')}`);
    return images.map(({ url }) => url);
  }

  /** Asks as the logged-in user. */
  async get(url: string): Promise<{ status: number; bytes: Buffer }> {
    const answer = await this.#context.request.get(url);
    return { status: answer.status(), bytes: await answer.body() };
  }

  async #expectNoError(): Promise<void> {
    const errors = await this.page.locator('.messages--error').allInnerTexts();
    if (errors.length > 0) throw new Error(`the editor saw: ${errors.join(' ')}`);
  }

  /** A picture of what the editor sees, for a failed test. */
  screenshot(path: string): Promise<unknown> {
    return this.page.screenshot({ path, fullPage: true });
  }

  close(): Promise<void> {
    return this.#context.close();
  }
}
