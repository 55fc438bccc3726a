import assert from "node:assert/strict";
import test from "node:test";

import { encode, parse, text, unparse } from "../src/bytes.js";

test("text of every kind goes there and back", () => {
  for (const value of ["", "plain", "zwölf Boxkämpfer", "日本", "🚀 rocket", "x".repeat(20_000) + "ü"]) {
    assert.deepEqual(encode(value), new Uint8Array(new TextEncoder().encode(value)));
    assert.equal(text(encode(value)), value);
    assert.deepEqual(parse(unparse({ value })), { value });
  }
});
