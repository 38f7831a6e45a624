<?php

declare(strict_types=1);

namespace Cistern\Stream;

/**
 * PHP closes what is still open when a script ends, also after a fatal error in the middle of writing. What its owner
 * did not close must not be stored then: nobody knows whether it is whole.
 *
 * @internal
 */
final class Shutdown
{
    private static bool $watching = false;
    private static bool $over = false;

    /**
     * To be called when a file is opened for writing.
     */
    public static function watch(): void
    {
        if (self::$watching) {
            return;
        }
        self::$watching = true;
        // Registered while the others run, this one is the last.
        register_shutdown_function(static fn () => register_shutdown_function(static function (): void {
            self::$over = true;
        }));
    }

    /**
     * Whether the stream that is being closed is closed by the end of the script only. (A local variable that ends by
     * an exception needs no look: PHP then does not call the wrapper at all.)
     */
    public static function isAbandoned(): bool
    {
        if (!self::$over && !self::diedOfError()) {
            return false;
        }
        // fclose(), file_put_contents() and the like stand above the wrapper's method; at the end of the script none.
        $caller = debug_backtrace(\DEBUG_BACKTRACE_IGNORE_ARGS, 3)[2] ?? [];

        $function = $caller['function'] ?? '';

        return isset($caller['class']) || !\function_exists($function)
            || !(new \ReflectionFunction($function))->isInternal();
    }

    private static function diedOfError(): bool
    {
        $fatal = \E_ERROR | \E_CORE_ERROR | \E_COMPILE_ERROR | \E_USER_ERROR | \E_RECOVERABLE_ERROR;

        return ((error_get_last()['type'] ?? 0) & $fatal) !== 0;
    }
}
