// JSON as the host takes and gives it: UTF-8 bytes. The interpreter has no TextEncoder; these go through functions that it has natively.

/** Characters that one call of `String.fromCharCode` gets as arguments. */
const CHUNK = 4096;

export function parse(bytes) {
  return JSON.parse(text(bytes));
}

export function unparse(value) {
  return encode(JSON.stringify(value));
}

export function text(bytes) {
  const array = bytes instanceof Uint8Array ? bytes : Uint8Array.from(bytes);
  let latin = "";
  for (let at = 0; at < array.length; at += CHUNK) latin += String.fromCharCode.apply(null, array.subarray(at, at + CHUNK));
  // Every byte below 128 is its own character: only others need the slow way.
  return /^[\0-\x7f]*$/.test(latin) ? latin : decodeURIComponent(escape(latin));
}

export function encode(text) {
  const latin = unescape(encodeURIComponent(text));
  const bytes = new Uint8Array(latin.length);
  for (let at = 0; at < latin.length; at++) bytes[at] = latin.charCodeAt(at);
  return bytes;
}
