// The way of a live site: old directory, copy, switch, store, pull, switch back; step by step, then all at once under
// load.
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { giveToPool } from '../support/web-head.ts';
import type { Head } from './head.ts';
import type { Rig } from './rig.ts';
import { entry, publicPath } from './site.ts';

const SCRIPT = 'files-over-http.php';

/** Does something with a file in a web request of a head. */
export async function operate(
  head: Head,
  op: string,
  uri: string,
  more: { data?: string; to?: string } = {},
): Promise<{ status: number; result: unknown }> {
  const body = new URLSearchParams({ op, uri, ...more });
  const answer = await fetch(`${head.url('nginx')}/${SCRIPT}`, { method: 'POST', body });
  const text = await answer.text();
  try {
    return { status: answer.status, result: JSON.parse(text) };
  } catch {
    return { status: answer.status, result: text.slice(0, 2000) };
  }
}

/** What `drush cistern:copy-local` and `cistern:pull` do, and print. */
export async function pass(head: Head, way: 'copyIn' | 'copyOut'): Promise<Record<string, number>> {
  const printed = await head.run(`$sum = new \\Cistern\\Moving\\Report();
    foreach (\\Drupal::service('cistern.mover')->${way}(new \\Cistern\\Moving\\Limits()) as $report) $sum->add($report);
    echo json_encode(array_filter(['copied' => $sum->copied, 'replaced' => $sum->replaced, 'removed' => $sum->removed,
      'gone' => $sum->gone, 'left' => $sum->left]) + ['failed' => $sum->failed]);`);
  return JSON.parse(printed);
}

/** What `drush cistern:switch` does. */
export function switchTo(head: Head, side: string, more = 'TRUE, FALSE, 1.0'): Promise<string> {
  return head.run(`$switcher = \\Drupal::service('cistern.switcher');
    if ('${side}' === 'read-only') $switcher->readOnly(1.0, fn() => NULL);
    else $switcher->to('${side}', ${more}, fn() => NULL);
    $flag = $switcher->state(); echo "$flag[side] $flag[writes]";`);
}

export async function prepareSwitching(rig: Rig): Promise<void> {
  for (const head of rig.heads) {
    copyFileSync(new URL(`php/${SCRIPT}`, import.meta.url).pathname, join(head.documentRoot, SCRIPT));
  }
  await rig.heads[0].run("\\Drupal::service('module_installer')->install(['cistern']);");
  for (const head of rig.heads) {
    await head.run("drupal_flush_all_caches(); \\Drupal::service('cistern.heads')->tell();");
  }
}

export function switching(rig: () => Rig): void {
  describe('a site that moves', () => {
    const old = (path: string) => join(rig().oldDirectory('public'), path);
    const writeOld = (path: string, text: string | Buffer) => {
      mkdirSync(dirname(old(path)), { recursive: true });
      writeFileSync(old(path), text);
      giveToPool(dirname(old(path)));
      giveToPool(old(path));
    };
    const get = async (head: Head, uri: string) => {
      const answer = await fetch(head.url('nginx') + publicPath(uri));
      return [answer.status, answer.status === 200 ? await answer.text() : ''];
    };
    const heads = () => rig().heads;

    beforeAll(() => prepareSwitching(rig()));

    it('begins in its old directory, on all heads', async () => {
      const [a, b] = heads();
      expect(await operate(a, 'side', '')).toMatchObject({ result: 'Cistern\\Drupal\\OldPublicStream' });
      expect(await operate(a, 'put', 'public://m/one.csv', { data: 'one' })).toMatchObject({ status: 200 });
      expect(readFileSync(old('m/one.csv'), 'utf8')).toBe('one');
      expect(await get(b, 'public://m/one.csv')).toEqual([200, 'one']);
      expect(await operate(b, 'append', 'public://m/one.csv', { data: '+' })).toMatchObject({ result: 1 });
      expect(await get(a, 'public://m/one.csv')).toEqual([200, 'one+']);
      expect(await entry(rig().cluster, 'public/m/one.csv')).toBeUndefined();
      const range = await fetch(a.url('nginx') + publicPath('public://m/one.csv'), {
        headers: { range: 'bytes=1-2' },
      });
      expect([range.status, await range.text()]).toEqual([206, 'ne']);
      await operate(a, 'image', 'public://m/logo.png');
      const style = String((await operate(a, 'style', 'public://m/logo.png')).result);
      for (const head of heads()) {
        const answer = await fetch(head.url('nginx') + style);
        expect([answer.status, answer.headers.get('content-type')]).toEqual([
          200,
          expect.stringMatching(/^image/),
        ]);
      }
      expect(await entry(rig().cluster, 'public/styles')).toBeUndefined();
    });

    it.each(['local', 'store'])('looks at everything on the side %s', async (side) => {
      const [a, b] = heads();
      if (side === 'store') await switchTo(a, 'store');
      const printed = await b.run(`$found = [];
        foreach (\\Drupal::service('cistern.checks')->run() as $check) $found[$check->id] = "$check->state $check->found";
        echo json_encode($found);`);
      const found = JSON.parse(printed) as Record<string, string>;
      expect(Object.values(found).filter((text) => !text.startsWith('ok '))).toEqual([]);
      expect(found.old).toContain(side === 'local' ? 'The site works in /' : 'works in the store');
      if (side === 'store') expect(await switchTo(b, 'local')).toBe('local yes');
    });

    it('is copied while it is at work, without what must not be published', async () => {
      const [a] = heads();
      for (let i = 0; i < 20; i++) await operate(a, 'put', `public://m/${i}.csv`, { data: `file ${i}` });
      writeOld('private/hidden.csv', 'never');
      writeOld('closed/.htaccess', 'Require all denied');
      writeOld('closed/x.csv', 'never');
      expect(await pass(a, 'copyIn')).toMatchObject({ failed: [] });
      await operate(a, 'put', 'public://m/1.csv', { data: 'changed' });
      await operate(a, 'delete', 'public://m/2.csv');
      expect(await pass(a, 'copyIn')).toEqual({ replaced: 1, removed: 1, failed: [] });
      expect(await pass(a, 'copyIn')).toEqual({ failed: [] });
      for (const key of ['private/hidden.csv', 'closed/x.csv', '.htaccess']) {
        expect(await entry(rig().cluster, `public/${key}`)).toBeUndefined();
      }
      // These are local to the old directory, and not served from there either.
      expect((await get(a, 'public://closed/x.csv'))[0]).not.toBe(200);
    });

    it('refuses every write while it is read-only, on either side', async () => {
      const [a, b] = heads();
      expect(await switchTo(a, 'read-only')).toBe('local no');
      const refused = await operate(b, 'put', 'public://m/no.csv', { data: 'no' });
      expect([refused.status, String(refused.result)]).toEqual([500, expect.stringContaining('read-only')]);
      expect(existsSync(old('m/no.csv'))).toBe(false);
      expect(await get(b, 'public://m/1.csv')).toEqual([200, 'changed']);
      expect(await switchTo(a, 'local')).toBe('local yes');
      expect(await operate(b, 'put', 'public://m/yes.csv', { data: 'yes' })).toMatchObject({ status: 200 });
    });

    it('goes to the store on all heads at once, with the changes since the last copy', async () => {
      const [a, b] = heads();
      await operate(b, 'put', 'public://m/late.csv', { data: 'late' });
      await operate(b, 'delete', 'public://m/3.csv');
      expect(await switchTo(a, 'store')).toBe('store yes');
      for (const head of heads()) {
        expect(await operate(head, 'side', '')).toMatchObject({ result: 'Cistern\\Drupal\\PublicStream' });
        expect(await get(head, 'public://m/late.csv')).toEqual([200, 'late']);
        expect((await get(head, 'public://m/3.csv'))[0]).toBe(404);
      }
      expect(await entry(rig().cluster, 'public/m/late.csv')).toBeDefined();
      await operate(a, 'put', 'public://m/new.csv', { data: 'new' });
      expect(existsSync(old('m/new.csv'))).toBe(false);
      expect(await get(b, 'public://m/new.csv')).toEqual([200, 'new']);
    });

    it('reads what is not copied yet, and brings nothing back that the site has deleted', async () => {
      const [a, b] = heads();
      for (const name of ['read', 'delete', 'unlink', 'replace', 'rename', 'append', 'taken'])
        writeOld(`t/${name}.csv`, `old ${name}`);
      expect(await get(a, 'public://t/read.csv')).toEqual([200, 'old read']);
      expect((await operate(b, 'read', 'public://t/read.csv')).result).toBe('old read');
      expect((await operate(b, 'readdir', 'public://t')).result).toHaveLength(7);
      expect((await operate(b, 'names', 'public://t')).result).toHaveLength(7);
      expect((await operate(a, 'unique', 'public://t/taken.csv', { data: 'x' })).result).toBe(
        'public://t/taken_0.csv',
      );
      expect(
        await a.run("\\Drupal\\file\\Entity\\File::create(['uri' => 'public://t/delete.csv'])->delete();"),
      ).toBe('');
      await a.run("\\Drupal::service('file_system')->delete('public://t/delete.csv');");
      expect((await operate(a, 'unlink', 'public://t/unlink.csv')).result).toBe(true);
      await operate(a, 'put', 'public://t/replace.csv', { data: 'new replace' });
      await a.run("\\Drupal::service('file_system')->move('public://t/rename.csv', 'public://t/other.csv');");
      await operate(a, 'append', 'public://t/append.csv', { data: '+' });
      const seen = async (head: Head) => {
        const names = (await operate(head, 'readdir', 'public://t')).result as string[];
        const pairs = names
          .sort()
          .map(async (name) => [name, (await operate(head, 'read', `public://t/${name}`)).result]);
        return Object.fromEntries(await Promise.all(pairs));
      };
      const expected = {
        'append.csv': 'old append+',
        'other.csv': 'old rename',
        'read.csv': 'old read',
        'replace.csv': 'new replace',
        'taken.csv': 'old taken',
        'taken_0.csv': 'x',
      };
      for (const head of heads()) expect(await seen(head)).toEqual(expected);
      expect(await pass(b, 'copyIn')).toMatchObject({ copied: 2, failed: [] });
      for (const head of heads()) expect(await seen(head)).toEqual(expected);
      for (const name of ['delete', 'unlink', 'rename'])
        expect((await get(b, `public://t/${name}.csv`))[0]).toBe(404);
    });

    it('shows images in a text whose sizes only the old directory tells', async () => {
      const [a] = heads();
      writeOld('t/inline.png', readFileSync(join(a.documentRoot, 'core/misc/druplicon.png')));
      const page =
        await a.run(`$file = \\Drupal\\file\\Entity\\File::create(['uri' => 'public://t/inline.png']);
        $file->setPermanent();
        $file->save();
        $img = '<img alt="" data-entity-type="file" data-entity-uuid="' . $file->uuid() . '" src="' . $file->createFileUrl() . '">';
        $node = \\Drupal\\node\\Entity\\Node::create(['type' => 'page', 'title' => 'Inline', 'status' => 1, 'body' => ['value' => $img, 'format' => 'full_html']]);
        $node->save();
        echo '/node/', $node->id();`);
      for (const head of heads()) {
        await head.run("\\Drupal\\Core\\Cache\\Cache::invalidateTags(['rendered']);");
        const answer = await fetch(head.url('nginx') + page);
        const [image] = /<img[^>]*inline\.png[^>]*>/.exec(await answer.text()) ?? [];
        expect([answer.status, image]).toEqual([200, expect.stringContaining('width="88" height="100"')]);
      }
      expect(await entry(rig().cluster, 'public/t/inline.png')).toBeUndefined();
    });

    it('goes back to its old directory, which then is what the store was', async () => {
      const [a, b] = heads();
      await operate(a, 'delete', 'public://m/5.csv');
      expect(await pass(a, 'copyOut')).toMatchObject({ failed: [] });
      await operate(b, 'put', 'public://m/6.csv', { data: 'at last' });
      await operate(b, 'delete', 'public://m/7.csv');
      expect(await switchTo(b, 'local')).toBe('local yes');
      for (const head of heads()) {
        expect(await operate(head, 'side', '')).toMatchObject({ result: 'Cistern\\Drupal\\OldPublicStream' });
        expect(await get(head, 'public://m/6.csv')).toEqual([200, 'at last']);
        expect(await get(head, 'public://m/new.csv')).toEqual([200, 'new']);
        for (const gone of ['m/5', 'm/7', 't/delete', 't/rename'])
          expect((await get(head, `public://${gone}.csv`))[0]).toBe(404);
      }
      expect(readFileSync(old('t/append.csv'), 'utf8')).toBe('old append+');
      expect(readFileSync(old('private/hidden.csv'), 'utf8')).toBe('never');
    });
  });
}
