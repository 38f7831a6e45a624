<?php

declare(strict_types=1);

namespace Cistern\Flysystem;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\NotFound;
use Cistern\Key;
use Cistern\PutOptions;
use League\Flysystem\CalculateChecksumFromStream;
use League\Flysystem\ChecksumProvider;
use League\Flysystem\Config;
use League\Flysystem\DirectoryAttributes;
use League\Flysystem\FileAttributes;
use League\Flysystem\FilesystemAdapter;
use League\Flysystem\UnableToCheckDirectoryExistence;
use League\Flysystem\UnableToCheckFileExistence;
use League\Flysystem\UnableToCopyFile;
use League\Flysystem\UnableToCreateDirectory;
use League\Flysystem\UnableToDeleteDirectory;
use League\Flysystem\UnableToDeleteFile;
use League\Flysystem\UnableToGeneratePublicUrl;
use League\Flysystem\UnableToGenerateTemporaryUrl;
use League\Flysystem\UnableToListContents;
use League\Flysystem\UnableToMoveFile;
use League\Flysystem\UnableToProvideChecksum;
use League\Flysystem\UnableToReadFile;
use League\Flysystem\UnableToRetrieveMetadata;
use League\Flysystem\UnableToSetVisibility;
use League\Flysystem\UnableToWriteFile;
use League\Flysystem\UrlGeneration\PublicUrlGenerator;
use League\Flysystem\UrlGeneration\TemporaryUrlGenerator;

/**
 * A client as a Flysystem 3 adapter. Visibility is kept as the file mode that PHP's stream wrapper knows too: 0644 is
 * public, 0600 private; directories have none. What else a write is to have: 'mimetype', 'class' (Cistern's), 'meta',
 * 'ifNoneMatch' and 'ifMatch' in its configuration.
 */
final class CisternAdapter implements FilesystemAdapter, PublicUrlGenerator, TemporaryUrlGenerator, ChecksumProvider
{
    use CalculateChecksumFromStream;

    /**
     * @param string|null $publicUrl what stands before the path in public URLs; null: there are none
     */
    public function __construct(private readonly Client $client, private readonly ?string $publicUrl = null)
    {
    }

    public function fileExists(string $path): bool
    {
        try {
            return $this->stat($path)?->isFile() ?? false;
        } catch (CisternException $e) {
            throw UnableToCheckFileExistence::forLocation($path, $e);
        }
    }

    public function directoryExists(string $path): bool
    {
        try {
            return $this->stat($path)->isDirectory ?? false;
        } catch (CisternException $e) {
            throw UnableToCheckDirectoryExistence::forLocation($path, $e);
        }
    }

    public function write(string $path, string $contents, Config $config): void
    {
        $this->put($path, $contents, $config);
    }

    /**
     * @param resource $contents
     */
    public function writeStream(string $path, $contents, Config $config): void
    {
        $this->put($path, $contents, $config);
    }

    public function read(string $path): string
    {
        try {
            return $this->client->read(Key::ofUri($path));
        } catch (CisternException $e) {
            throw UnableToReadFile::fromLocation($path, $e->getMessage(), $e);
        }
    }

    /**
     * @return resource
     */
    public function readStream(string $path)
    {
        try {
            return $this->client->open(Key::ofUri($path))->toResource();
        } catch (CisternException $e) {
            throw UnableToReadFile::fromLocation($path, $e->getMessage(), $e);
        }
    }

    public function delete(string $path): void
    {
        try {
            $this->client->delete(Key::ofUri($path));
        } catch (NotFound) {
            // What is gone is deleted, as Flysystem sees it.
        } catch (CisternException $e) {
            throw UnableToDeleteFile::atLocation($path, $e->getMessage(), $e);
        }
    }

    public function deleteDirectory(string $path): void
    {
        try {
            $this->client->removeDirectory(Key::ofUri($path), true);
        } catch (NotFound) {
            // As with files.
        } catch (CisternException $e) {
            throw UnableToDeleteDirectory::atLocation($path, $e->getMessage(), $e);
        }
    }

    public function createDirectory(string $path, Config $config): void
    {
        try {
            $this->client->makeDirectory(Key::ofUri($path));
        } catch (CisternException $e) {
            throw UnableToCreateDirectory::dueToFailure($path, $e);
        }
    }

    public function setVisibility(string $path, string $visibility): void
    {
        try {
            $entry = $this->stat($path) ?? throw new NotFound("There is nothing at '$path'.");
            $mode = Attributes::mode($visibility);
            if ($entry->isFile()) {
                $this->client->patch($entry->key, meta: ['mode' => $mode] + $entry->meta);
            }
        } catch (CisternException $e) {
            throw UnableToSetVisibility::atLocation($path, $e->getMessage(), $e);
        }
    }

    public function visibility(string $path): FileAttributes
    {
        return $this->attributes($path, FileAttributes::ATTRIBUTE_VISIBILITY);
    }

    public function mimeType(string $path): FileAttributes
    {
        return $this->attributes($path, FileAttributes::ATTRIBUTE_MIME_TYPE);
    }

    public function lastModified(string $path): FileAttributes
    {
        return $this->attributes($path, FileAttributes::ATTRIBUTE_LAST_MODIFIED);
    }

    public function fileSize(string $path): FileAttributes
    {
        return $this->attributes($path, FileAttributes::ATTRIBUTE_FILE_SIZE);
    }

    /**
     * @return iterable<FileAttributes|DirectoryAttributes> nothing for a directory that is not there
     */
    public function listContents(string $path, bool $deep): iterable
    {
        try {
            foreach ($this->client->list(Key::ofUri($path), $deep) as $entry) {
                yield $entry->isDirectory
                    ? new DirectoryAttributes($entry->key, null, (int) $entry->mtime)
                    : Attributes::of($entry);
            }
        } catch (NotFound) {
            return;
        } catch (CisternException $e) {
            throw UnableToListContents::atLocation($path, $deep, $e);
        }
    }

    public function move(string $source, string $destination, Config $config): void
    {
        try {
            $from = Key::ofUri($source);
            $to = Key::ofUri($destination);
            $this->client->move($from, $to);
            $this->applyVisibility($to, $config);
        } catch (CisternException $e) {
            throw UnableToMoveFile::fromLocationTo($source, $destination, $e);
        }
    }

    public function copy(string $source, string $destination, Config $config): void
    {
        try {
            $from = Key::ofUri($source);
            $to = Key::ofUri($destination);
            $this->client->copy($from, $to);
            $this->applyVisibility($to, $config);
        } catch (CisternException $e) {
            throw UnableToCopyFile::fromLocationTo($source, $destination, $e);
        }
    }

    public function publicUrl(string $path, Config $config): string
    {
        if ($this->publicUrl === null) {
            throw new UnableToGeneratePublicUrl('the adapter was made without a public URL', $path);
        }

        return rtrim($this->publicUrl, '/') . '/' . Key::encode(Key::ofUri($path));
    }

    public function temporaryUrl(string $path, \DateTimeInterface $expiresAt, Config $config): string
    {
        try {
            $seconds = $expiresAt->getTimestamp() - time();
            if ($seconds < 1) {
                throw new InvalidRequest('The time at which the URL is to end has passed.');
            }

            return $this->client->temporaryUrl(Key::ofUri($path), $seconds);
        } catch (CisternException $e) {
            throw UnableToGenerateTemporaryUrl::dueToError($path, $e);
        }
    }

    /**
     * With 'checksum_algo' => 'sha256' it is known without reading the file; Flysystem's default is md5.
     */
    public function checksum(string $path, Config $config): string
    {
        if ($config->get('checksum_algo') !== 'sha256') {
            return $this->calculateChecksumFromStream($path, $config);
        }
        try {
            return $this->file($path)->sha256;
        } catch (CisternException $e) {
            throw new UnableToProvideChecksum($e->getMessage(), $path, $e);
        }
    }

    /**
     * @param string|resource $source
     */
    private function put(string $path, mixed $source, Config $config): void
    {
        try {
            $meta = $config->get('meta', []);
            $meta = \is_array($meta) ? $meta : [];
            $visibility = $config->get(Config::OPTION_VISIBILITY);
            if (\is_string($visibility)) {
                $meta['mode'] = Attributes::mode($visibility);
            }
            $text = static fn (string $name): ?string => \is_string($config->get($name)) ? $config->get($name) : null;
            /** @var array<string, mixed> $meta */
            $this->client->put(Key::ofUri($path), $source, new PutOptions(
                contentType: $text('mimetype'),
                meta: $meta,
                ifNoneMatch: $config->get('ifNoneMatch', false) === true,
                ifMatch: $text('ifMatch'),
                class: $text('class'),
            ));
        } catch (CisternException $e) {
            throw UnableToWriteFile::atLocation($path, $e->getMessage(), $e);
        }
    }

    private function applyVisibility(string $key, Config $config): void
    {
        $visibility = $config->get(Config::OPTION_VISIBILITY);
        // Without one, a copy keeps what its source has.
        if (\is_string($visibility)) {
            $this->setVisibility($key, $visibility);
        }
    }

    private function stat(string $path): ?Entry
    {
        return $this->client->stat(Key::ofUri($path));
    }

    /**
     * @throws CisternException
     */
    private function file(string $path): Entry
    {
        $entry = $this->stat($path);

        return $entry !== null && $entry->isFile() ? $entry : throw new NotFound("There is no file '$path'.");
    }

    private function attributes(string $path, string $what): FileAttributes
    {
        try {
            return Attributes::of($this->file($path));
        } catch (CisternException $e) {
            throw UnableToRetrieveMetadata::create($path, $what, $e->getMessage(), $e);
        }
    }
}
