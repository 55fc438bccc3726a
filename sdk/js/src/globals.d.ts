// What a policy finds beside ECMAScript itself.

/** Writes to the plugin's log. */
interface Console {
  debug(...parts: any[]): void;
  log(...parts: any[]): void;
  info(...parts: any[]): void;
  warn(...parts: any[]): void;
  error(...parts: any[]): void;
}

declare var console: Console;
