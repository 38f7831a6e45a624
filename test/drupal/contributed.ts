// Contributed modules that many sites have, with their real code: what each does with files, on two heads. Those that the
// code base lacks are skipped. What does not work, and why, is told in docs/moving.md.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it, type TestContext } from 'vitest';
import { pathOfFile } from '../support/files.ts';
import { drush, lacksDrush, skipIf } from './drush.ts';
import { makeImage } from './files.ts';
import type { Rig } from './rig.ts';
import { entry, publicPath, styledPaths, upload } from './site.ts';
import { Visitor } from './visitor.ts';

const MINUTES = { timeout: 180_000 };

export function contributed(rig: () => Rig): void {
  describe('contributed modules', () => {
    const a = () => rig().heads[0];
    const b = () => rig().heads[1];
    const onB = (path: string) => fetch(`${b().url('nginx')}${path}`, { redirect: 'manual' });

    async function install(context: TestContext, ...modules: string[]): Promise<void> {
      for (const name of modules) {
        const there = existsSync(join(a().documentRoot, 'modules/contrib', name, `${name}.info.yml`));
        skipIf(context, there ? undefined : `the code base has no module ${name}`);
      }
      const list = modules.map((name) => `'${name}'`).join(', ');
      await a().run(`\\Drupal::service('module_installer')->install([${list}]); drupal_flush_all_caches();`);
      // These heads keep their code at different places, and so a container each.
      await b().run('drupal_flush_all_caches();');
    }
    const stored = async (key: string) =>
      Buffer.from(await (await rig().cluster.request('GET', pathOfFile(key))).arrayBuffer());

    it('focal_point and crop cut derivatives where an editor wants it', MINUTES, async (context) => {
      await install(context, 'crop', 'focal_point');
      const uri = await upload(a(), await makeImage(a(), 'focal'));
      const cut = (x: number) =>
        a().run(`$file = \\Drupal::service('file.repository')->loadByUri('${uri}');
          $style = \\Drupal\\image\\Entity\\ImageStyle::load('focal') ?? \\Drupal\\image\\Entity\\ImageStyle::create(['name' => 'focal', 'label' => 'focal']);
          if ($style->isNew()) {
            $style->addImageEffect(['id' => 'focal_point_crop', 'data' => ['width' => 200, 'height' => 200, 'crop_type' => 'focal_point'], 'weight' => 0]);
            $style->save();
          }
          $manager = \\Drupal::service('focal_point.manager');
          $manager->saveCropEntity(${x}, 50, 1600, 1000, $manager->getCropEntity($file, 'focal_point'));`);
      await cut(10);
      const look = async () => {
        const [path = ''] = await styledPaths(a(), [uri], 'focal');
        const answers = await Promise.all(
          rig().heads.map((head) => fetch(`${head.url('nginx')}${path.replaceAll('&amp;', '&')}`)),
        );
        const bodies = await Promise.all(
          answers.map(async (answer) => Buffer.from(await answer.arrayBuffer()).toString('base64')),
        );
        return { statuses: answers.map(({ status }) => status), bodies };
      };
      const left = await look();
      expect(left.statuses).toEqual([200, 200]);
      expect(left.bodies[0]).toBe(left.bodies[1]);
      await cut(90);
      const right = await look();
      expect(right.statuses).toEqual([200, 200]);
      expect(right.bodies[0]).toBe(right.bodies[1]);
      expect(right.bodies[0]).not.toBe(left.bodies[0]);
    });

    it(
      'media_entity_file_replace puts other bytes under the same name, and makes derivatives anew',
      MINUTES,
      async (context) => {
        await install(context, 'media_entity_file_replace');
        const uri = await upload(a(), await makeImage(a(), 'before'));
        const id = await a().run(`$file = \\Drupal::service('file.repository')->loadByUri('${uri}');
        $form = \\Drupal::service('entity_display.repository')->getFormDisplay('media', 'image');
        $form->setComponent('replace_file', [])->save();
        $media = \\Drupal\\media\\Entity\\Media::create(['bundle' => 'image', 'name' => 'before', 'status' => 1,
          'field_media_image' => ['target_id' => $file->id(), 'alt' => 'before']]);
        $media->save();
        echo $media->id();`);
        const [styled = ''] = await styledPaths(a(), [uri], 'thumbnail');
        const before = Buffer.from(await (await onB(styled)).arrayBuffer());
        const replacement = await makeImage(a(), 'after');
        const bytes = await readFile(replacement);
        const administrator = new Visitor(a().url('nginx'));
        await administrator.logIn('admin');
        const saved = await administrator.submit(`/media/${id}/edit`, 'media_image_edit_form', {
          'name[0][value]': 'after',
          'field_media_image[0][alt]': 'after',
          'files[replacement_file]': new File([bytes], 'after.jpg', { type: 'image/jpeg' }),
          keep_original_filename: '1',
          op: 'Save',
        });
        expect(saved.status).toBe(303);
        const now = Buffer.from(await (await onB(publicPath(uri))).arrayBuffer());
        expect(now.equals(bytes)).toBe(true);
        const size = await b().run(
          `echo \\Drupal::service('file.repository')->loadByUri('${uri}')->getSize();`,
        );
        expect(Number(size)).toBe(bytes.length);
        expect(Buffer.from(await (await onB(styled)).arrayBuffer()).equals(before)).toBe(false);
      },
    );

    it('cdn gives addresses of another host, whose files the site serves', MINUTES, async (context) => {
      await install(context, 'cdn');
      const uri = await upload(a(), await makeImage(a(), 'cdn'));
      for (const farFuture of [true, false]) {
        await a().run(`\\Drupal::configFactory()->getEditable('cdn.settings')->set('status', TRUE)
          ->set('mapping', ['type' => 'simple', 'domain' => 'cdn.example.com', 'conditions' => []])
          ->set('farfuture', ['status' => ${farFuture}])->save(); drupal_flush_all_caches();`);
        await b().run('drupal_flush_all_caches();');
        const address = await b().run(
          `echo \\Drupal::service('file_url_generator')->generateString('${uri}');`,
        );
        expect(address).toMatch(
          farFuture ? /^\/\/cdn\.example\.com\/cdn\/ff\// : /^\/\/cdn\.example\.com\/sites\//,
        );
        const answer = await onB(address.replace('//cdn.example.com', ''));
        expect([farFuture, answer.status]).toEqual([farFuture, 200]);
        expect(Buffer.from(await answer.arrayBuffer()).equals(await stored(uri.replace('://', '/')))).toBe(
          true,
        );
      }
      await a().run("\\Drupal::configFactory()->getEditable('cdn.settings')->set('status', FALSE)->save();");
    });

    it(
      'xmlsitemap writes its map, compressed as well, and every head serves it',
      MINUTES,
      async (context) => {
        await install(context, 'xmlsitemap');
        skipIf(context, lacksDrush(a()));
        await a().run(
          "\\Drupal::configFactory()->getEditable('xmlsitemap.settings')->set('gz', TRUE)->save();",
        );
        expect(await drush(a(), 'xmlsitemap:regenerate')).toMatchObject({ code: 0 });
        const answer = await onB('/sitemap.xml');
        const xml = await answer.text();
        expect([answer.status, xml]).toEqual([200, expect.stringContaining('<urlset')]);
        const keys = await rig().cluster.request(
          'GET',
          '/v1/domains/demo/directories/public/xmlsitemap?recursive=true',
        );
        const { entries } = (await keys.json()) as { entries: { key: string }[] };
        const [gz = ''] = entries.map(({ key }) => key).filter((key) => key.endsWith('1.xml.gz'));
        expect(gunzipSync(await stored(gz)).toString()).toBe(
          (await stored(gz.replace('.gz', ''))).toString(),
        );
      },
    );

    it('file_delete removes a file from every head', MINUTES, async (context) => {
      await install(context, 'file_delete');
      const uri = await upload(a(), await makeImage(a(), 'delete'));
      expect((await onB(publicPath(uri))).status).toBe(200);
      const id = await a().run(`echo \\Drupal::service('file.repository')->loadByUri('${uri}')->id();`);
      const administrator = new Visitor(a().url('nginx'));
      await administrator.logIn('admin');
      const deleted = await administrator.submit(`/file/${id}/delete`, 'file_delete_form', {
        instant_delete: '1',
        op: 'Delete',
      });
      expect(deleted.status).toBe(303);
      expect((await onB(publicPath(uri))).status).toBe(404);
      expect(await entry(rig().cluster, uri.replace('://', '/'))).toBeUndefined();
    });

    it(
      'backup_migrate packs public files into private://, which can be read again',
      MINUTES,
      async (context) => {
        await install(context, 'backup_migrate');
        // Of empty directories, which fopen() opens on a local disk, it makes an error.
        await a().run(`$files = \\Drupal::service('file_system');
        $files->deleteRecursive('public://serve');
        $files->saveData('to be kept', 'public://to-back-up.txt');`);
        await a().run("backup_migrate_perform_backup('public_files', 'private_files');");
        const found = await rig().cluster.request(
          'GET',
          '/v1/domains/demo/directories/private/backup_migrate',
        );
        const { entries } = (await found.json()) as { entries: { key: string }[] };
        const [key = ''] = entries.map((one) => one.key).filter((one) => one.endsWith('.gz'));
        expect(gunzipSync(await stored(key)).includes('to be kept')).toBe(true);
        // As its restore reads it.
        const read = await b().run(`$gz = gzopen('${key.replace('private/', 'private://')}', 'rb9');
        $found = FALSE;
        while (!gzeof($gz)) $found = $found || str_contains(gzread($gz, 1 << 22), 'to be kept');
        echo $found ? 'found' : 'not found';`);
        expect(read).toBe('found');
      },
    );

    it('feeds reads a CSV file in batches, from where it stopped', MINUTES, async (context) => {
      await install(context, 'feeds');
      const read = await a().run(`$rows = "id,name\\n";
        for ($i = 0; $i < 500; $i++) $rows .= "$i,\\"name, $i\\"\\n";
        \\Drupal::service('file_system')->saveData($rows, 'private://feeds.csv');
        $local = \\Drupal::service('file_system')->saveData($rows, 'temporary://feeds.csv');
        $readAll = function (string $uri): array {
          [$batches, $start] = [[], 0];
          do {
            $parser = \\Drupal\\feeds\\Component\\CsvParser::createFromFilePath($uri)->setHasHeader(TRUE)->setStartByte($start);
            $batch = [$parser->getHeader()];
            foreach ($parser as $row) {
              $batch[] = $row;
              if (count($batch) > 60) break;
            }
            $batches[] = $batch;
            $start = $parser->lastLinePos();
          } while (count($batch) > 60);
          return $batches;
        };
        $found = $readAll('private://feeds.csv');
        echo json_encode([$found === $readAll($local), count($found), end($found[8])]);`);
      expect(JSON.parse(read)).toEqual([true, 9, ['499', 'name, 499']]);
    });

    it(
      'webform keeps what was uploaded with a submission, and gives it away by mail',
      MINUTES,
      async (context) => {
        await install(context, 'webform');
        const printed =
          await a().run(`$webform = \\Drupal\\webform\\Entity\\Webform::create(['id' => 'apply', 'title' => 'Apply']);
        $webform->setElements(['paper' => ['#type' => 'managed_file', '#title' => 'Paper', '#uri_scheme' => 'private', '#file_extensions' => 'txt']]);
        $webform->save();
        $directory = 'private://webform/apply/_sid_';
        \\Drupal::service('file_system')->prepareDirectory($directory, 1);
        $file = \\Drupal::service('file.repository')->writeData('my paper', "$directory/paper.txt");
        $submission = \\Drupal\\webform\\Entity\\WebformSubmission::create(['webform_id' => 'apply', 'data' => ['paper' => $file->id()]]);
        $submission->save();
        $element = $webform->getElement('paper');
        $plugin = \\Drupal::service('plugin.manager.webform.element')->getElementInstance($element, $submission);
        $attachments = $plugin->getEmailAttachments($element, $submission);
        echo json_encode([\\Drupal\\file\\Entity\\File::load($file->id())->getFileUri(), $submission->id(), $attachments[0]['filecontent'] ?? NULL]);`);
        const [uri, id, content] = JSON.parse(printed);
        expect(content).toBe('my paper');
        expect(uri).toBe(`private://webform/apply/${id}/paper.txt`);
        expect((await stored(uri.replace('://', '/'))).toString()).toBe('my paper');
      },
    );
  });
}
