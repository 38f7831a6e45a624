<?php

declare(strict_types=1);

namespace Cistern\Tests;

use Cistern\Tests\Support\WrapperTestCase;

/**
 * What PHP's own functions and extensions rely on with local files: a process sees what it is writing, and can have a
 * file descriptor to read from.
 */
final class LocalLikenessTest extends WrapperTestCase
{
    public function testAProcessReadsWhatItIsStillWriting(): void
    {
        $this->same(static function (string $directory): array {
            $handle = fopen($directory . 'open.txt', 'w');
            if ($handle === false) {
                return [];
            }
            $seen = [file_exists($directory . 'open.txt'), filesize($directory . 'open.txt')];
            fwrite($handle, 'first');
            clearstatcache();
            array_push($seen, file_get_contents($directory . 'open.txt'), filesize($directory . 'open.txt'));
            fwrite($handle, ' second');
            array_push($seen, file_get_contents($directory . 'open.txt', false, null, 2, 6), ftell($handle));
            fclose($handle);
            $seen[] = file_get_contents($directory . 'open.txt');

            return $seen;
        });
    }

    public function testOthersSeeItWhenItIsClosed(): void
    {
        $handle = fopen('cistern://alone.txt', 'w');
        self::assertNotFalse($handle);
        fwrite($handle, 'not stored yet');
        self::assertNull($this->client()->stat('alone.txt', true));
        fclose($handle);
        self::assertNotNull($this->client()->stat('alone.txt', true));
    }

    public function testXmlWriterIsReadBeforeItCloses(): void
    {
        $this->same(static function (string $directory): array {
            $writer = new \XMLWriter();
            $writer->openUri($directory . 'map.xml');
            $writer->startDocument('1.0', 'UTF-8');
            $writer->startElement('urlset');
            $writer->endElement();
            $writer->endDocument();
            $written = file_get_contents($directory . 'map.xml');
            unset($writer);

            return [$written, file_get_contents($directory . 'map.xml')];
        });
    }

    public function testGzipIsReadThroughIt(): void
    {
        $text = str_repeat('compressed ', 50_000);
        file_put_contents('cistern://backup.gz', gzencode($text));
        $gz = gzopen('cistern://backup.gz', 'rb');
        self::assertNotFalse($gz);
        $read = '';
        while (!gzeof($gz)) {
            $read .= gzread($gz, 8192);
        }
        gzclose($gz);
        self::assertSame($text, $read);
        self::assertSame($text, file_get_contents('compress.zlib://cistern://backup.gz'));
    }

    public function testWhatIsLeftOpenForReadingEndsQuietly(): void
    {
        file_put_contents('cistern://open.gz', gzencode('left open'));
        [$printed, $code] = $this->script('$gz = gzopen("cistern://open.gz", "rb"); echo gzread($gz, 100);');
        self::assertSame(['left open', 0], [$printed, $code]);
    }

    public function testAProgramReadsFromIt(): void
    {
        file_put_contents('cistern://lines.txt', "one\ntwo\n");
        $input = fopen('cistern://lines.txt', 'r');
        self::assertNotFalse($input);
        $process = proc_open(['wc', '-l'], [$input, ['pipe', 'w'], ['pipe', 'w']], $pipes);
        self::assertNotFalse($process);
        self::assertSame('2', trim((string) stream_get_contents($pipes[1])));
        proc_close($process);
    }
}
