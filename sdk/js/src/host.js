// What the host gives to every plugin: time, randomness, log and configuration, in the shapes that JavaScript has for them.
//
// A plugin has no clock and no randomness of its own, so `Date` and `Math.random` ask the host and a decision can be replayed.
// In a test under Node nothing is connected, and Node's own are used.

let connected = null;

/** Called once by the component's module, before the policy is evaluated. */
export function connect(host) {
  connected = host;
  globalThis.Date = hostDate(Date, host.env);
  Math.random = () => {
    const [a, b, c, d] = host.env.random(4);
    return (((a << 24) | (b << 16) | (c << 8) | d) >>> 0) / 2 ** 32;
  };
  globalThis.console = hostConsole(host.env);
}

/** The imports of the world; in a test there are none. */
export function host() {
  if (!connected) throw new Error("there is no host: this works inside of a component alone");
  return connected;
}

/** `spec.config` of the Plugin; empty in a test. */
export function config() {
  return connected ? connected.env.config() : "";
}

function hostDate(Native, env) {
  const now = () => Math.floor(Number(env.now()) / 1e6);
  return class Date extends Native {
    constructor(...given) {
      super(...(given.length === 0 ? [now()] : given));
    }
    static now() {
      return now();
    }
  };
}

function hostConsole(env) {
  const writer = (level) => (...parts) => env.log(level, parts.map(shown).join(" "));
  return { debug: writer("debug"), log: writer("info"), info: writer("info"), warn: writer("warn"), error: writer("error") };
}

/** An answer of the author's; a promise is none, for nobody would wait for it. */
export function synchronous(answer, name) {
  if (typeof answer?.then === "function") throw new TypeError(`${name} gave a promise: a policy's functions are not async`);
  return answer;
}

/** As a log line shows it. */
export function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return value.stack ? `${value.name}: ${value.message}\n${value.stack.trimEnd()}` : String(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}
